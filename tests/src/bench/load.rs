//! Load on what is stored, by `wrk`; and clients of cold content, which compare every byte with the original as it arrives.

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::Client;
use tokio::process::Command;

use super::Outcome;
use super::content::MANIFEST_TYPE;

/// What a second of load gave.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// Of bodies and headers.
    pub bytes: f64,
    /// Complete answers.
    pub requests: f64,
}

/// How hard.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// At once.
    pub connections: u32,
    /// Another one for each request.
    pub fresh: bool,
    /// How long.
    pub time: Duration,
}

/// Loads `url`. `script` is the file that [`SCRIPT`] was written to.
pub async fn load(wrk: &Path, script: &Path, url: &str, load: Load) -> Outcome<Rate> {
    let Load { connections, fresh, time } = load;
    let mut command = Command::new(wrk);
    command.args(["-t1", "--timeout", "60s", "-H", &format!("Accept: {MANIFEST_TYPE}")]);
    if fresh {
        command.args(["-H", "Connection: close"]);
    }
    command.arg(format!("-c{connections}")).arg(format!("-d{}s", time.as_secs().max(1))).arg("-s").arg(script).arg(url);
    let output = command.kill_on_drop(true).output().await.map_err(|error| format!("wrk does not start: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find_map(|line| line.strip_prefix("result ")).ok_or_else(|| format!("wrk on {url} says: {text}"))?;
    let figures = line.split(' ').map(str::parse).collect::<Result<Vec<f64>, _>>()?;
    let &[bytes, microseconds, requests, refused, broken] = &figures[..] else { return Err(format!("wrk says `{line}`").into()) };
    if refused + broken > 0.0 || bytes == 0.0 {
        return Err(format!("{url}: {refused} answers with an error, {broken} connections broken").into());
    }
    let seconds = microseconds / 1e6;
    Ok(Rate { bytes: bytes / seconds, requests: requests / seconds })
}

/// How one pull went.
#[derive(Clone, Copy, Debug)]
pub struct Pull {
    /// From the request to the body's first byte.
    pub first: Duration,
    /// From the request to its last.
    pub total: Duration,
}

/// Pulls `url` as `clients` at once, each over a connection of its own, and returns the slowest of each.
pub async fn herd(url: &str, clients: usize, expected: &Bytes) -> Outcome<Pull> {
    let client = client()?;
    let pulls: Vec<_> = (0..clients).map(|_| tokio::spawn(pull(client.clone(), url.to_owned(), expected.clone()))).collect();
    let mut slowest = Pull { first: Duration::ZERO, total: Duration::ZERO };
    for one in pulls {
        let one = one.await??;
        slowest = Pull { first: slowest.first.max(one.first), total: slowest.total.max(one.total) };
    }
    Ok(slowest)
}

async fn pull(client: Client, url: String, expected: Bytes) -> Outcome<Pull> {
    let began = Instant::now();
    let mut response = client.get(&url).header("accept", MANIFEST_TYPE).send().await?.error_for_status()?;
    let (mut first, mut at) = (None, 0);
    while let Some(chunk) = response.chunk().await? {
        first.get_or_insert_with(|| began.elapsed());
        if expected.get(at..at + chunk.len()) != Some(&chunk[..]) {
            return Err(format!("{url}: wrong bytes at {at}").into());
        }
        at += chunk.len();
    }
    if at != expected.len() {
        return Err(format!("{url}: {at} bytes of {}", expected.len()).into());
    }
    Ok(Pull { first: first.unwrap_or_default(), total: began.elapsed() })
}

/// The headers that `url` is answered with, but for the date.
pub async fn headers(url: &str) -> Outcome<Vec<(String, String)>> {
    let response = client()?.get(url).header("accept", MANIFEST_TYPE).send().await?.error_for_status()?;
    let all = response.headers().iter().filter(|(name, _)| *name != "date");
    all.map(|(name, value)| Ok((name.to_string(), value.to_str()?.to_owned()))).collect()
}

/// Straight, with no proxy, trusting anybody: all of this is one machine.
fn client() -> Outcome<Client> {
    Ok(Client::builder().no_proxy().tls_danger_accept_invalid_certs(true).build()?)
}

/// Makes `wrk` print exact figures.
pub const SCRIPT: &str = "done = function(summary, latency, requests)\n\
    local e = summary.errors\n\
    io.write(string.format('result %d %d %d %d %d\\n', summary.bytes, summary.duration, summary.requests, e.status, e.connect + e.read + e.write))\n\
    end\n";
