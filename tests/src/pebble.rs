//! Pebble, a real ACME CA, with the DNS that it looks at: each on ports of its own, with a server certificate made here.
//!
//! Pebble takes no port 0, so ports are found by asking the kernel and letting them go; whoever loses that race starts again.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use crate::tools;

/// A name that it issues nothing for.
pub const BLOCKED: &str = "blocked.test";

/// A running CA.
#[derive(Debug)]
pub struct Pebble {
    child: Child,
    /// Unless it looks at another.
    dns: Option<Child>,
    folder: TempDir,
    ports: Ports,
    settings: Settings,
}

/// How it behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long its certificates of the profile `short` are valid, if it has one. Who asks for no profile then gets any.
    pub also_short: Option<Duration>,
    /// Percent of proofs that need not be made again, where the account has made them before.
    pub authz_reuse: u32,
    /// Percent of valid nonces that are refused.
    pub bad_nonces: u32,
    /// CA certificates between the leaf and the root.
    pub chain_length: u32,
    /// Whom alone it takes as a customer: the name of a key, and the key in base64url.
    pub customer: Option<(String, String)>,
    /// The DNS that it looks at; else one of its own, in which every name leads to this machine.
    pub dns: Option<SocketAddr>,
    /// How long its certificates are valid.
    pub life: Duration,
    /// Seconds in which each of its three looks at a proof happens at any moment; `None`: all at once.
    pub patience: Option<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Ports {
    api: u16,
    dns: u16,
    dns_control: u16,
    http: u16,
    management: u16,
    tls: u16,
}

impl Default for Settings {
    fn default() -> Self {
        let life = Duration::from_secs(90 * 24 * 3600);
        Self { also_short: None, authz_reuse: 0, bad_nonces: 0, chain_length: 1, customer: None, dns: None, life, patience: None }
    }
}

impl Pebble {
    /// A CA that proves names at [`Pebble::http_port`] and [`Pebble::tls_port`] of 127.0.0.1, whatever the name. `None` where the program is missing.
    pub fn start(settings: Settings) -> Option<Self> {
        let [pebble, dns] = tools::require_all(["pebble", "pebble-challtestsrv"])?;
        let folder = TempDir::with_prefix("chandler-pebble-").expect("a folder in the temporary folder");
        let ports = Ports::free();
        write_configuration(folder.path(), ports, &settings);
        let dns = settings.dns.is_none().then(|| start_dns(&dns, ports));
        let child = start(&pebble, folder.path(), ports, &settings);
        let this = Self { child, dns, folder, ports, settings };
        if this.dns.is_some() {
            this.clear_txt("nothing"); // Once it does that, it answers questions too.
        }
        this.wait_until_it_answers();
        Some(this)
    }

    /// The URL of its directory.
    pub fn directory(&self) -> String {
        format!("https://127.0.0.1:{}/dir", self.ports.api)
    }

    /// Where its API is.
    pub fn api_address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.ports.api).into()
    }

    /// The root of what it issues, PEM: what engines must trust. Another one after each start.
    pub fn root(&self) -> String {
        let url = format!("https://127.0.0.1:{}/roots/0", self.ports.management);
        let answer = Command::new("curl").args(["-sfk", &url]).output().expect("curl runs");
        assert!(answer.status.success(), "Pebble shows its root; it said:\n{}", self.log());
        String::from_utf8(answer.stdout).expect("PEM is text")
    }

    /// Whether it took the certificate with this serial number (hexadecimal) back.
    pub fn has_revoked(&self, serial: &str) -> bool {
        let url = format!("https://127.0.0.1:{}/cert-status-by-serial/{serial}", self.ports.management);
        let answer = Command::new("curl").args(["-sfk", &url]).output().expect("curl runs");
        String::from_utf8_lossy(&answer.stdout).contains("Revoked")
    }

    /// The root of its own server's certificate, PEM: what a client of its API must trust.
    pub fn api_root(&self) -> String {
        fs::read_to_string(self.folder.path().join("root.pem")).expect("it was written at the start")
    }

    /// Where it looks for http-01 proofs.
    pub fn http_port(&self) -> u16 {
        self.ports.http
    }

    /// Where it looks for tls-alpn-01 proofs.
    pub fn tls_port(&self) -> u16 {
        self.ports.tls
    }

    /// How many certificates it has issued, by its own log.
    pub fn issued(&self) -> usize {
        self.log().lines().filter(|line| line.contains("Issued certificate serial")).count()
    }

    /// What it said.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Sets the answer of its DNS to TXT questions for `name`.
    pub fn set_txt(&self, name: &str, value: &str) {
        self.dns_control("set-txt", &json!({ "host": format!("{name}."), "value": value }));
    }

    /// Takes all of them away.
    pub fn clear_txt(&self, name: &str) {
        self.dns_control("clear-txt", &json!({ "host": format!("{name}.") }));
    }

    /// The command that does so from a script: `curl` and what it posts, with `$NAME` and `$VALUE` for the shell.
    pub fn set_txt_command(&self) -> String {
        let url = format!("http://127.0.0.1:{}/set-txt", self.ports.dns_control);
        format!("curl -sf --data \"{{\\\"host\\\": \\\"$NAME\\\", \\\"value\\\": \\\"$VALUE\\\"}}\" {url}")
    }

    /// Ends it. What it knew of accounts and orders is lost.
    pub fn stop(&mut self) {
        end(&mut self.child);
    }

    /// Starts it again at the same address, knowing nothing.
    pub fn start_again(&mut self) {
        end(&mut self.child);
        let pebble = tools::find("pebble").expect("it ran before");
        self.child = start(&pebble, self.folder.path(), self.ports, &self.settings);
        self.wait_until_it_answers();
    }

    /// The same, and what it issues from now on is valid for `life`. Its API has another root.
    pub fn start_again_with(&mut self, life: Duration) {
        end(&mut self.child);
        self.settings.life = life;
        write_configuration(self.folder.path(), self.ports, &self.settings);
        self.start_again();
    }

    fn dns_control(&self, action: &str, body: &serde_json::Value) {
        let url = format!("http://127.0.0.1:{}/{action}", self.ports.dns_control);
        let done = Command::new("curl")
            .args(["-sf", "--retry", "20", "--retry-connrefused", "--retry-delay", "1", "--data", &body.to_string(), &url])
            .status();
        assert!(done.is_ok_and(|status| status.success()), "{action} of the DNS for tests");
    }

    fn wait_until_it_answers(&self) {
        let root = self.folder.path().join("root.pem");
        let args = ["-sf", "-o", "/dev/null", "--retry", "60", "--retry-connrefused", "--retry-delay", "1", "--cacert"];
        let answered = Command::new("curl").args(args).arg(root).arg(self.directory()).status();
        assert!(answered.is_ok_and(|status| status.success()), "Pebble answers; it said:\n{}", self.log());
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        end(&mut self.child);
        self.dns.iter_mut().for_each(end);
    }
}

