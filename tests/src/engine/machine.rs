//! A private machine for one engine: namespaces with an own `/etc`, `/run`, `/var/lib`, process tree and, if asked for, network.
//!
//! Its first process is a shell that waits on a pipe from the test, so that it ends with the test program even when that is killed, and the
//! kernel then ends every process of the machine and takes its mounts away. Nothing on the real machine changes.

use std::fs;
use std::io::{self, BufRead as _, BufReader};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command as StdCommand, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::sleep;

use super::bypass::{Catcher, HUB_NAMES};
use super::veth::Veth;
use crate::tools;

/// What an engine finds on its machine.
#[derive(Clone, Debug, Default)]
pub struct MachineConfig {
    /// Base URLs of mirrors of Docker Hub, in order: `http://127.0.0.1:5000`.
    pub mirrors: Vec<String>,
    /// `HOST:PORT` whose registry is asked over plain HTTP, or over TLS with any certificate.
    pub insecure: Vec<String>,
    /// `(HOST:PORT, PEM)`: the CA in the engine's `certs.d` for that registry.
    pub certs_d: Vec<(String, String)>,
    /// PEM certificates added to the machine's trusted roots.
    pub roots: Vec<String>,
    /// Further lines of `/etc/hosts`.
    pub hosts: Vec<(String, IpAddr)>,
    /// Where connections to the Hub's names go on to. Without it they are closed, and the engine's end fails the test if there were any.
    pub hub: Option<SocketAddr>,
    /// Whose network the engine has.
    pub network: Network,
}

impl MachineConfig {
    /// A machine whose engines use this one mirror of Docker Hub, a base URL.
    pub fn behind(mirror: impl Into<String>) -> Self {
        Self { mirrors: vec![mirror.into()], ..Self::default() }
    }
}

/// Whose network an engine has.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Network {
    /// The real machine's: its loopback addresses are reached. Containers have `--network host` or none.
    #[default]
    Host,
    /// An own one with a bridge for containers and published ports, joined to the real machine by a cable: see [`Machine::reach`] and
    /// [`Machine::address`].
    Own,
}

/// A running private machine. Dropping it ends everything on it and checks what is left.
#[derive(Debug)]
pub struct Machine {
    name: String,
    init: Pid,
    unshare: Child,
    daemon: Option<Child>,
    catcher: Catcher,
    expects_bypass: bool,
    cable: Option<Veth>,
    folder: TempDir,
}

impl Machine {
    /// Starts a machine, or says why not: [`tools::require_root`].
    pub async fn start(config: &MachineConfig) -> Option<Self> {
        if !tools::require_root() {
            return None;
        }
        let [unshare, _] = tools::require_all(["unshare", "nsenter"])?;
        let folder = TempDir::with_prefix("chandler-engine-").expect("a folder for an engine can be made");
        let (unshare, init) = boot(&unshare, folder.path(), config.network);
        let cable = match config.network {
            Network::Host => None,
            Network::Own => Some(Veth::join(init).await),
        };
        let (catcher, hub) = catch(cable.as_ref().map(Veth::host), config.hub).await;
        let name = folder.path().file_name().expect("a temporary folder has a name").to_string_lossy().into_owned();
        let machine = Self { name, init, unshare, daemon: None, catcher, expects_bypass: config.hub.is_some(), cable, folder };
        machine.furnish(config, hub);
        Some(machine)
    }

