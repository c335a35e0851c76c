//! The upstream: nginx with files, because it costs the machine least. One port per speed; each connection is held to it. What it sends is
//! counted by its access log.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::content::{Content, MANIFEST_TYPE, REPO};
use super::process::{Process, free_address};
use super::{Outcome, Programs};

/// Bytes a second of one connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Speed {
    /// Whatever the machine can do.
    Free,
    /// 60 MB/s: a good line to Docker Hub.
    Line,
    /// 2 MB/s: a bad one.
    Slow,
}

/// The running upstream.
#[derive(Debug)]
pub struct Hub {
    addresses: [SocketAddr; 3],
    log: PathBuf,
    _process: Process,
}

impl Hub {
    /// Starts it over `content`.
    pub async fn start(programs: &Programs, content: &Content, folder: &Path) -> Outcome<Self> {
        let folder = folder.join("hub");
        fs::create_dir_all(&folder)?;
        let addresses = [free_address()?, free_address()?, free_address()?];
        let log = folder.join("access.log");
        fs::write(folder.join("nginx.conf"), configuration(&folder, content, &addresses))?;
        let mut command = Command::new(&programs.nginx);
        command.arg("-e").arg(folder.join("error.log")).arg("-c").arg(folder.join("nginx.conf"));
        let mut process = Process::start("nginx as hub", &mut command, &folder.join("out.log"))?;
        process.wait_for(addresses[0]).await?;
        Ok(Self { addresses, log, _process: process })
    }

    /// Where it is reached at `speed`.
    pub fn url(&self, speed: Speed) -> String {
        format!("http://{}", self.addresses[speed as usize])
    }

    /// Bytes of bodies sent so far for `path`. Transfers are counted when they end, so it waits until the log
    /// is quiet; whoever asks has waited for the clients before.
    pub async fn sent(&self, path: &str) -> Outcome<u64> {
        let began = Instant::now();
        let mut before = fs::metadata(&self.log)?.len();
        loop {
            sleep(QUIET).await;
            let now = fs::metadata(&self.log)?.len();
            if now == before || began.elapsed() > PATIENCE {
                break;
            }
            before = now;
        }
        let log = fs::read_to_string(&self.log)?;
        let of_path = log.lines().filter_map(|line| line.split_once(' ')).filter(|(_, uri)| *uri == path);
        Ok(of_path.filter_map(|(bytes, _)| bytes.parse::<u64>().ok()).sum())
    }
}

/// The parts that every nginx here needs: all its files in `folder`, no daemon.
pub fn preamble(folder: &Path, workers: &str) -> String {
    let folder = folder.display();
    let mut text = format!(
        "user root; daemon off; worker_processes {workers}; pid {folder}/pid; error_log {folder}/error.log;\n\
         events {{ worker_connections 4096; }}\nhttp {{\nsendfile on; tcp_nopush on; keepalive_requests 100000000;\n"
    );
    for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        let _ = writeln!(text, "{kind}_temp_path {folder}/{kind};");
    }
    text
}

fn configuration(folder: &Path, content: &Content, addresses: &[SocketAddr; 3]) -> String {
    let mut text = preamble(folder, "1");
    let _ = writeln!(text, "log_format bytes '$body_bytes_sent $uri'; access_log {}/access.log bytes;", folder.display());
    text.push_str("map $uri $digest {\n~(?<named>sha256:[0-9a-f]+)$ $named;\n");
    for (tag, digest) in &content.tags {
        let _ = writeln!(text, "/v2/{REPO}/manifests/{tag} {digest};");
    }
    text.push_str("}\n");
    for (address, limit) in addresses.iter().zip(["0", "60000000", "2000000"]) {
        let _ = writeln!(
            text,
            "server {{ listen {address}; root {}; types {{}}\n\
             location = /v2/ {{ default_type application/json; return 200 '{{}}'; }}\n\
             location ~ /blobs/ {{ default_type application/octet-stream; limit_rate {limit}; add_header Docker-Content-Digest $digest; }}\n\
             location ~ /manifests/ {{ default_type {MANIFEST_TYPE}; add_header Docker-Content-Digest $digest; }} }}",
            content.root.display()
        );
    }
    text.push_str("}\n");
    text
}

const QUIET: Duration = Duration::from_millis(400);
const PATIENCE: Duration = Duration::from_mins(1);
