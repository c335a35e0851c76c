//! Running it: reload, stop, logs, metrics, and the lock on the store.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use tests::client::{Answer, Client};
use tests::hub::{Hub, Kind, MIB, noise, on};
use tests::operator::Operator;
use tests::program::{Program, Starter, program_path};
use tokio::net::TcpStream;

const TAG: &str = "/v2/library/alpine/manifests/latest";
/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

fn hub() -> Hub {
    let hub = Hub::start();
    hub.image("library/alpine").tag("latest").push();
    hub
}

fn rewrite(mirror: &Program, change: impl Fn(&str) -> String) {
    let text = fs::read_to_string(mirror.config()).expect("it was written");
    fs::write(mirror.config(), change(&text)).expect("it is ours");
    mirror.signal("HUP");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_takes_new_upstreams_and_access_and_keeps_the_old_ones_when_the_file_is_wrong() {
    let (hub, other) = (hub(), Hub::start());
    other.image("team/tool").tag("1").push();
    let mirror = Program::of_hub(&hub.url()).start();
    let client = Client::new(mirror.url());
    let tool = "/v2/team/tool/manifests/1?ns=ghcr.io";
    client.get(TAG).await.whole();
    assert_eq!(client.get(tool).await.status, StatusCode::NOT_FOUND);

    rewrite(&mirror, |text| text.replace("upstreams: [", &format!("upstreams: [{{name: ghcr.io, url: \"{}\"}}, ", other.url())));
    mirror.wait_for_log("the configuration was read again");
    client.get(tool).await.whole();
    client.get(&format!("{TAG}?ns=docker.io")).await.whole();

    rewrite(&mirror, |text| text.replace("upstreams:", "upstream:"));
    let line = mirror.wait_for_log("the old one holds");
    assert!(line.contains("upstream") && line.contains("mirror.yaml"), "{line}");
    client.get(tool).await.whole();

    rewrite(&mirror, |text| format!("{}access: [\"10.0.0.0/8\"]\n", text.replace("upstream:", "upstreams:")));
    client.until(tool, |answer| answer.status == StatusCode::FORBIDDEN).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_takes_proxies_the_admin_token_and_the_level_and_names_what_waits_for_a_restart() {
    let hub = hub();
    let mirror = Program::of_hub(&hub.url()).config("access: [\"10.0.0.0/8\"]").start();
    let (client, admin) = (Client::new(mirror.url()), Client::new(mirror.admin()));
    let as_other = async || client.send(client.request(Method::GET, TAG).header("x-forwarded-for", "10.1.2.3")).await.status;
    assert_eq!(as_other().await, StatusCode::FORBIDDEN);

    rewrite(&mirror, |text| {
        let text =
            text.replace("admin: {", "admin: {token: t0ken, ").replace("info,mirror=debug", "trace").replace("drain: 5s", "drain: 6s");
        format!("{}trusted_proxies: [\"127.0.0.1/32\"]\n", text.replace("store: {", "store: {max_size: 1GiB, "))
    });
    let line = mirror.wait_for_log("from the next start on only");
    assert!(line.contains("only: limits.drain, store.max_size\""), "exactly what changed and is not taken over: {line}");
    assert_eq!(as_other().await, StatusCode::OK, "the new proxy is believed");
    assert_eq!(admin.get("/figures").await.status, StatusCode::UNAUTHORIZED, "the token holds");
    let with_token = admin.request(Method::GET, "/figures").header("authorization", "Bearer t0ken");
    assert_eq!(admin.send(with_token).await.status, StatusCode::OK);
    mirror.wait_for_log("\"level\":\"TRACE\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_cannot_be_read_to_its_end_holds_up_no_request_and_no_stop() {
    let hub = hub();
    let mut mirror = Program::of_hub(&hub.url()).start();
    fs::remove_file(mirror.config()).expect("it is ours");
    // To open a pipe that nobody writes to takes for ever.
    assert!(Command::new("mkfifo").arg(mirror.config()).status().expect("`mkfifo` runs").success());
    mirror.signal("HUP");
    mirror.wait_for_log("the configuration is read again");
    Client::new(mirror.url()).get(TAG).await.whole();
    assert!(mirror.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn few_open_files_are_fewer_connections_and_nothing_else() {
    let (hub, folder) = (hub(), tempfile::TempDir::with_prefix("chandler-few-files-").expect("a folder"));
    let upstream = format!("docker.io={}", hub.url());
    let mut command = Command::new("/bin/sh");
    command.args(["-euc", "ulimit -Sn 64; ulimit -Hn 128; exec \"$@\"", "sh"]).arg(program_path());
    command.args(["mirror", "--listen", "127.0.0.1:0", "--upstream", &upstream, "--store"]).arg(folder.path());
    let settings = [("ADMIN", "127.0.0.1:0"), ("LOG_FORMAT", "json"), ("STORE_MIN_FREE", "1MiB")];
    command.env_clear().envs(settings.map(|(key, value)| (format!("CHANDLER_{key}"), value))).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut program = Killed(command.spawn().expect("the program was built with the tests"));
    let mut log = BufReader::new(program.0.stderr.take().expect("piped")).lines().map_while(Result::ok);
    let mut line = |text: &str| log.by_ref().find(|line| line.contains(text)).expect("it is said");
    let warning = line("limits.connections");
    assert!(warning.contains("is 4096, and this process may have 128 files open, which is enough for 32"), "{warning}");
    let line: Value = serde_json::from_str(&line("the mirror serves")).expect("the log is JSON");
    let url = line["urls"].as_str().expect("a URL");

    let mut idle = Vec::new();
    for _ in 0..100 {
        idle.push(TcpStream::connect(url.trim_start_matches("http://")).await.expect("it listens"));
    }
    let admin = Client::new(line["admin"].as_str().expect("a URL"));
    let served = async {
        Client::new(url).pull("library/alpine", "latest").await;
        admin.get("/healthz").await.whole();
    };
    let soon = Duration::from_secs(20); // An idle connection that nobody ends is there for longer.
    tokio::time::timeout(soon, served).await.expect("there is a file for all that is done");
    program.0.kill().expect("it is ours");
    assert_eq!(log.find(|line| line.contains("Too many open files")), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_said_of_an_upstream_ends_when_a_reload_takes_it_away() {
    let (hub, other) = (hub(), Hub::start());
    let mirror = Program::of_hub(&hub.url()).start();
    let admin = Client::new(mirror.admin());
    let says = |page: &Answer, word: &str| String::from_utf8_lossy(page.body.as_ref().expect("whole")).contains(word);
    let second = format!("{{name: ghcr.io, url: \"{}\", account: {{user: nobody, password: wrong}}}}, ", other.url());
    rewrite(&mirror, |text| text.replace("upstreams: [", &format!("upstreams: [{second}")));
    admin.until("/readyz", |page| says(page, "account ghcr.io")).await;
    rewrite(&mirror, |text| text.replace(&second, ""));
    admin.until("/readyz", |page| !says(page, "ghcr.io")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_lets_a_running_download_end_and_takes_no_new_one() {
    let hub = hub();
    let bytes = noise(6, 4 * MIB);
    let path = format!("/v2/library/alpine/blobs/{}", hub.put_blob("library/alpine", bytes.clone()));
    let mut mirror = Program::of_hub(&hub.url()).limits("{drain: 60s}").start();
    let gate = hub.hold_at(MIB as u64, on(Kind::Cdn));
    let client = Client::new(mirror.url());
    let mut reader = client.open(&path).await;
    let start = reader.take(100_000).await;
    hub.wait_for(|counts| counts.bytes(on(Kind::Cdn)) == MIB as u64).await;
    mirror.signal("TERM");
    mirror.wait_for_log("stopping");
    for tries in 0.. {
        if TcpStream::connect(mirror.host()).await.is_err() {
            break;
        }
        assert!(tries < 600, "a stopping mirror still listens");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (status, ready) = Operator::of(&mirror).page("/readyz").await;
    assert!(status == 503 && ready.contains("stopping"), "{status} {ready}");
    gate.release();
    let rest = reader.rest().await.expect("the body comes to its end");
    assert!([&start[..], &rest[..]].concat() == bytes);
    let status = mirror.wait();
    assert!(status.success(), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_nobody_reads_holds_no_pull_and_no_stop() {
    let folder = tempfile::TempDir::with_prefix("chandler-unread-").expect("a folder");
    let mut command = Command::new(program_path());
    command.args(["mirror", "--listen", "127.0.0.1:0", "--upstream", "docker.io=http://127.0.0.1:1", "--store"]).arg(folder.path());
    let settings = [("ADMIN", "127.0.0.1:0"), ("LOG_FORMAT", "json"), ("LOG_LEVEL", "trace"), ("STORE_MIN_FREE", "1MiB")];
    command.env_clear().envs(settings.map(|(key, value)| (format!("CHANDLER_{key}"), value))).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut program = Killed(command.spawn().expect("the program was built with the tests"));
    let mut log = BufReader::new(program.0.stderr.take().expect("piped"));
    let line = log.by_ref().lines().map_while(Result::ok).find(|line| line.contains("the mirror serves")).expect("it starts");
    let line: Value = serde_json::from_str(&line).expect("the log is JSON");
    let of = |key: &str| line[key].as_str().expect("a URL").to_owned();

    // From here on nobody reads, and each request leaves many lines of HTTP/2's.
    let (admin, mut chatty) = (Client::new(&of("admin")), http2_to(&of("urls")).await);
    let served = async {
        while !counts_losses(&admin.get("/metrics").await) {
            for _ in 0..200 {
                let request = http::Request::get(format!("{}/v2/", of("urls"))).body(Empty::<Bytes>::new()).expect("a request");
                assert_eq!(chatty.send_request(request).await.expect("the mirror answers").status(), StatusCode::OK);
            }
        }
    };
    tokio::time::timeout(PATIENCE, served).await.expect("no request waits for the log's reader");

    let stop = Command::new("kill").arg(program.0.id().to_string()).status().expect("`kill` runs");
    assert!(stop.success());
    let ended = async {
        loop {
            match program.0.try_wait().expect("it is ours") {
                Some(status) => return status,
                None => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    let status = tokio::time::timeout(PATIENCE, ended).await.expect("nor does the stop");
    assert!(status.success(), "{status}");
}

/// A program that a failed test must not leave behind.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn counts_losses(metrics: &Answer) -> bool {
    let text = String::from_utf8_lossy(metrics.body.as_ref().expect("whole"));
    text.lines().filter_map(|line| line.strip_prefix("chandler_log_lines_lost_total ")).any(|lost| lost != "0")
}

async fn http2_to(url: &str) -> http2::SendRequest<Empty<Bytes>> {
    let tcp = TcpStream::connect(url.trim_start_matches("http://")).await.expect("it listens");
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(tcp)).await.expect("it speaks HTTP/2");
    tokio::spawn(connection);
    sender
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_of_the_access_log_tells_all_about_its_request() {
    let hub = hub();
    let mirror = Program::of_hub(&hub.url()).hub(", tag_window: 1h").config("trusted_proxies: [\"127.0.0.1/32\"]").start();
    let client = Client::new(mirror.url());
    client.get(TAG).await.whole();
    let request = client.request(Method::GET, TAG).header("user-agent", "docker/29.0").header("x-forwarded-for", "10.1.2.3");
    let answer = client.send(request).await;
    let id = answer.header("x-request-id").to_owned();
    let size = answer.whole().len();
    let line: Value = serde_json::from_str(&mirror.wait_for_log(&format!("\"request_id\":\"{id}\""))).expect("one JSON object a line");
    for (key, value) in [
        ("client", "10.1.2.3"),
        ("user_agent", "docker/29.0"),
        ("method", "GET"),
        ("path", TAG),
        ("upstream", "docker.io"),
        ("repository", "library/alpine"),
        ("reference", "latest"),
        ("outcome", "hit"),
    ] {
        assert_eq!(line[key], value, "{line}");
    }
    assert_eq!((&line["status"], &line["bytes"]), (&Value::from(200), &Value::from(size)), "{line}");
    assert!(line["duration_ms"].is_number() && line["time"].as_str().is_some_and(|time| time.ends_with('Z')), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_what_prometheus_reads_and_count_hits_and_misses() {
    let hub = hub();
    let mirror = Program::of_hub(&hub.url()).hub(", tag_window: 1h").start();
    let (client, admin) = (Client::new(mirror.url()), Client::new(mirror.admin()));
    let blobs = client.pull("library/alpine", "latest").await;
    for _ in 0..3 {
        client.pull("library/alpine", "latest").await;
    }
    client.get("/v2/no/such/manifests/1").await;
    let text = String::from_utf8(admin.get("/metrics").await.whole().to_vec()).expect("text");
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no series and value: {line}"));
        assert!(value.parse::<f64>().is_ok(), "{line}");
        let name = series.split('{').next().unwrap_or_default();
        assert!(name.starts_with("chandler_") || name.starts_with("process_"), "{line}");
        assert_eq!(series.contains('{'), series.ends_with('}'), "{line}");
    }
    assert!(text.trim_end().ends_with("# EOF"), "the whole exposition");
    let count = |outcome: &str| -> u64 {
        let series = text.lines().filter(|line| line.starts_with("chandler_requests_total{") && line.contains("method=\"GET\""));
        let counted = series.filter(|line| line.contains(&format!("outcome=\"{outcome}\"")));
        counted.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum()
    };
    assert_eq!((count("miss"), count("hit"), count("error")), (1 + blobs.len() as u64, 3 * (1 + blobs.len() as u64), 1), "{text}");
    for (path, word) in [("/healthz", "ok"), ("/readyz", "ready"), ("/figures", "\"flights\"")] {
        assert!(String::from_utf8_lossy(&admin.get(path).await.whole()).contains(word), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_one_store_is_refused_by_name() {
    let hub = hub();
    let mirror = Program::of_hub(&hub.url()).start();
    Client::new(mirror.url()).get(TAG).await.whole();
    let config = mirror.config();
    let mut second = Starter::new(["mirror", "--config", config.to_str().expect("text")]).start();
    assert_eq!(second.wait().code(), Some(1), "{}", second.said());
    assert!(second.said().contains(&mirror.pid().to_string()), "who holds it is named:\n{}", second.said());
    assert!(second.said().contains(&mirror.store().display().to_string()), "the store is named:\n{}", second.said());
    assert!(Client::new(mirror.url()).get(TAG).await.status.is_success(), "the first goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_all_look_like_one_are_pointed_out() {
    let hub = hub();
    let mirror = Program::of_hub(&hub.url()).hub(", tag_window: 1h").config("trusted_proxies: [\"127.0.0.1/32\"]").start();
    let (client, admin) = (Client::new(mirror.url()), Client::new(mirror.admin()));
    for _ in 0..1001 {
        client.send(client.request(Method::HEAD, TAG).header("x-forwarded-for", "172.17.0.1")).await;
    }
    let says_so =
        |page: &Answer| page.body.as_ref().is_ok_and(|page| String::from_utf8_lossy(page).contains("all requests come from 172.17.0.1"));
    admin.until("/readyz", says_so).await;
}