    /// A command that runs on this machine, with a bare environment. Its working folder is `/`.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--mount", "--pid", "--net", "--target", &self.init.as_raw_nonzero().to_string(), "--"]).arg(program);
        let path = format!("{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", tools::folder().display());
        command.env_clear().env("PATH", path).env("HOME", self.folder()).stdin(Stdio::null());
        command
    }

    /// Starts the machine's daemon, which logs to [`Machine::log`] and ends with the machine.
    pub(super) fn start_daemon(&mut self, command: Command) {
        let log = fs::File::create(self.folder().join("log")).expect("a file in a folder of ours can be made");
        let errors = log.try_clone().expect("a file can be shared");
        let mut command = command.into_std();
        self.daemon = Some(command.stdout(log).stderr(errors).spawn().expect("nsenter starts"));
    }

    /// Ends the machine's daemon as a service manager does, and waits until it has. What it runs may run on.
    pub(super) async fn end_daemon(&mut self, program: &str) {
        self.signal(program, Signal::TERM);
        let until = Instant::now() + LONGEST_START;
        while self.daemon.as_mut().is_some_and(|daemon| daemon.try_wait().is_ok_and(|status| status.is_none())) {
            assert!(Instant::now() < until, "{program} does not end:\n{}", self.log());
            sleep(Duration::from_millis(20)).await;
        }
        self.daemon = None;
    }

    /// The first process, by its number on the real machine.
    pub(super) fn init(&self) -> i32 {
        self.init.as_raw_nonzero().get()
    }

    /// Asks until a daemon that was just started answers; panics with its log when it has ended or a minute is over.
    pub(super) async fn wait_for_daemon(&mut self, mut question: impl AsyncFnMut(&Self) -> bool) {
        let until = Instant::now() + LONGEST_START;
        while !question(self).await {
            let ended = self.daemon.as_mut().is_none_or(|daemon| daemon.try_wait().is_ok_and(|status| status.is_some()));
            assert!(!ended && Instant::now() < until, "a daemon does not get ready:\n{}", self.log());
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// What the daemon logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder().join("log")).unwrap_or_default()
    }

    /// A folder of this machine that the test sees under the same path, gone with the machine.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where the engine keeps its images: seen on this machine only.
    pub(super) fn store(&self) -> PathBuf {
        self.folder().join("store")
    }

    /// Where the test finds a file of this machine: `/etc/docker/daemon.json` is private.
    pub fn inside(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.init.as_raw_nonzero()))
    }

    /// Writes a file of this machine and the folders above it.
    pub fn write(&self, path: &str, contents: impl AsRef<[u8]>) {
        let file = self.inside(path);
        fs::create_dir_all(file.parent().expect("a file has a folder")).expect("a folder on a private machine can be made");
        fs::write(&file, contents).unwrap_or_else(|error| panic!("{path} on a private machine can't be written: {error}"));
    }

    /// A name for this machine's control group, which is removed with the machine.
    pub fn cgroup(&self) -> String {
        format!("/{}", self.name)
    }

    /// The address at which ports are found that this machine publishes.
    pub fn address(&self) -> IpAddr {
        self.cable.as_ref().map_or(Ipv4Addr::LOCALHOST.into(), Veth::machine)
    }

    /// The real machine's end of the cable, where a server can listen for this machine and its containers: all ports but 80 and 443 are free.
    pub fn outside(&self) -> IpAddr {
        self.cable.as_ref().map_or(Ipv4Addr::LOCALHOST.into(), Veth::host)
    }

    /// The address at which this machine and its containers find a server that listens on the real machine's loopback. With
    /// [`Network::Own`] a relay is started for it, which ends with the machine.
    pub async fn reach(&mut self, server: SocketAddr) -> SocketAddr {
        match &mut self.cable {
            None => server,
            Some(cable) => cable.relay(server).await,
        }
    }

    /// Each connection to a name of Docker Hub since the last call. What is taken no longer fails the test at the machine's end.
    pub fn take_bypasses(&self) -> Vec<String> {
        self.catcher.take()
    }

    fn furnish(&self, config: &MachineConfig, hub: IpAddr) {
        let named = config.hosts.iter().map(|(name, address)| format!("{address} {name}\n"));
        let hosts = format!("127.0.0.1 localhost\n::1 localhost\n{hub} {}\n{}", HUB_NAMES.join(" "), named.collect::<String>());
        self.write("/etc/hosts", hosts);
        for (host, pem) in &config.certs_d {
            for engine in ["docker", "containers"] {
                self.write(&format!("/etc/{engine}/certs.d/{host}/ca.crt"), pem);
            }
        }
        if !config.roots.is_empty() {
            let bundle = "/etc/ssl/certs/ca-certificates.crt";
            let mut all = fs::read_to_string(self.inside(bundle)).unwrap_or_default();
            all.extend(config.roots.iter().map(|pem| format!("\n{pem}")));
            self.write(bundle, all);
        }
    }

    /// What is left of a machine that has ended.
    fn leftovers(&self) -> Vec<String> {
        let folder = self.folder().to_string_lossy();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mounts = mounts.lines().filter(|line| line.contains(&*folder)).map(|line| format!("mount {line}"));
        let processes = processes_naming(&folder).map(|process| format!("process {process}"));
        mounts.chain(processes).collect()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if thread::panicking() {
            print_end(&self.log());
        }
        // The kernel ends every process of the machine before its first one counts as ended. `nsenter`, the daemon's parent, has to live until
        // then: it takes note of the daemon's end, without which the first process would stay.
        let _ = kill_process(self.init, Signal::KILL);
        let _ = self.daemon.as_mut().map(Child::wait);
        let ended = self.unshare.wait();
        drop(self.cable.take());
        remove_cgroups(&self.name);
        let seen = self.take_bypasses();
        let left = wait_until_nothing_is_left(|| self.leftovers());
        if thread::panicking() {
            return; // The first panic says more, and a second one would abort every other test.
        }
        assert!(ended.is_ok(), "a private machine did not end: {ended:?}");
        assert!(left.is_empty(), "a private machine left behind: {left:#?}");
        assert!(self.expects_bypass || seen.is_empty(), "an engine went past the mirror, to {seen:?}");
    }
}

