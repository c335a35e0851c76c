//! A machine that has nothing but a token gets its certificate from the mirror, once: with curl and OpenSSL as README says, or with `chandler ca request`. Over HTTPS only, and nobody learns a token from
//! what the mirror writes.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use http::{Method, StatusCode};
use serde_json::Value;
use tests::client::{Answer, Client};
use tests::hub::Hub;
use tests::program::{Builder, Program, program_path};
use tests::tools;

use super::client_certificates::{APP, Desk, Pair, RULES, hub};

pub(super) const TOKENS: &str = "[private], tokens: true";

impl Desk {
    /// A token for one certificate, as the operator has it.
    pub(super) fn token(&self, name: &str, more: &str) -> String {
        self.ca(&format!("token {name} --output token --state state{more}"));
        let token = self.read("token").trim().to_owned();
        assert_eq!(self.path("token").metadata().expect("there").permissions().mode() & 0o777, 0o600);
        token
    }

    /// A key, and a request for it.
    fn request(&self, name: &str) -> Option<String> {
        let openssl = tools::require("openssl")?;
        let made = Command::new(openssl)
            .args(["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=root.ci.test"])
            .args(["-keyout", &format!("{name}.key"), "-out", &format!("{name}.csr")])
            .current_dir(self.path(""))
            .output();
        right(&made.expect("it starts"));
        Some(self.read(&format!("{name}.csr")))
    }

    /// What was issued to this name.
    fn issued(&self, name: &str) -> usize {
        self.read("state/ca/issued.jsonl").lines().filter(|line| line.contains(&format!("\"{name}\""))).count()
    }

    /// `chandler ca request` of a machine whose folder this is.
    fn machine(&self, mirror: &Program, out: &str) -> Output {
        self.machine_with(mirror, out, &[])
    }

    fn machine_with(&self, mirror: &Program, out: &str, more: &[&str]) -> Output {
        let mut command = Command::new(program_path());
        command.args(["ca", "request", "--mirror", mirror.url(), "--token", "token", "--out", out]).args(more);
        command.current_dir(self.path("")).env_clear().output().expect("it starts")
    }

    fn written(&self, folder: &str) -> Pair {
        Pair { chain: self.read(&format!("{folder}/client.cert")), key: self.read(&format!("{folder}/client.key")) }
    }
}