impl Ports {
    fn free() -> Self {
        let [api, dns, dns_control, http, management, tls] = [(); 6].map(|()| free_port());
        Self { api, dns, dns_control, http, management, tls }
    }
}

/// One that stays free until it is used, which may be late in a test: it lies below those that the system hands out to whoever asks for any.
fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        // Other runs on this machine begin elsewhere.
        let number = std::process::id().wrapping_mul(97).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = 20_000 + (number % 10_000) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

fn write_configuration(folder: &Path, ports: Ports, settings: &Settings) {
    let root_key = rcgen::KeyPair::generate().expect("a key");
    let mut root = rcgen::CertificateParams::new([]).expect("no names");
    root.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    root.distinguished_name.push(rcgen::DnType::CommonName, "root of Pebble's own server"); // Not the server's: it would look self-signed.
    let root = rcgen::CertifiedIssuer::self_signed(root, root_key).expect("signed");
    let key = rcgen::KeyPair::generate().expect("a key");
    let server = rcgen::CertificateParams::new(["127.0.0.1".to_owned()]).expect("a name").signed_by(&key, &root).expect("signed");
    let customers: serde_json::Map<_, _> = settings.customer.iter().map(|(name, key)| (name.clone(), json!(key))).collect();
    let profile = |life: Duration| json!({ "description": "for tests", "validityPeriod": life.as_secs() });
    let short = settings.also_short.map(|life| ("short".to_owned(), profile(life)));
    let profiles: serde_json::Map<_, _> = [("default".to_owned(), profile(settings.life))].into_iter().chain(short).collect();
    let configuration = json!({ "pebble": {
        "listenAddress": format!("127.0.0.1:{}", ports.api),
        "managementListenAddress": format!("127.0.0.1:{}", ports.management),
        "certificate": folder.join("server.pem"),
        "privateKey": folder.join("server.key"),
        "httpPort": ports.http,
        "tlsPort": ports.tls,
        "ocspResponderURL": "",
        "externalAccountBindingRequired": settings.customer.is_some(),
        "externalAccountMACKeys": customers,
        "retryAfter": { "authz": 1, "order": 1 },
        "keyAlgorithm": "ecdsa",
        "domainBlocklist": [BLOCKED],
        "profiles": profiles,
    } });
    for (file, text) in [
        ("root.pem", root.pem()),
        ("server.pem", server.pem()),
        ("server.key", key.serialize_pem()),
        ("config.json", configuration.to_string()),
    ] {
        fs::write(folder.join(file), text).expect("written");
    }
}

fn start(pebble: &Path, folder: &Path, ports: Ports, settings: &Settings) -> Child {
    let log = fs::File::options().create(true).append(true).open(folder.join("log")).expect("a log");
    let patience = settings.patience.map_or(("PEBBLE_VA_NOSLEEP", 1), |seconds| ("PEBBLE_VA_SLEEPTIME", seconds));
    Command::new(pebble)
        .arg("-config")
        .arg(folder.join("config.json"))
        .args(["-dnsserver", &settings.dns.unwrap_or_else(|| ([127, 0, 0, 1], ports.dns).into()).to_string()])
        .env(patience.0, patience.1.to_string())
        .env("PEBBLE_AUTHZREUSE", settings.authz_reuse.to_string())
        .env("PEBBLE_CHAIN_LENGTH", settings.chain_length.to_string())
        .env("PEBBLE_WFE_NONCEREJECT", settings.bad_nonces.to_string())
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a descriptor"))
        .stderr(log)
        .spawn()
        .expect("pebble starts")
}

fn start_dns(program: &Path, ports: Ports) -> Child {
    Command::new(program)
        .args(["-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", "", "-defaultIPv4", "127.0.0.1", "-defaultIPv6", ""])
        .args(["-dnsserver", &format!("127.0.0.1:{}", ports.dns), "-management", &format!("127.0.0.1:{}", ports.dns_control)])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("pebble-challtestsrv starts")
}

fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}