/// Starts the machine's first process, and returns with its process id on the real machine once its mounts stand.
fn boot(unshare: &Path, folder: &Path, network: Network) -> (Child, Pid) {
    let mut command = StdCommand::new(unshare);
    command.args(["--mount", "--pid", "--fork", "--kill-child"]);
    if network == Network::Own {
        command.arg("--net");
    }
    command.args(["--", "sh", "-euc", BOOT, "sh"]).arg(folder);
    let errors = folder.join("boot");
    let file = fs::File::create(&errors).expect("a file in a folder of ours can be made");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(file).spawn().expect("unshare starts");
    let mut line = String::new();
    let stdout = child.stdout.take().expect("stdout is piped");
    BufReader::new(stdout).read_line(&mut line).expect("a pipe can be read");
    let pid = line.trim().parse().ok().and_then(Pid::from_raw);
    let said = || fs::read_to_string(&errors).unwrap_or_default();
    (child, pid.unwrap_or_else(|| panic!("a private machine does not start: {}", said())))
}

/// Binds a catcher to an address that nobody else has: the given one, or one of the loopback network.
async fn catch(address: Option<IpAddr>, hub: Option<SocketAddr>) -> (Catcher, IpAddr) {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..1000 {
        let number = std::process::id().wrapping_mul(31).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let [_, _, third, fourth] = number.to_be_bytes();
        let address = address.unwrap_or(Ipv4Addr::new(127, 77, third, fourth.clamp(1, 254)).into());
        match Catcher::bind(address, hub).await {
            Ok(catcher) => return (catcher, address),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) => panic!("the ports of Docker Hub can't be had on {address}: {error}"),
        }
    }
    panic!("all addresses of 127.77.0.0/16 are taken")
}

/// Processes whose command line holds the words; one that has ended but is not yet waited for has none.
fn processes_naming(words: &str) -> impl Iterator<Item = String> {
    let own = std::process::id().to_string();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(move |entry| {
        let id = entry.file_name().to_string_lossy().into_owned();
        let line = fs::read_to_string(entry.path().join("cmdline")).ok()?.replace('\0', " ");
        (id != own && line.contains(words)).then(|| format!("{id} {line}"))
    })
}

/// A killed program's parent needs a moment to notice; what is still there after seconds stays.
fn wait_until_nothing_is_left(left: impl Fn() -> Vec<String>) -> Vec<String> {
    let until = Instant::now() + LONGEST_END;
    loop {
        let rows = left();
        if rows.is_empty() || Instant::now() > until {
            return rows;
        }
        #[expect(clippy::disallowed_methods, reason = "in Drop nothing can be awaited, and the kernel tells nobody when a mount is gone")]
        thread::sleep(Duration::from_millis(5));
    }
}

/// Into the test's captured output, which is shown when it fails.
#[expect(clippy::print_stderr, reason = "what a failed test says about its engine")]
fn print_end(log: &str) {
    let lines: Vec<&str> = log.lines().collect();
    eprintln!("the end of the engine's log:\n{}", lines[lines.len().saturating_sub(30)..].join("\n"));
}

/// Engines make control groups for their containers on the real machine; killed, they leave them empty.
fn remove_cgroups(name: &str) {
    let root = Path::new("/sys/fs/cgroup");
    let hierarchies = fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    for hierarchy in hierarchies.chain([root.to_owned()]) {
        remove_folders(&hierarchy.join(name));
    }
}

fn remove_folders(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_folders(&entry.path());
        }
    }
    // Most hierarchies don't have it.
    let _ = fs::remove_dir(folder);
}

/// The engine's store is in memory: engines flush it to disk all the time, which says nothing here and takes seconds on a busy machine.
///
/// The kernel's own process id comes first, while `/proc` is still the real machine's. `/etc` is the real one with a layer above it that lives
/// in memory, in which engines' own folders are hidden: an engine of the real machine is neither read nor changed.
const BOOT: &str = r#"
read -r pid _ </proc/self/stat
mount -t proc proc /proc
mount -t tmpfs tmpfs /run
mkdir "$1/etc" "$1/store"
mount -t tmpfs tmpfs "$1/etc"
mkdir "$1/etc/upper" "$1/etc/work"
mount -t tmpfs tmpfs "$1/store"
mount -t overlay overlay -o "lowerdir=/etc,upperdir=$1/etc/upper,workdir=$1/etc/work" /etc
mkdir "$1/etc/var" "$1/etc/var-work"
mount -t overlay overlay -o "lowerdir=/var/lib,upperdir=$1/etc/var,workdir=$1/etc/var-work" /var/lib
rm -rf /etc/docker /etc/containers /etc/containerd /etc/cni /etc/buildkit
rm -rf /var/lib/chandler
mkdir /etc/docker /etc/containers
[ ! -e /sys/class/net/lo ] || ip link set lo up
echo "$pid"
exec >/dev/null
cat
"#;

const LONGEST_START: Duration = Duration::from_mins(1);
const LONGEST_END: Duration = Duration::from_secs(10);
