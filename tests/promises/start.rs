//! "The service starts with no network at all", and what it has is served at once.
//!
//! No network is several things: a Hub that refuses, a name that nobody resolves, packets that are lost, and no route to anywhere. A start that asks
//! before it serves would wait for each of them in another way.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tests::client::Client;
use tests::dead_end::DeadEnd;
use tests::hub::{Hub, ImageInfo};
use tests::operator::Operator;
use tests::program::{Program, program_path};
use tests::promised::{HEADERS, MARGIN, STALE, within};
use tests::tools;

const REPO: &str = "library/alpine";
/// To a process that serves and says so.
const READY: Duration = Duration::from_secs(1);

/// A mirror that pulled an image and was stopped; its upstream is `url` from now on.
async fn stocked_before(hub: &Hub, url: &str) -> (Program, ImageInfo) {
    let image = hub.image(REPO).tag("latest").layers([300_000, 4096]).push();
    hub.add_account("ci", "secret-word");
    let mut mirror = Program::of_hub(&hub.url()).account("ci", "secret-word").start();
    Client::new(mirror.url()).pull(REPO, "latest").await;
    mirror.stop();
    let text = fs::read_to_string(mirror.config()).expect("it was written");
    fs::write(mirror.config(), text.replace(&hub.url(), url)).expect("it is ours");
    (mirror, image)
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_network_it_is_ready_in_a_second_and_serves_what_it_has() {
    let dead_end = DeadEnd::new().await;
    // Of these, only the first answers at all: with a refusal.
    for url in ["http://127.0.0.1:9", "http://registry.invalid:5000", dead_end.url().as_str()] {
        let hub = Hub::start();
        let (mirror, image) = stocked_before(&hub, url).await;
        drop(hub);
        let began = Instant::now();
        let mirror = mirror.crash_and_restart();
        assert!(began.elapsed() < READY + MARGIN, "{url}: it serves after {:?}", began.elapsed());
        let (status, text) = within(READY, url, Operator::of(&mirror).page("/readyz")).await;
        assert_eq!(status, 200, "{url}: {text}");

        let client = Client::new(mirror.url());
        assert_eq!(within(STALE, url, client.pull(REPO, "latest")).await.len(), image.blobs().count(), "{url}");
        let miss = within(HEADERS, url, client.get("/v2/library/cold/manifests/latest")).await;
        assert!(matches!(miss.status.as_u16(), 502 | 503), "{url}: {}", miss.status);
        // The question about the account has found nobody by now, or still waits: neither is a reason to take the mirror out of service.
        let (status, text) = Operator::of(&mirror).page("/readyz").await;
        assert_eq!(status, 200, "{url}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_route_to_anywhere_it_is_ready_in_a_second_and_serves_what_it_has() {
    if !tools::require_root() {
        return;
    }
    let Some([unshare, nsenter, curl, _]) = tools::require_all(["unshare", "nsenter", "curl", "ip"]) else { return };
    let hub = Hub::start();
    // Addresses for documentation: nobody has them, and nothing is sent there, for want of a route.
    let (mirror, image) = stocked_before(&hub, "http://192.0.2.1:5000").await;
    let began = Instant::now();
    let island = Island::start(&unshare, &mirror.config());
    assert!(began.elapsed() < READY + MARGIN, "it serves after {:?}", began.elapsed());
    let get = |url: &str, path: &str| island.get(&nsenter, &curl, &format!("{url}{path}"));
    assert_eq!(get(&island.admin, "/readyz").0, "200", "{}", get(&island.admin, "/readyz").1);
    let began = Instant::now();
    let (status, manifest) = get(&island.url, &format!("/v2/{REPO}/manifests/latest"));
    assert_eq!((status.as_str(), manifest.as_bytes()), ("200", &image.manifest[..]));
    for blob in image.blobs() {
        assert_eq!(get(&island.url, &format!("/v2/{REPO}/blobs/{}", blob.digest)).0, "200", "{}", blob.digest);
    }
    assert!(began.elapsed() < STALE + MARGIN, "a pull took {:?}", began.elapsed());
    let (status, body) = get(&island.url, "/v2/library/cold/manifests/latest");
    assert!(matches!(status.as_str(), "502" | "503"), "{status} {body}");
}

/// The program in a network of its own, which has loopback and nothing else.
struct Island {
    admin: String,
    child: Child,
    url: String,
}

impl Island {
    fn start(unshare: &Path, config: &Path) -> Self {
        let mut command = Command::new(unshare);
        command.args(["--net", "--", "sh", "-euc", "ip link set lo up; exec \"$0\" mirror --config \"$1\""]);
        command.arg(program_path()).arg(config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("unshare starts");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines().map_while(Result::ok);
        let serves = lines.find(|line| line.contains("the mirror serves")).expect("it serves");
        // A program whose words nobody reads would wait for a reader one day.
        std::thread::spawn(move || lines.for_each(drop));
        let line: Value = serde_json::from_str(&serves).expect("the log is JSON");
        let word = |key: &str| line[key].as_str().expect("an address").to_owned();
        Self { admin: word("admin").trim_end_matches('/').to_owned(), child, url: word("urls") }
    }

    /// Status and body.
    fn get(&self, nsenter: &Path, curl: &Path, url: &str) -> (String, String) {
        let mut command = Command::new(nsenter);
        command.args(["--net", "--target", &self.child.id().to_string(), "--"]).arg(curl);
        let output = command.args(["--silent", "--noproxy", "*", "--write-out", "\n%{http_code}", url]).output().expect("curl runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (body, status) = text.rsplit_once('\n').expect("the status is the last line");
        (status.to_owned(), body.to_owned())
    }
}

impl Drop for Island {
    fn drop(&mut self) {
        // A stop in order is other tests' subject.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
