//! "Under systemd: `Type=notify` or `notify-reload`, and a `.socket` unit lets a restart refuse no connection."
//!
//! The test is the service manager: it holds the listening socket, hands it over, and is told what happens.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use tests::client::Client;
use tests::hub::{Hub, Kind, MIB, noise, on};
use tests::program::{Process, Starter};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixDatagram};
use tokio::time::{sleep, timeout};

const TAG: &str = "/v2/library/alpine/manifests/latest";

/// A `.socket` unit with its service.
struct Unit {
    address: SocketAddr,
    folder: TempDir,
    hub: Hub,
    socket: TcpListener,
    told: UnixDatagram,
}

impl Unit {
    fn new() -> Self {
        let hub = Hub::start();
        hub.image("library/alpine").tag("latest").push();
        let folder = TempDir::with_prefix("chandler-unit-").expect("a folder");
        let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let told = UnixDatagram::bind(folder.path().join("notify")).expect("a socket in a folder of ours");
        Self { address: socket.local_addr().expect("it is bound"), folder, hub, socket, told }
    }

    fn start(&self) -> Process {
        let upstream = format!("docker.io={}", self.hub.url());
        Starter::new(["mirror", "--upstream", &upstream])
            .with("CHANDLER_ADMIN", "off")
            .with("CHANDLER_STORE_PATH", self.folder.path().join("store"))
            .with("NOTIFY_SOCKET", self.folder.path().join("notify"))
            .with_socket(&self.socket)
            .start()
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Waits until the service manager is told `word`; fails where it is told another first.
    async fn is_told(&self, word: &str) {
        let mut message = [0; 4096];
        let length = timeout(PATIENCE, self.told.recv(&mut message)).await.unwrap_or_else(|_| panic!("{word} is never said"));
        let message = String::from_utf8_lossy(&message[..length.expect("a message")]).into_owned();
        assert!(message.lines().any(|line| line == word), "{message} instead of {word}");
    }

    /// Waits until the process no longer holds the listening socket.
    async fn is_let_go_by(&self, process: &Process) {
        let own = link(Path::new(&format!("/proc/self/fd/{}", self.socket.as_raw_fd()))).expect("it is open");
        let descriptors = format!("/proc/{}/fd", process.pid());
        let holds = || {
            std::fs::read_dir(&descriptors)
                .is_ok_and(|mut all| all.any(|one| one.is_ok_and(|one| link(&one.path()).as_ref() == Some(&own))))
        };
        timeout(PATIENCE, async {
            while holds() {
                sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .expect("a program that stops lets its listener go");
    }

    /// Connects and asks, and does not wait for the answer.
    async fn ask(&self) -> TcpStream {
        let mut connection = TcpStream::connect(self.address).await.expect("the connection is not refused");
        let request = format!("GET {TAG} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", self.address);
        connection.write_all(request.as_bytes()).await.expect("the kernel takes it");
        connection
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_come_during_a_restart_wait_and_are_answered_by_the_next_program() {
    let unit = Unit::new();
    let bytes = noise(8, 4 * MIB);
    let path = format!("/v2/library/alpine/blobs/{}", unit.hub.put_blob("library/alpine", bytes.clone()));
    let mut first = unit.start();
    unit.is_told("READY=1").await;
    assert_eq!(first.url(), unit.url(), "it listens on the socket that it was given");
    let gate = unit.hub.hold_at(MIB as u64, on(Kind::Cdn));
    let mut reader = Client::new(&unit.url()).open(&path).await;
    let start = reader.take(100_000).await;

    first.signal("TERM");
    unit.is_told("STOPPING=1").await;
    unit.is_let_go_by(&first).await;
    let mut waiting = Vec::new();
    for _ in 0..5 {
        waiting.push(unit.ask().await);
    }
    gate.release();
    let rest = reader.rest().await.expect("what runs comes to its end");
    assert!([&start[..], &rest[..]].concat() == bytes);
    assert!(first.wait().success(), "{}", first.said());
    waiting.push(unit.ask().await); // Nobody is there at all.

    let mut second = unit.start();
    unit.is_told("READY=1").await;
    for mut connection in waiting {
        let mut answer = Vec::new();
        timeout(PATIENCE, connection.read_to_end(&mut answer)).await.expect("an answer in time").expect("a whole answer");
        assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"), "{}", String::from_utf8_lossy(&answer));
    }
    second.signal("TERM");
    unit.is_told("STOPPING=1").await;
    assert!(second.wait().success(), "{}", second.said());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_is_told_from_its_begin_to_its_end() {
    let unit = Unit::new();
    let program = unit.start();
    unit.is_told("READY=1").await;
    program.signal("HUP");
    unit.is_told("RELOADING=1").await;
    unit.is_told("READY=1").await;
    Client::new(&unit.url()).get(TAG).await.whole();
}

#[test]
fn a_descriptor_that_is_no_listener_is_named_and_not_used() {
    let folder = TempDir::with_prefix("chandler-unit-").expect("a folder");
    let program = Starter::new(["mirror", "--listen", "127.0.0.1:0"])
        .with("CHANDLER_ADMIN", "off")
        .with("CHANDLER_STORE_PATH", folder.path().join("store"))
        .with_descriptor(std::fs::File::open("/dev/null").expect("it is always there"))
        .start();
    program.wait_for("no listening TCP socket");
    program.wait_for("the mirror serves");
}

#[test]
fn a_socket_that_others_reach_opens_no_account_unless_somebody_says_so() {
    let folder = TempDir::with_prefix("chandler-unit-").expect("a folder");
    let socket = TcpListener::bind("0.0.0.0:0").expect("a free port");
    let password = folder.path().join("password");
    std::fs::write(&password, "secret-word").expect("the test's folder can be written");
    let with = |access: &[&'static str]| {
        let account =
            ["mirror", "--upstream", "docker.io=http://127.0.0.1:1", "--user", "ci", "--password-file", password.to_str().expect("text")];
        Starter::new(account.iter().chain(access).copied())
            .with("CHANDLER_ADMIN", "off")
            .with("CHANDLER_STORE_PATH", folder.path().join("store"))
            .with_socket(&socket)
            .start()
    };
    let mut unsaid = with(&[]);
    assert_eq!(unsaid.wait().code(), Some(1), "{}", unsaid.said());
    assert!(unsaid.said().contains("private images of the account `ci` at docker.io"), "{}", unsaid.said());
    with(&["--allow", "10.0.0.0/8"]).wait_for("the mirror serves");
}

/// Where a link of `/proc` leads, such as `socket:[4711]`.
fn link(path: &Path) -> Option<std::path::PathBuf> {
    std::fs::read_link(path).ok()
}

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);