#[track_caller]
fn right(output: &Output) -> String {
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

#[track_caller]
fn wrong(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stderr)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

async fn post(client: &Client, token: &str, body: impl Into<reqwest::Body>) -> Answer {
    client.send(client.request(Method::POST, "/chandler/certificate").bearer_auth(token).body(body)).await
}

fn said(answer: &Answer) -> String {
    text(answer.body.as_ref().expect("whole"))
}

/// The mirror's log, in which no part of a token's secret stands.
fn assert_untold(mirror: &Program, tokens: &[&str]) {
    for token in tokens {
        let secret = token.split('.').nth(2).expect("the third part");
        assert!(!mirror.log().contains(secret), "{}", mirror.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lines_in_the_readme_get_a_machine_its_certificate_with_curl_and_openssl() {
    let Some([_, _]) = tools::require_all(["curl", "openssl"]) else { return };
    let (hub, desk) = (hub(), Desk::new());
    let mirror = desk.mirror(&hub, TOKENS, RULES).start();
    let token = desk.token("runner-1.ci.test", "");
    let lines = readme().replace("https://mirror.internal:5000", mirror.url());
    assert!(lines.contains("/chandler/certificate") && lines.lines().count() < 10, "{lines}");
    let run = |lines: &str| {
        let mut bash = Command::new("bash");
        bash.args(["-euc", lines]).current_dir(desk.path("")).env("NO_PROXY", "*").env_remove("BASH_ENV").output().expect("it starts")
    };
    right(&run(&lines));
    let pair = Pair { chain: desk.read("client.cert"), key: desk.read("client.key") };
    let runner = desk.ask_as(&mirror, Some(&pair));
    assert_eq!(runner.get(APP).await.status, StatusCode::OK);
    assert!(mirror.wait_for_log("\"client_certificate\"").contains("runner-1.ci.test"), "whatever name the request had");
    assert_eq!(desk.read("ca.crt"), desk.read("trust/ca.pem"), "the same as is exported");
    assert!(mirror.wait_for_log("a client's certificate was issued by token").contains("runner-1.ci.test"));

    let again = run(&lines);
    assert!(!again.status.success() && !text(&again.stderr).contains(&token), "with another key: {}", text(&again.stderr));
    assert!(mirror.wait_for_log("was refused").contains("127.0.0.1"));
    let other = Desk::new();
    fs::write(desk.path("token"), other.token("runner-1.ci.test", "")).expect("ours");
    assert!(text(&run(&lines).stdout).contains("FAILED"), "another CA's token is not shown to this mirror");
    assert_untold(&mirror, &[&token]);
}

/// The block of README that gets a certificate.
fn readme() -> String {
    let readme = include_str!("../../README.md");
    let blocks = readme.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.into_iter().find(|block| block.contains("/chandler/certificate")).expect("README shows it").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_gets_key_certificate_and_roots_by_one_command_that_can_be_run_again() {
    let (hub, desk) = (hub(), Desk::new());
    let mirror = desk.mirror(&hub, TOKENS, RULES).start();
    let token = desk.token("runner-1.ci.test", "");
    fs::create_dir(desk.path("etc")).expect("ours");
    right(&desk.machine(&mirror, "etc"));
    for (file, mode) in [("ca.crt", 0o644), ("client.cert", 0o644), ("client.key", 0o600)] {
        assert_eq!(desk.path("etc").join(file).metadata().expect("there").permissions().mode() & 0o777, mode, "{file}");
    }
    assert_eq!(fs::read_dir(desk.path("etc")).expect("a folder").count(), 3, "what else is there, engines would stumble over");
    let first = desk.written("etc");
    assert_eq!(desk.ask_as(&mirror, Some(&first)).get(APP).await.status, StatusCode::OK);
    assert_eq!(desk.read("etc/ca.crt"), desk.read("trust/ca.pem"));

    // As a run that is killed leaves it: just before its end, and before the answer came.
    right(&desk.machine(&mirror, "etc"));
    fs::rename(desk.path("etc/client.key"), desk.path("etc/client.key.pending")).expect("ours");
    fs::remove_file(desk.path("etc/client.cert")).expect("ours");
    right(&desk.machine(&mirror, "etc"));
    let again = desk.written("etc");
    assert_eq!((again.chain, again.key, desk.issued("runner-1.ci.test")), (first.chain, first.key.clone(), 1));

    let told = wrong(&desk.machine(&mirror, "elsewhere"));
    assert!(told.contains("the token was used for another key") && told.contains("hint:"), "{told}");
    assert!(!desk.path("elsewhere/client.key").exists() && !desk.path("elsewhere/client.cert").exists());
    let renewal = desk.token("runner-1.ci.test", "");
    right(&desk.machine(&mirror, "etc"));
    assert_eq!(desk.ask_as(&mirror, Some(&desk.written("etc"))).get(APP).await.status, StatusCode::OK);

    // As a run that is killed between the two names leaves it, and the token is of no more use.
    let second = desk.written("etc");
    fs::rename(desk.path("etc/client.key"), desk.path("etc/client.key.pending")).expect("ours");
    fs::write(desk.path("etc/client.key"), &first.key).expect("ours");
    desk.ca(&format!("token --cancel {} --state state", renewal.split('.').nth(1).expect("the second part")));
    let told = right(&desk.machine(&mirror, "etc"));
    let finished = desk.written("etc");
    assert_eq!((finished.chain, finished.key), (second.chain, second.key), "the pair is whole, and nothing was asked for: {told}");
    wrong(&desk.machine(&mirror, "etc"));
    assert_untold(&mirror, &[&token, &renewal]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_shows_its_token_to_no_other_mirror() {
    let (hub, desk, other) = (hub(), Desk::new(), Desk::new());
    let [mirror, impostor] = [&desk, &other].map(|desk| desk.mirror(&hub, TOKENS, RULES).start());
    let token = desk.token("runner-1.ci.test", "");
    let told = wrong(&desk.machine(&impostor, "etc"));
    assert!(told.contains("is not the mirror that the token was made for"), "{told}");
    assert!(!impostor.log().contains("/chandler/certificate"), "it was not even asked: {}", impostor.log());
    // One that has the right roots, which are public, and no certificate of theirs.
    let ca = desk.path("state").display().to_string();
    let copy = other.mirror(&hub, TOKENS, RULES).environment("CHANDLER_ACME_PATH", &ca).start();
    let told = wrong(&desk.machine(&copy, "etc"));
    assert!(told.contains("cannot be asked") && told.contains("certificate"), "{told}");
    assert!(!copy.log().contains("\"path\":\"/chandler/certificate\""), "{}", copy.log());
    let known_by = other.path("trust/ca.pem").display().to_string();
    right(&desk.machine_with(&copy, "known", &["--ca", &known_by]));
    assert_eq!(desk.path("known").metadata().expect("there").permissions().mode() & 0o777, 0o755, "engines of users read it, too");
    assert!(desk.path("known/client.cert").exists() && !desk.path("known/ca.crt").exists(), "the machine has it already");
    let another = desk.token("runner-1.ci.test", "");
    right(&desk.machine(&mirror, "etc"));
    assert_untold(&impostor, &[&token, &another]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_over_or_taken_back_opens_nothing_and_the_operator_sees_which_are_out() {
    let (hub, desk) = (hub(), Desk::new());
    let Some(request) = desk.request("machine") else { return };
    let mirror = desk.mirror(&hub, TOKENS, RULES).start();
    let nobody = desk.ask_as(&mirror, None);
    let (cancelled, used) = (desk.token("runner-1.ci.test", ""), desk.token("runner-2.ci.test", ""));
    let id = |token: &str| token.split('.').nth(1).expect("the second part").to_owned();
    assert_eq!(post(&nobody, &used, request.clone()).await.status, StatusCode::CREATED);
    let list = || {
        right(
            &Command::new(program_path())
                .args(["ca", "token", "--list", "--state", "state"])
                .current_dir(desk.path(""))
                .env_clear()
                .output()
                .expect("it starts"),
        )
    };
    let listed = list();
    let line = |token: &str| listed.lines().find(|line| line.starts_with(&id(token))).expect("it is out").to_owned();
    assert!(line(&cancelled).contains("runner-1.ci.test  not used") && line(&used).contains("runner-2.ci.test  used at"), "{listed}");
    assert!(!listed.contains(cancelled.split('.').nth(2).expect("the third part")), "{listed}");
    desk.ca(&format!("token --cancel {} --state state", id(&cancelled)));
    let answer = post(&nobody, &cancelled, request.clone()).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::FORBIDDEN, "TOKEN_REFUSED"));

    let short = desk.token("runner-3.ci.test", " --valid 2s");
    assert_eq!(post(&nobody, &short, "no request").await.code(), "REQUEST_INVALID", "it is good, and is not used up by that");
    let mut last = post(&nobody, &short, "no request").await;
    for _ in 0..1200 {
        if last.status == StatusCode::FORBIDDEN {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        last = post(&nobody, &short, "no request").await;
    }
    assert!(said(&last).contains("was over at"), "{}", said(&last));
    assert_eq!(post(&nobody, &short, request).await.status, StatusCode::FORBIDDEN);
    assert_eq!(desk.issued("runner-1.ci.test") + desk.issued("runner-3.ci.test"), 0);
    assert_untold(&mirror, &[&cancelled, &used, &short]);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_machines_with_one_token_get_one_certificate_among_them() {
    let (hub, desk) = (hub(), Desk::new());
    let mirror = desk.mirror(&hub, TOKENS, RULES).start();
    let token = desk.token("runner-1.ci.test", "");
    let mut asking = Vec::new();
    for machine in 0..10 {
        let Some(request) = desk.request(&machine.to_string()) else { return };
        let (client, token) = (desk.ask_as(&mirror, None), token.clone());
        asking.push(tokio::spawn(async move { post(&client, &token, request).await }));
    }
    let mut statuses = Vec::new();
    for asked in asking {
        statuses.push(asked.await.expect("no panic").status);
    }
    statuses.sort_unstable();
    assert_eq!(
        (statuses[0], statuses[1], statuses[9]),
        (StatusCode::CREATED, StatusCode::FORBIDDEN, StatusCode::FORBIDDEN),
        "{statuses:?}"
    );
    assert_eq!(desk.issued("runner-1.ci.test"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_between_taking_a_token_and_answering_the_mirror_gives_the_same_key_its_one_certificate() {
    let (hub, desk) = (hub(), Desk::new());
    let (Some(ours), Some(theirs)) = (desk.request("ours"), desk.request("theirs")) else { return };
    let mut mirror = desk.mirror(&hub, TOKENS, RULES).start();
    for round in 0..9 {
        let name = format!("runner-{round}.ci.test");
        let token = desk.token(&name, "");
        let file = desk.path(&format!("state/ca/tokens/{}.json", token.split('.').nth(1).expect("the second part")));
        let (client, body, word) = (desk.ask_as(&mirror, None), ours.clone(), token.clone());
        let request = client.request(Method::POST, "/chandler/certificate").bearer_auth(word).body(body);
        let asking = tokio::spawn(async move { client.begin(request).await.ok()?.rest().await.ok() });
        // Killed when the request is under way, when the token is taken, or when all is done.
        while round % 3 > 0 && !is_taken(&file) && !asking.is_finished() {
            tokio::task::yield_now().await;
        }
        if round % 3 == 2 {
            while !asking.is_finished() {
                tokio::task::yield_now().await;
            }
        }
        mirror = mirror.crash_and_restart();
        let lost = asking.await.expect("no panic");
        let nobody = desk.ask_as(&mirror, None);
        if is_taken(&file) {
            let refused = post(&nobody, &token, theirs.clone()).await;
            assert_eq!((refused.status, refused.code().as_str()), (StatusCode::FORBIDDEN, "TOKEN_USED"), "round {round}");
        }
        let again = post(&nobody, &token, ours.clone()).await.whole();
        assert!(lost.is_none_or(|lost| lost == again), "round {round}: one certificate for one token");
        assert_eq!(desk.issued(&name), 1, "round {round}");
        let pair = Pair { chain: text(&again), key: desk.read("ours.key") };
        assert_eq!(desk.ask_as(&mirror, Some(&pair)).get(APP).await.status, StatusCode::OK, "round {round}");
    }
}

fn is_taken(file: &Path) -> bool {
    let grant: Value = serde_json::from_slice(&fs::read(file).expect("it is replaced as a whole")).expect("JSON");
    !grant["taken"].is_null()
}

/// Over HTTP/2, where an answer that comes before the request's end is an error to curl.
#[tokio::test(flavor = "multi_thread")]
async fn who_asks_in_a_wrong_way_hears_it_though_more_was_sent_than_is_read() {
    let Some(curl) = tools::require("curl") else { return };
    let (hub, desk) = (hub(), Desk::new());
    let mirror = desk.mirror(&hub, TOKENS, RULES).start();
    fs::write(desk.path("body"), vec![b'x'; 32 << 10]).expect("ours");
    let asked = [("PUT", "certificate", "2 405"), ("POST", "certificate", "2 403"), ("PUT", "ca.pem", "2 200")];
    for (method, page, expected) in asked.into_iter().cycle().take(12) {
        let mut command = Command::new(&curl);
        command.args(["--http2", "--silent", "--show-error", "--insecure", "--max-time", "20", "--output", "/dev/null"]);
        command.args(["--write-out", "%{http_version} %{http_code}", "--request", method, "--data-binary", "@body"]);
        let output = command.arg(format!("{}/chandler/{page}", mirror.url())).current_dir(desk.path("")).output().expect("curl runs");
        assert_eq!((text(&output.stdout).as_str(), text(&output.stderr).as_str()), (expected, ""), "{method} {page}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_plain_http_or_unasked_there_is_no_such_page() {
    let (hub, desk) = (hub(), Desk::new());
    let Some(request) = desk.request("machine") else { return };
    let token = desk.token("runner-1.ci.test", "");
    let [chain, key] = ["mirror/fullchain.pem", "mirror/privkey.pem"].map(|file| desk.path(file).display().to_string());
    let both = format!("[{{address: \"127.0.0.1:0\"}}, {{address: \"127.0.0.1:0\", tls: {{certificate: \"{chain}\", key: \"{key}\"}}}}]");
    let mirror = desk.mirror(&hub, TOKENS, RULES).listeners(&both).start();
    let unasked = desk.mirror(&hub, "[private]", RULES).start();
    for client in [Client::new(mirror.url()), desk.ask_as(&unasked, None)] {
        assert_eq!(post(&client, &token, request.clone()).await.status, StatusCode::NOT_FOUND);
        assert_eq!(client.get("/chandler/ca.pem").await.status, StatusCode::NOT_FOUND);
    }
    assert_eq!(desk.issued("runner-1.ci.test"), 0);
    let secure = Client::with(&mirror.urls[1], trusting(&desk));
    assert_eq!(post(&secure, &token, request).await.status, StatusCode::CREATED);
}

fn trusting(desk: &Desk) -> reqwest::ClientBuilder {
    let root = reqwest::Certificate::from_pem(desk.read("trust/ca.pem").as_bytes()).expect("a root");
    reqwest::Client::builder().tls_certs_only([root])
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_or_no_request_is_refused_by_the_real_program_and_the_connection_ends_well() {
    let (hub, desk) = (hub(), Desk::new());
    let Some(request) = desk.request("machine") else { return };
    let mirror = desk.mirror(&hub, TOKENS, RULES).start();
    let (token, nobody) = (desk.token("runner-1.ci.test", ""), desk.ask_as(&mirror, None));
    for (body, status) in [
        (vec![b'x'; 900 << 10], StatusCode::PAYLOAD_TOO_LARGE),
        (vec![0x30; 16 << 10], StatusCode::BAD_REQUEST),
        (Vec::new(), StatusCode::BAD_REQUEST),
        (b"{\"csr\": true}".to_vec(), StatusCode::BAD_REQUEST),
    ] {
        let answer = post(&nobody, &token, body).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, "REQUEST_INVALID"));
    }
    let bare = nobody.send(nobody.request(Method::POST, "/chandler/certificate").body(request.clone())).await;
    assert!(bare.status == StatusCode::FORBIDDEN && said(&bare).contains("Authorization: Bearer"), "{}", said(&bare));
    assert_eq!(nobody.get("/chandler/certificate").await.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(post(&nobody, &token, request).await.status, StatusCode::CREATED);
}

#[test]
fn a_ca_that_cannot_issue_is_told_before_the_start() {
    let (hub, desk) = (Hub::start(), Desk::new());
    let check = |cas: &str| {
        let builder = desk.mirror(&hub, cas, RULES);
        let output = Command::new(program_path()).args(["mirror", "--check", "--config"]).arg(builder.write()).env_clear().output();
        output.expect("it starts")
    };
    right(&check(TOKENS));
    let keys: PathBuf = desk.path("state/ca/keys");
    fs::rename(&keys, desk.path("away")).expect("ours");
    right(&check("[private]"));
    let output = check(TOKENS);
    let told = text(&output.stderr);
    assert!(output.status.code() == Some(2) && told.contains("clients.tokens") && told.contains("no certificate can be issued"), "{told}");
}

#[test]
fn what_root_did_to_the_ca_of_a_services_user_keeps_that_from_nothing_and_is_told_where_it_did() {
    let (hub, desk) = (Hub::start(), Desk::new());
    let folder = desk.path("state/ca");
    let owner = |path: &Path| fs::metadata(path).expect("there").uid();
    if !tools::require_giving() {
        return;
    }
    let by_files = desk.mirror(&hub, TOKENS, RULES);
    let by_itself = desk.mirror(&hub, "[private]", RULES).listeners("[{address: \"127.0.0.1:0\", tls: {private: [127.0.0.1]}}]");
    let check = |builder: &Builder| {
        let output = Command::new(program_path()).args(["mirror", "--check", "--config"]).arg(builder.write()).env_clear().output();
        output.expect("it starts")
    };
    chown(&folder, Some(4711), Some(4711)).expect("given");
    for (builder, key) in [(&by_files, "clients.tokens"), (&by_itself, "listeners.0.tls.private")] {
        let output = check(builder);
        let told = text(&output.stderr);
        let names_it = told.contains(key) && told.contains("issued.jsonl") && told.contains("chown");
        assert!(output.status.code() == Some(2) && names_it, "{told}");
    }
    desk.ca("issue runner-1.ci.test --client --output again --state state");
    assert_eq!(owner(&folder.join("issued.jsonl")), 4711, "what root writes there is the user's");
    for builder in [&by_files, &by_itself] {
        right(&check(builder));
    }
}
