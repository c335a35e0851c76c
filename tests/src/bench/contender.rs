//! Who is compared: chandler, the peers as they are set up at their best for the same job, and the bare loop, which is the machine's limit.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use certs::{Bundle, KeyKind, Wish};
use serde_json::{Value, json};

use super::hub::preamble;
use super::process::{Process, free_address};
use super::{Outcome, Programs};

/// One of the compared.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Ours, with a certificate from files where it speaks HTTPS.
    Chandler,
    /// Ours, with a certificate that is issued to it by ACME. It has no column, but rows of its own, against [`Kind::Chandler`].
    Issued,
    /// `registry:3`.
    Distribution3,
    /// `registry:2`.
    Distribution2,
    /// As a caching proxy, with a lock on each object that is fetched.
    Nginx,
    /// hyper and nothing else, with chandler's headers.
    Bare,
}

impl Kind {
    /// What the table calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Chandler => "chandler",
            Self::Issued => "chandler by ACME",
            Self::Distribution3 => "distribution 3",
            Self::Distribution2 => "distribution 2.8",
            Self::Nginx => "nginx",
            Self::Bare => "bare loop",
        }
    }

    /// Whether it is somebody else's.
    pub fn is_peer(self) -> bool {
        !matches!(self, Self::Chandler | Self::Issued | Self::Bare)
    }
}

/// What every contender needs.
#[derive(Debug)]
pub struct Yard {
    /// A self-made certificate for 127.0.0.1.
    pub certificate: PathBuf,
    /// Where contenders keep what is theirs.
    pub folder: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// What is started.
    pub programs: Programs,
    /// Number of the next contender.
    pub next: AtomicUsize,
}

/// A contender with its folder, running or not. Dropped, both are gone.
#[derive(Debug)]
pub struct Contender {
    folder: PathBuf,
    http: SocketAddr,
    https: SocketAddr,
    /// Which it is.
    pub kind: Kind,
    processes: Vec<Process>,
    starts: Vec<Start>,
}

/// One process of a contender: how it starts, and where it is when it is ready.
#[derive(Debug)]
struct Start {
    address: SocketAddr,
    arguments: Vec<String>,
    program: PathBuf,
}

impl Contender {
    /// Sets one up with nothing stored, in front of `upstream`, and starts it. The bare loop takes its routes from `routes` instead.
    pub async fn start(yard: &Yard, kind: Kind, upstream: &str, routes: Option<&Path>) -> Outcome<Self> {
        let number = yard.next.fetch_add(1, Ordering::Relaxed);
        let folder = yard.folder.join(format!("{number}-{}", kind.name().replace(' ', "-")));
        fs::create_dir_all(&folder)?;
        let (http, https) = (free_address()?, free_address()?);
        let mut one = Self { folder, http, https, kind, processes: Vec::new(), starts: Vec::new() };
        one.starts = match kind {
            Kind::Chandler => one.chandler(yard, upstream, &json!({ "certificate": yard.certificate, "key": yard.key }))?,
            Kind::Issued => one.issued(yard, upstream)?,
            Kind::Distribution3 => one.distribution(yard, &yard.programs.registry_3, upstream)?,
            Kind::Distribution2 => one.distribution(yard, &yard.programs.registry_2, upstream)?,
            Kind::Nginx => one.nginx(yard, upstream)?,
            Kind::Bare => one.bare(yard, routes.ok_or("the bare loop needs routes")?)?,
        };
        one.launch().await?;
        Ok(one)
    }

    /// Starts it, over whatever its folder holds.
    pub async fn launch(&mut self) -> Outcome<()> {
        self.spawn()?;
        for (process, start) in self.processes.iter_mut().zip(&self.starts) {
            process.wait_for(start.address).await?;
        }
        Ok(())
    }

    /// Starts it and does not wait.
    pub fn spawn(&mut self) -> Outcome<()> {
        for (number, start) in self.starts.iter().enumerate() {
            let mut command = Command::new(&start.program);
            command.args(&start.arguments).env("OTEL_TRACES_EXPORTER", "none");
            let log = self.folder.join(format!("out-{number}.log"));
            self.processes.push(Process::start(self.kind.name(), &mut command, &log)?);
        }
        Ok(())
    }

    /// Ends it; its folder stays.
    pub fn stop(&mut self) {
        self.processes.clear();
    }

    /// Its URL, without a slash at the end.
    pub fn url(&self, tls: bool) -> String {
        if tls { format!("https://{}", self.https) } else { format!("http://{}", self.http) }
    }

    /// `127.0.0.1:PORT` of its plain listener.
    pub fn address(&self) -> SocketAddr {
        self.http
    }

    /// Memory of the process that answers over `tls`, in bytes.
    pub fn memory(&self, tls: bool) -> u64 {
        let process = if tls { self.processes.last() } else { self.processes.first() };
        process.map_or(0, Process::memory)
    }

    /// Where its content lies.
    pub fn store(&self) -> PathBuf {
        self.folder.join("store")
    }

    fn write(&self, name: &str, text: &str) -> Outcome<String> {
        let path = self.folder.join(name);
        fs::write(&path, text)?;
        Ok(path.display().to_string())
    }

