//! The private CA, as its operator and the machines that trust it see it: OpenSSL, curl, and the mirror itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;
use tests::hub::Hub;
use tests::operator::Operator;
use tests::program::{Program, program_path};
use tests::tools;

/// A folder with a CA in it, and the programs that judge it.
struct Desk {
    folder: TempDir,
    openssl: PathBuf,
}

impl Desk {
    fn new() -> Option<Self> {
        let openssl = tools::require("openssl")?;
        Some(Self { folder: TempDir::with_prefix("chandler-ca-").expect("a folder"), openssl })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `chandler ca …` in the folder.
    fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(program_path());
        command
            .arg("ca")
            .args(arguments.split(' '))
            .args(["--state", "state"])
            .current_dir(self.folder.path())
            .env_clear()
            .stdin(Stdio::null());
        command
    }

    fn ca(&self, arguments: &str) -> String {
        succeeds(arguments, self.command(arguments).output().expect("it starts"))
    }

    fn ca_fails(&self, arguments: &str) -> String {
        fails(arguments, &self.command(arguments).output().expect("it starts"))
    }

    fn openssl(&self, arguments: &str) -> Output {
        Command::new(&self.openssl).args(arguments.split(' ')).current_dir(self.folder.path()).output().expect("it starts")
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("the test's folder");
    }
}

