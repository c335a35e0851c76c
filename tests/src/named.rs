//! BIND, a real name server that takes signed updates: each on an address of its own on this machine, at the port where name servers are looked for.
//!
//! A low port needs root; the test that lacks it says so.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::tools;

/// A running name server.
#[derive(Debug)]
pub struct Named {
    address: Ipv4Addr,
    child: Child,
    folder: TempDir,
}

/// A zone that it serves.
#[derive(Clone, Debug)]
pub struct Zone {
    name: String,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Primary { records: String, policy: String },
    Secondary { of: Ipv4Addr },
}

impl Zone {
    /// Of its own, which nobody changes. The server's own name is `ns1` in it.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), kind: Kind::Primary { records: String::new(), policy: String::new() } }
    }

    /// A copy of what `primary` has; asked for as soon as that says that it has changed.
    pub fn copy_of(name: &str, primary: &Named) -> Self {
        Self { name: name.to_owned(), kind: Kind::Secondary { of: primary.address } }
    }

    /// A line of the zone's file.
    pub fn record(mut self, line: &str) -> Self {
        if let Kind::Primary { records, .. } = &mut self.kind {
            records.push_str(line);
            records.push('\n');
        }
        self
    }

    /// A rule of its update policy, such as `grant chandler zonesub TXT;`.
    pub fn grant(mut self, rule: &str) -> Self {
        if let Kind::Primary { policy, .. } = &mut self.kind {
            policy.push_str(rule);
        }
        self
    }
}

impl Named {
    /// The name of the key that it knows.
    pub const KEY: &str = "chandler";
    /// Its secret.
    pub const SECRET: &str = "c2VjcmV0LW9mLXRoZS1uYW1lLXNlcnZlci1mb3ItdGVzdHM=";

    /// An address for one, so that zones can name it before it runs.
    pub fn address() -> Ipv4Addr {
        let mut bytes = [0; 3];
        aws_lc_rs::rand::fill(&mut bytes).expect("random numbers");
        Ipv4Addr::new(127, bytes[0].clamp(1, 254), bytes[1], bytes[2].clamp(1, 254))
    }

    /// One with these zones, when it answers. `None` where the program is missing, or the right to the port.
    pub fn start(zones: &[Zone]) -> Option<Self> {
        Self::start_at(Self::address(), zones)
    }

    /// One that follows names from one of its zones to another, as a resolver does.
    pub fn start_resolver(zones: &[Zone]) -> Option<Self> {
        Self::run(Self::address(), zones, "yes")
    }

    /// At an address from [`Named::address`].
    pub fn start_at(address: Ipv4Addr, zones: &[Zone]) -> Option<Self> {
        Self::run(address, zones, "no")
    }

    fn run(address: Ipv4Addr, zones: &[Zone], recursion: &str) -> Option<Self> {
        let [named, _] = tools::require_all(["named", "dig"])?;
        if !tools::require_low_ports() {
            return None;
        }
        let folder = TempDir::with_prefix("chandler-named-").expect("a folder in the temporary folder");
        let mut configuration = format!(
            "options {{ directory \"{}\"; listen-on port 53 {{ {address}; }}; listen-on-v6 {{ none; }}; recursion {recursion}; pid-file none;\n\
             lock-file none; dnssec-validation no; allow-transfer {{ any; }}; notify yes; notify-source {address}; transfer-source {address};\n\
             notify-delay 0; min-refresh-time 1; querylog yes; key-directory \".\"; }};\ncontrols {{ }};\n\
             key \"{}\" {{ algorithm hmac-sha256; secret \"{}\"; }};\n",
            folder.path().display(),
            Self::KEY,
            Self::SECRET
        );
        for zone in zones {
            configuration.push_str(&zone.write(address, folder.path()));
        }
        fs::write(folder.path().join("named.conf"), configuration).expect("written");
        loopback("add", address);
        let log = fs::File::create(folder.path().join("log")).expect("a log");
        let child = Command::new(named)
            .args(["-g", "-n", "1", "-c"])
            .arg(folder.path().join("named.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("named starts");
        let this = Self { address, child, folder };
        for zone in zones {
            this.wait_until(&zone.name, "SOA", |answer| !answer.is_empty());
        }
        Some(this)
    }

    /// Where it answers.
    pub fn socket(&self) -> SocketAddr {
        (self.address, 53).into()
    }

    /// The texts of a name, sorted, without their quotes.
    pub fn texts(&self, name: &str) -> Vec<String> {
        let answer = self.dig(name, "TXT");
        let mut texts: Vec<String> = answer.lines().map(|line| line.trim_matches('"').to_owned()).collect();
        texts.sort();
        texts
    }

    /// Its key as `tsig-keygen` prints it.
    pub fn key_file() -> String {
        format!("key \"{}\" {{\n\talgorithm hmac-sha256;\n\tsecret \"{}\";\n}};\n", Self::KEY, Self::SECRET)
    }

    /// What it said.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn dig(&self, name: &str, kind: &str) -> String {
        let dig = tools::find("dig").expect("it was there");
        let server = format!("@{}", self.address);
        let answer = Command::new(dig).args([&server, "+short", "+time=2", "+tries=1", name, kind]).output().expect("dig runs");
        // Of a server that is not there yet it says so in a comment, on the same stream.
        let text = String::from_utf8_lossy(&answer.stdout).into_owned();
        text.lines().filter(|line| !line.starts_with(';')).collect::<Vec<_>>().join("\n")
    }

    fn wait_until(&self, name: &str, kind: &str, is_right: impl Fn(&str) -> bool) {
        for _ in 0..LOOKS {
            if is_right(&self.dig(name, kind)) {
                return;
            }
            #[expect(
                clippy::disallowed_methods,
                reason = "tests start it where nothing can be awaited, and it tells nobody when it serves"
            )]
            std::thread::sleep(POLL);
        }
        panic!("named never answered for {name} {kind}; it said:\n{}", self.log());
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        loopback("del", self.address);
    }
}

/// named listens at addresses that interfaces have, one by one; this machine's own loopback has one only, though all of 127.0.0.0/8 leads to it.
fn loopback(action: &str, address: Ipv4Addr) {
    let done = Command::new("ip").args(["address", action, &format!("{address}/32"), "dev", "lo"]).status();
    assert!(done.is_ok_and(|status| status.success()), "ip address {action} {address}/32 dev lo");
}

impl Zone {
    /// Its part of the configuration; its file goes into `folder`.
    fn write(&self, address: Ipv4Addr, folder: &std::path::Path) -> String {
        let (name, file) = (&self.name, format!("{}.zone", self.name));
        match &self.kind {
            Kind::Primary { records, policy } => {
                let text = format!("$TTL 5\n@ SOA ns1 nobody 1 60 60 600 1\n@ NS ns1\nns1 A {address}\n{records}");
                fs::write(folder.join(&file), text).expect("written");
                let policy = if policy.is_empty() { String::new() } else { format!("update-policy {{ {policy} }}; ") };
                format!("zone \"{name}\" {{ type primary; file \"{file}\"; {policy}}};\n")
            }
            Kind::Secondary { of } => {
                format!("zone \"{name}\" {{ type secondary; file \"{file}\"; primaries {{ {of}; }}; notify no; }};\n")
            }
        }
    }
}

/// More looks than a start takes.
const LOOKS: u32 = 200;
/// Between two looks.
const POLL: Duration = Duration::from_millis(100);