    fn chandler(&self, yard: &Yard, upstream: &str, tls: &Value) -> Outcome<Vec<Start>> {
        let configuration = json!({
            "listeners": [
                { "address": self.http },
                { "address": self.https, "tls": tls },
            ],
            // Nobody is there: what a listener has by ACME, it has already.
            "acme": { "path": self.folder.join("certs"), "directories": [DIRECTORY], "challenges": ["tls-alpn-01"] },
            "upstreams": [{ "name": "docker.io", "url": upstream }],
            // On a fuller disk the default share would have everything streamed past the store.
            "store": { "path": self.store(), "min_free": "1MiB" },
            "admin": "off",
            "log": { "access": "off", "level": "warn" },
        });
        // JSON is YAML.
        let file = self.write("chandler.yaml", &configuration.to_string())?;
        let arguments = vec!["mirror".to_owned(), "--config".to_owned(), file];
        Ok(vec![Start { address: self.http, arguments, program: yard.programs.chandler.clone() }])
    }

    /// The same pair, as if a CA had issued it.
    fn issued(&self, yard: &Yard, upstream: &str) -> Outcome<Vec<Start>> {
        let bundle = Bundle::join(&fs::read_to_string(&yard.key)?, &fs::read_to_string(&yard.certificate)?)?;
        let identifiers = NAMES.iter().map(|name| name.parse()).collect::<Result<_, _>>()?;
        let wish = Wish { directories: vec![DIRECTORY.into()], identifiers, how: String::new(), key: KeyKind::P256, profile: None };
        let certificate = certs::store::Store::new(&self.folder.join("certs")).certificate(&NAMES[0].parse()?);
        certificate.publish(&bundle, &bundle.facts(DIRECTORY, &wish))?;
        self.chandler(yard, upstream, &json!({ "acme": NAMES }))
    }

    /// One process speaks either HTTP or HTTPS, and two must not share a folder.
    fn distribution(&self, yard: &Yard, program: &Path, upstream: &str) -> Outcome<Vec<Start>> {
        let one = |name: &str, address: SocketAddr, tls: bool| -> Outcome<Start> {
            let pair = json!({ "certificate": yard.certificate, "key": yard.key });
            let configuration = json!({
                "version": 0.1,
                "log": { "level": "error", "accesslog": { "disabled": true } },
                "storage": {
                    "cache": { "blobdescriptor": "inmemory" },
                    "filesystem": { "rootdirectory": if tls { self.folder.join("store-tls") } else { self.store() } },
                },
                "http": { "addr": address, "secret": "bench", "tls": if tls { pair } else { json!({}) } },
                "proxy": { "remoteurl": upstream },
            });
            let file = self.write(name, &configuration.to_string())?;
            Ok(Start { address, arguments: vec!["serve".to_owned(), file], program: program.to_owned() })
        };
        Ok(vec![one("plain.yml", self.http, false)?, one("tls.yml", self.https, true)?])
    }

    fn nginx(&self, yard: &Yard, upstream: &str) -> Outcome<Vec<Start>> {
        let upstream = upstream.trim_start_matches("http://");
        let mut text = preamble(&self.folder, "auto");
        let common = "proxy_pass http://hub; proxy_http_version 1.1; proxy_set_header Connection ''; proxy_set_header Host $host;\n\
             proxy_cache all; proxy_cache_key $uri; proxy_cache_lock on; proxy_cache_lock_age 10m; proxy_cache_lock_timeout 10m;";
        let _ = write!(
            text,
            "access_log off; proxy_cache_path {} levels=1:2 keys_zone=all:64m inactive=7d use_temp_path=off;\n\
             upstream hub {{ server {upstream}; keepalive 32; }}\n\
             server {{ listen {} reuseport; listen {} ssl reuseport; ssl_certificate {}; ssl_certificate_key {};\n\
             location /v2/ {{ {common} proxy_cache_valid 200 7d; }}\n\
             location ~ /manifests/[^:]+$ {{ {common} proxy_cache_valid 200 60s; }} }} }}\n",
            self.store().display(),
            self.http,
            self.https,
            yard.certificate.display(),
            yard.key.display(),
        );
        let file = self.write("nginx.conf", &text)?;
        let errors = self.folder.join("error.log").display().to_string();
        let arguments = vec!["-e".to_owned(), errors, "-c".to_owned(), file];
        Ok(vec![Start { address: self.http, arguments, program: yard.programs.nginx.clone() }])
    }

    fn bare(&self, yard: &Yard, routes: &Path) -> Outcome<Vec<Start>> {
        let mut arguments = vec!["--bare".to_owned(), routes.display().to_string(), self.http.to_string(), self.https.to_string()];
        arguments.extend([yard.certificate.display().to_string(), yard.key.display().to_string()]);
        Ok(vec![Start { address: self.http, arguments, program: std::env::current_exe()? }])
    }
}

impl Drop for Contender {
    fn drop(&mut self) {
        self.stop();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Where no CA is.
const DIRECTORY: &str = "https://127.0.0.1:1/directory";
/// For which the certificate is.
pub const NAMES: [&str; 2] = ["localhost", "127.0.0.1"];