fn succeeds(what: &str, output: Output) -> String {
    assert!(output.status.success(), "{what}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("it prints text")
}

fn fails(what: &str, output: &Output) -> String {
    assert!(!output.status.success(), "{what}: {}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_with_the_exported_files_trusts_the_mirror_that_serves_what_was_issued() {
    let Some(curl) = tools::require("curl") else { return };
    let Some(desk) = Desk::new() else { return };
    desk.ca("init --permit mirror.test,127.0.0.0/8 --organization Example");
    desk.ca("issue 127.0.0.1 mirror.test -o tls");
    let hub = Hub::start();
    let [chain, key] = ["tls/fullchain.pem", "tls/privkey.pem"].map(|file| desk.path(file).display().to_string());
    let listeners = format!("[{{address: \"127.0.0.1:0\", tls: {{certificate: \"{chain}\", key: \"{key}\"}}}}]");
    let mirror = Program::of_hub(&hub.url()).listeners(&listeners).start();
    let said = desk.ca(&format!("export {} --out trust", mirror.host()));
    let written: Vec<&Path> = said.lines().take_while(|line| line.starts_with("trust/")).map(Path::new).collect();
    assert!(written.len() == 7 && written.iter().all(|file| desk.folder.path().join(file).is_file()), "{said}");

    let port = mirror.host().rsplit_once(':').expect("a port").1;
    let by_name = format!("https://mirror.test:{port}/v2/");
    let resolve = format!("mirror.test:{port}:127.0.0.1");
    for file in written.iter().filter(|file| file.extension().is_none_or(|ending| ending != "toml")) {
        for url in [format!("{}/v2/", mirror.url()), by_name.clone()] {
            let mut curl = Command::new(&curl);
            curl.args(["-sS", "--fail", "--noproxy", "*", "--resolve", &resolve, "--cacert"]).arg(desk.folder.path().join(file)).arg(&url);
            succeeds(&url, curl.output().expect("it starts"));
        }
    }
    let toml = fs::read_to_string(desk.path(&format!("trust/etc/containerd/certs.d/{}/hosts.toml", mirror.host()))).expect("written");
    assert!(toml.contains(&format!("ca = \"/etc/containerd/certs.d/{}/ca.crt\"", mirror.host())), "{toml}");
    let fingerprint = succeeds("x509", desk.openssl("x509 -noout -fingerprint -sha256 -in trust/ca.pem")).replace(':', "").to_lowercase();
    let told = said.lines().find_map(|line| line.strip_prefix("sha256:")).expect("a fingerprint");
    assert!(fingerprint.contains(&told[..64]), "{fingerprint} {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mirror_has_its_certificate_issued_and_renews_it_by_itself() {
    let Some(desk) = Desk::new() else { return };
    let hub = Hub::start();
    let listeners = "[{address: \"127.0.0.1:0\", tls: {private: [mirror.test, 127.0.0.1]}}]";
    let acme = format!("acme: {{path: \"{}\"}}", desk.path("state").display());
    let mirror = Program::of_hub(&hub.url()).listeners(listeners).config(&acme).start();
    let operator = Operator::of(&mirror);
    let said = operator.wait_for_readiness(503).await;
    assert!(said.contains("certificate mirror.test: there is no certificate yet"), "{said}");
    let mend = format!("`chandler ca init --state {} --permit NAME` makes one there", desk.path("state").display());
    assert!(mirror.wait_for_log("there is no CA in").contains(&mend), "{}", mirror.log());

    let check =
        || Command::new(program_path()).args(["cert", "check", "--config"]).arg(mirror.config()).env_clear().output().expect("it starts");
    assert!(fails("check", &check()).contains("there is no CA in"));
    desk.ca("init --permit mirror.test,127.0.0.0/8");
    assert!(succeeds("check", check()).contains("issues until"), "names and ports are nothing to a CA of one's own");
    operator.wait_for_readiness(200).await; // Nobody has to say that it is there now.
    let first = tests::anybody::shown(mirror.host(), "mirror.test").await;
    desk.ca(&format!("export {} --out trust", mirror.host()));
    let root = reqwest::Certificate::from_pem(&fs::read(desk.path("trust/ca.pem")).expect("it was exported")).expect("a certificate");
    let client = reqwest::Client::builder().tls_certs_only([root]).no_proxy().build().expect("a client");
    assert!(client.get(format!("{}/v2/", mirror.url())).send().await.expect("it is trusted").status().is_success());

    let renewed = Command::new(program_path()).args(["cert", "renew", "--force", "--config"]).arg(mirror.config()).env_clear().output();
    succeeds("renew", renewed.expect("it starts"));
    assert_ne!(tests::anybody::shown(mirror.host(), "mirror.test").await, first, "without a restart");
}

#[test]
fn openssl_takes_what_is_issued_for_its_purpose_until_it_is_taken_back() {
    let Some(desk) = Desk::new() else { return };
    for key in ["p256", "rsa"] {
        let state = format!("--state {key}");
        let ca = |arguments: &str| {
            let mut command = Command::new(program_path());
            command.arg("ca").args(arguments.split(' ')).current_dir(desk.folder.path()).env_clear();
            succeeds(arguments, command.output().expect("it starts"))
        };
        ca(&format!("init --permit ci.test,10.0.0.0/8 {state} --key-type {key}"));
        ca(&format!("issue a.ci.test *.ci.test 10.0.0.1 --key-type {key} -o {key}-server {state}"));
        ca(&format!("issue 10.0.0.2 -o {key}-address {state}"));
        ca(&format!("issue node.ci.test --client -o {key}-client {state}"));
        ca(&format!("export --out {key}-trust --state {key}"));
        let verify = |more: &str, which: &str| {
            let chain = format!("{key}-{which}/fullchain.pem");
            desk.openssl(&format!("verify {more} -x509_strict -CAfile {key}-trust/ca.pem -untrusted {chain} {chain}"))
        };
        succeeds("server", verify("-purpose sslserver -verify_hostname b.ci.test", "server"));
        succeeds("address", verify("-purpose sslserver -verify_ip 10.0.0.2", "address"));
        succeeds("client", verify("-purpose sslclient", "client"));
        fails("a server's as a client", &verify("-purpose sslclient", "server"));
        fails("another name", &verify("-verify_hostname b.test", "server"));

        let list = format!("-crl_check -CRLfile {key}/ca/crl.pem");
        succeeds("nothing taken back", verify(&list, "server"));
        ca(&format!("revoke {key}-server/fullchain.pem --reason key-compromise --state {key}"));
        let told = fails("taken back", &verify(&list, "server"));
        assert!(told.contains("revoked"), "{told}");
        succeeds("the other is not", verify(&list, "client"));
    }
}

/// rustls is asked the same in the unit tests.
#[test]
fn openssl_refuses_what_a_thief_of_the_intermediates_key_makes_for_other_names() {
    for (permitted, inside, outside) in [
        ("ci.test", "DNS:a.ci.test", "DNS:bank.test"),
        ("ci.test", "DNS:*.ci.test", "IP:10.0.0.1"),
        ("10.0.0.0/8", "IP:10.0.0.1", "DNS:bank.test"),
    ] {
        let Some(desk) = Desk::new() else { return };
        desk.ca(&format!("init --permit {permitted}"));
        desk.ca("export --out trust");
        desk.ca(&format!("issue {} -o tls", inside.split_once(':').expect("a name").1));
        let chain = fs::read_to_string(desk.path("tls/fullchain.pem")).expect("written");
        let above = chain.split_inclusive("-----END CERTIFICATE-----\n").nth(1).expect("the intermediate");
        desk.write("above.pem", above);
        succeeds("req", desk.openssl("req -new -newkey rsa:2048 -nodes -subj /CN=x -keyout key.pem -out request.pem"));
        for (name, is_taken) in [(inside, true), (outside, false)] {
            desk.write("names.cnf", &format!("subjectAltName={name}\nextendedKeyUsage=serverAuth\n"));
            let keys = fs::read_dir(desk.path("state/ca/keys")).expect("a folder").map(|entry| entry.expect("a key").path());
            let sign = |key: PathBuf| {
                let key = key.display();
                desk.openssl(&format!(
                    "x509 -req -in request.pem -CA above.pem -CAkey {key} -CAcreateserial -days 9 -extfile names.cnf -out made.pem"
                ))
            };
            assert!({ keys }.any(|key| sign(key).status.success()), "one of them is the intermediate's");
            let judged = desk.openssl("verify -purpose sslserver -CAfile trust/ca.pem -untrusted above.pem made.pem");
            let said = String::from_utf8_lossy(&judged.stderr).into_owned();
            assert!(
                judged.status.success() == is_taken && (is_taken || said.contains("subtree violation")),
                "{name} by {permitted}: {said}"
            );
        }
    }
}

/// Its name has two parts of one kind, as Active Directory's have: it must stand in what we issue as it is.
#[test]
fn a_company_ca_signs_the_intermediate_or_gives_its_key_and_openssl_takes_either() {
    let Some(desk) = Desk::new() else { return };
    desk.write("root.cnf", "[req]\ndistinguished_name=dn\nx509_extensions=ca\n[dn]\n[ca]\nbasicConstraints=critical,CA:true\nsubjectKeyIdentifier=hash\nkeyUsage=critical,keyCertSign,cRLSign\n");
    desk.write("below.cnf", "basicConstraints=critical,CA:true,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\nnameConstraints=critical,permitted;DNS:corp.test\n");
    let root = "req -x509 -newkey rsa:2048 -nodes -sha256 -days 3650 -config root.cnf -subj /DC=test/DC=corp/OU=A/OU=B/CN=Root -keyout root.key -out root.pem";
    succeeds("root", desk.openssl(root));

    desk.ca("init --request --permit ci.corp.test,old.test -o request.pem");
    succeeds(
        "sign",
        desk.openssl("x509 -req -in request.pem -CA root.pem -CAkey root.key -CAcreateserial -days 365 -extfile below.cnf -out below.pem"),
    );
    assert!(desk.ca_fails("issue a.ci.corp.test -o tls").contains("waits to be signed"));
    desk.ca("import below.pem root.pem");
    let told = desk.ca_fails("issue a.old.test -o tls");
    assert!(told.contains("a.old.test"), "permitted by us, not by the company: {told}");
    desk.ca("issue a.ci.corp.test -o tls");
    let verify = |which: &str| {
        format!("verify -x509_strict -purpose sslserver -CAfile root.pem -untrusted {which}/fullchain.pem {which}/fullchain.pem")
    };
    succeeds("signed by the company", desk.openssl(&verify("tls")));

    desk.ca("import root.pem --key root.key --permit ci.corp.test");
    desk.ca("issue a.ci.corp.test -o own");
    succeeds("by an intermediate below the company's key", desk.openssl(&verify("own")));
}

#[test]
fn a_request_is_signed_for_its_key_and_names_and_what_else_it_asks_for_is_told() {
    let Some(desk) = Desk::new() else { return };
    desk.ca("init --permit ci.test");
    desk.write("greedy.cnf", "[req]\ndistinguished_name=dn\nreq_extensions=ext\n[dn]\n[ext]\nbasicConstraints=CA:true\nextendedKeyUsage=codeSigning\nsubjectAltName=DNS:a.ci.test\n");
    succeeds(
        "req",
        desk.openssl("req -new -newkey rsa:2048 -nodes -config greedy.cnf -subj /CN=bank.test -keyout key.pem -out request.pem"),
    );
    let output = desk.command("sign request.pem -o signed.pem").output().expect("it starts");
    let notes = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && notes.contains("to be a CA") && notes.contains("extended key usage"), "{notes}");
    let text = succeeds("x509", desk.openssl("x509 -noout -text -in signed.pem"));
    assert!(
        text.contains("CA:FALSE") && text.contains("DNS:a.ci.test") && !text.contains("Code Signing") && !text.contains("bank.test"),
        "{text}"
    );

    succeeds("weak", desk.openssl("req -new -newkey rsa:1024 -nodes -config greedy.cnf -subj /CN=x -keyout weak.key -out weak.pem"));
    assert!(desk.ca_fails("sign weak.pem").contains("RSA of 1024 bits"));
    desk.write(
        "outside.cnf",
        "[req]\ndistinguished_name=dn\nreq_extensions=ext\n[dn]\n[ext]\nsubjectAltName=DNS:a.ci.test,DNS:evil.test,IP:10.0.0.1\n",
    );
    succeeds("req", desk.openssl("req -new -newkey rsa:2048 -nodes -config outside.cnf -subj /CN=x -keyout key.pem -out outside.pem"));
    let told = desk.ca_fails("sign outside.pem");
    assert!(told.contains("evil.test, 10.0.0.1") || told.contains("10.0.0.1, evil.test") && !told.contains("for a.ci.test"), "{told}");
}

#[test]
fn killed_while_it_rotates_the_ca_is_as_it_was_or_as_it_was_to_be() {
    let Some(desk) = Desk::new() else { return };
    desk.ca("init --permit ci.test");
    desk.ca("export --out trust");
    let keys = || fs::read_dir(desk.path("state/ca/keys")).expect("a folder").count();
    for round in 0..12 {
        let before = keys();
        let mut rotation = desk.command("rotate").stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
        // Killed at its start, when its key is there, or when it has ended by itself.
        while round % 3 > 0 && keys() == before && rotation.try_wait().expect("ours").is_none() {
            std::thread::yield_now();
        }
        rotation.kill().expect("ours");
        rotation.wait().expect("ours");
        desk.ca("issue a.ci.test -o tls");
        succeeds("verify", desk.openssl("verify -purpose sslserver -CAfile trust/ca.pem -untrusted tls/fullchain.pem tls/fullchain.pem"));
    }
}
