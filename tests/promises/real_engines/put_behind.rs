//! "Every change to a machine is shown before (`plan`), applied atomically, verified by what the engine *does*, and undone to the byte."
//!
//! Podman, containerd and buildkitd on machines that know no mirror: what is planned of their files is written, a private image is pulled without a login, a canary
//! proves the way, and the files are as they were.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agent::apply::{Engines, Executor, Fault, Reported, Undo, undo_plan};
use agent::engines::canary::Nonce;
use agent::engines::contents::Contents;
use agent::engines::podman::{Asker, service};
use agent::engines::{Change, Daemon, Engine, Others, Plan, Reload, Step, Wish, buildkit, containerd, podman};
use agent::host::Root;
use agent::record::{Held, STATE};
use tempfile::TempDir;
use tests::engine::{BuildKit, Containerd, Machine, MachineConfig, Podman};
use tests::hub::Hub;
use tests::tools;
use tokio::time::sleep;

use super::buildkit::copies_from;
use super::secure::mirror_of;
use super::{Site, assert_only_the_mirror_asked, stock};

#[tokio::test(flavor = "multi_thread")]
async fn podman_is_put_behind_the_mirror_and_taken_out_to_the_byte() {
    let Some(site) = Site::start() else { return };
    let Some(podman) = Podman::start(MachineConfig::default()).await else { return };
    let files = Copy::of(podman.machine(), &["/etc/containers"]);
    let wish = site.wish();
    let plan = podman::plan(&podman::look(&files.root(), &root(), &wish, false).await.expect("it can be looked at"), &wish);
    files.apply(&plan);

    podman.pull("docker.io/acme/secret:1").await.expect_success();
    site.assert_only_the_mirror_asked();
    let nonce = Nonce::new().expect("there is chance");
    podman::verify::pull(|| podman.command(), &nonce, LONGEST).await.expect("it pulls");
    site.assert_pulled(&nonce).await;
    let left = podman.podman(["images", "--all", "--format", "{{.Names}}"]).await.expect_success();
    assert!(left.contains("acme/secret") && !left.contains("canary"), "{left}");

    let again = podman::plan(&podman::look(&files.root(), &root(), &wish, false).await.expect("it can be looked at"), &wish);
    assert_eq!(again.steps, []);
    files.undo(&plan);
    podman.rmi("docker.io/acme/secret:1").await.expect_success();
    podman.pull("docker.io/acme/secret:1").await.expect_failure();
    assert!(!podman.machine().take_bypasses().is_empty(), "it asks the Hub itself again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_of_podman_has_the_mirror_after_a_signal_and_is_the_same_process() {
    let Some(site) = Site::start() else { return };
    let Some(podman) = Podman::start(MachineConfig::default()).await else { return };
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let socket = podman.machine().folder().join("podman.sock");
    let mut command = podman.command();
    let mut child = command.args(["system", "service", "--time=0"]).arg(format!("unix://{}", socket.display())).spawn().expect("it starts");
    wait_for(async || service::reported(&socket).await.filter(Vec::is_empty)).await;

    let files = Copy::of(podman.machine(), &["/etc/containers"]);
    let wish = site.wish();
    let facts = podman::look(&files.root(), &root(), &wish, false).await.expect("it can be looked at");
    files.apply(&podman::plan(&facts, &wish));
    assert_eq!(service::reported(&socket).await, Some(Vec::new()), "it keeps what it has read");
    hang_up(&socket);
    let host = site.tap.host();
    wait_for(async || service::reported(&socket).await.filter(|mirrors| mirrors.iter().any(|mirror| mirror.starts_with(&host)))).await;
    assert!(child.try_wait().expect("it can be asked").is_none(), "it runs on");
}

#[tokio::test(flavor = "multi_thread")]
async fn containerd_is_put_behind_the_mirror_and_taken_out_to_the_byte() {
    let Some(site) = Site::start() else { return };
    let Some(containerd) = Containerd::start(MachineConfig::default()).await else { return };
    let files = Copy::of(containerd.machine(), &["/etc/containerd"]);
    files.write("/usr/bin/containerd", b"");
    let wish = site.wish();
    let plan = containerd::plan(&containerd::look(&files.root(), &root(), &wish, false).await.expect("it can be looked at"), &wish, &[]);
    assert_eq!(plan.findings, [], "nothing waits for a restart");
    files.apply(&plan);

    containerd.pull("docker.io/acme/secret:1").await.expect_success();
    site.assert_only_the_mirror_asked();
    let nonce = Nonce::new().expect("there is chance");
    let hosts = Path::new("/etc/containerd/certs.d");
    containerd::verify::pull(|| containerd.client(), hosts, &nonce, LONGEST).await.expect("it pulls");
    site.assert_pulled(&nonce).await;
    let left = containerd.ctr(["namespaces", "list", "--quiet"]).await.expect_success();
    assert!(!left.contains("canary"), "{left}");

    let again = containerd::look(&files.root(), &root(), &wish, false).await.expect("it can be looked at");
    assert_eq!(containerd::plan(&again, &wish, &wish.mirrors), Plan::default());
    files.undo(&plan);
    containerd.rmi("docker.io/acme/secret:1").await.expect_success();
    containerd.pull("docker.io/acme/secret:1").await.expect_failure();
    assert!(!containerd.machine().take_bypasses().is_empty(), "it asks the Hub itself again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_that_cannot_be_pulled_leaves_no_namespace_either() {
    let Some(containerd) = Containerd::start(MachineConfig::default()).await else { return };
    let nonce = Nonce::new().expect("there is chance");
    let hosts = Path::new("/etc/containerd/certs.d");
    containerd::verify::pull(|| containerd.client(), hosts, &nonce, LONGEST).await.expect_err("nobody answers for it");
    let left = containerd.ctr(["namespaces", "list", "--quiet"]).await.expect_success();
    assert!(!left.contains("canary"), "{left}");
    containerd.machine().take_bypasses();
}

#[tokio::test(flavor = "multi_thread")]
async fn buildkitd_is_put_behind_the_mirror_and_its_file_taken_out_to_the_byte() {
    let Some(site) = Site::start() else { return };
    let wish = site.wish();
    let mut planned = None;
    let buildkit = BuildKit::start_after(MachineConfig::default(), |machine| {
        let files = Copy::of(machine, &["/etc/buildkit"]);
        files.write("/usr/bin/buildkitd", b"");
        let plan = buildkit::plan(&buildkit::look(&files.root(), &root(), &wish, false).expect("it can be looked at"), &wish, &[]);
        files.apply(&plan);
        let again = buildkit::look(&files.root(), &root(), &wish, false).expect("it can be looked at");
        assert_eq!(buildkit::plan(&again, &wish, &wish.mirrors), Plan::default());
        planned = Some((plan, files.folder));
    });
    let Some(buildkit) = buildkit.await else { return };
    copies_from(&buildkit, "acme/secret:1").await;
    site.assert_only_the_mirror_asked();

    let nonce = Nonce::new().expect("there is chance");
    let folder = TempDir::new().expect("a folder can be made");
    buildkit::verify::build(|| buildkit.client(), folder.path(), &nonce, LONGEST).await.expect("it builds");
    site.assert_pulled(&nonce).await;
    let left = buildkit.buildctl(["du", "--verbose"]).await.expect_success();
    assert!(left.contains("acme/secret") && !left.contains("canary"), "{left}");

    let (plan, folder) = planned.expect("there was a plan");
    Copy { machine: buildkit.machine(), folder }.undo(&plan);
}

#[tokio::test(flavor = "multi_thread")]
async fn over_https_each_engine_knows_the_mirror_by_the_certificate_that_was_put_there_for_it() {
    let hub = Hub::start();
    let Some(_) = stock(&hub) else { return };
    let (mirror, anchors) = mirror_of(&hub);
    let wish = wish(mirror.url(), Some(anchors));

    let Some(podman) = Podman::start(MachineConfig::default()).await else { return };
    let files = Copy::of(podman.machine(), &["/etc/containers"]);
    let plan = podman::plan(&podman::look(&files.root(), &root(), &wish, false).await.expect("it can be looked at"), &wish);
    files.apply(&plan);
    podman.pull("docker.io/acme/secret:1").await.expect_success();
    files.undo(&plan);

    let Some(containerd) = Containerd::start(MachineConfig::default()).await else { return };
    let files = Copy::of(containerd.machine(), &["/etc/containerd"]);
    files.write("/usr/bin/containerd", b"");
    let plan = containerd::plan(&containerd::look(&files.root(), &root(), &wish, false).await.expect("it can be looked at"), &wish, &[]);
    files.apply(&plan);
    containerd.pull("docker.io/acme/secret:1").await.expect_success();
    files.undo(&plan);

    let buildkit = BuildKit::start_after(MachineConfig::default(), |machine| {
        let files = Copy::of(machine, &["/etc/buildkit"]);
        files.write("/usr/bin/buildkitd", b"");
        files.apply(&buildkit::plan(&buildkit::look(&files.root(), &root(), &wish, false).expect("it can be looked at"), &wish, &[]));
    });
    let Some(buildkit) = buildkit.await else { return };
    copies_from(&buildkit, "acme/secret:1").await;
    assert_only_the_mirror_asked(&hub);
}

impl Site {
    fn wish(&self) -> Wish {
        wish(&format!("http://{}", self.tap.host()), None)
    }

    async fn assert_pulled(&self, nonce: &Nonce) {
        let receipt = self.receipt(&nonce.to_string()).await;
        assert!(["manifest", "config", "layer"].iter().all(|what| receipt.contains(what)), "{receipt}");
    }
}

fn wish(mirror: &str, anchors: Option<String>) -> Wish {
    Wish { mirrors: vec![mirror.parse().expect("a mirror")], anchors, client: None, registries: Vec::new(), others: Others::Keep }
}

fn root() -> Asker {
    Asker { uid: 0, home: "/root".into() }
}

/// A copy of some of a private machine's files, for what looks at a tree. What is changed is changed in both.
struct Copy<'a> {
    machine: &'a Machine,
    folder: TempDir,
}

impl<'a> Copy<'a> {
    fn of(machine: &'a Machine, folders: &[&str]) -> Self {
        let copy = Self { machine, folder: TempDir::new().expect("a folder can be made") };
        for folder in folders {
            copy.take(Path::new(folder));
        }
        copy
    }

    fn take(&self, folder: &Path) {
        fs::create_dir_all(self.below(folder)).expect("a folder can be made");
        for entry in fs::read_dir(self.inside(folder)).expect("it can be listed") {
            let path = folder.join(entry.expect("it can be listed").file_name());
            if self.inside(&path).is_dir() {
                self.take(&path);
            } else {
                fs::copy(self.inside(&path), self.below(&path)).expect("it can be copied");
            }
        }
    }

    fn root(&self) -> Root {
        Root::below(self.folder.path()).expect("it is a folder")
    }

    /// By the program's own executor.
    fn apply(&self, plan: &Plan) {
        assert!(!plan.steps.is_empty(), "{plan:?}");
        let mut held = Held::open(&self.root(), Path::new(STATE)).expect("a record can be kept");
        let writes = Plan { steps: changes(plan).into_iter().cloned().map(Step::Write).collect(), findings: Vec::new() };
        let report = Executor::new(&mut held, &mut Nobody, &Contents { podman: &podman::Facts::default() }).apply(&writes);
        assert!(report.is_success(), "{report:?}");
        self.bring(plan);
    }

    /// The same, back to what was there before.
    fn undo(&self, plan: &Plan) {
        let before: Vec<_> = changes(plan).into_iter().map(|change| (change.path.clone(), change.before.clone())).collect();
        let facts = podman::Facts::default();
        let engines = Engine::ALL.to_vec();
        let mut held = Held::open(&self.root(), Path::new(STATE)).expect("it can be read");
        let undoing =
            undo_plan(&held, &Contents { podman: &facts }, &Undo { engines, keep_edits: false, clean: false }).expect("it can be planned");
        let report = Executor::new(&mut held, &mut Nobody, &Contents { podman: &facts }).undo(&undoing);
        assert!(report.is_success(), "{report:?}");
        self.bring(plan);
        for (path, bytes) in before {
            assert_eq!(fs::read(self.inside(&path)).ok(), bytes, "{}", path.display());
        }
    }

    /// What the plan is about, as it is in the copy now, to the machine.
    fn bring(&self, plan: &Plan) {
        for change in changes(plan) {
            let (from, to) = (self.below(&change.path), self.inside(&change.path));
            if from.exists() {
                fs::create_dir_all(to.parent().expect("it has one")).expect("a folder can be made");
                fs::copy(from, to).expect("it can be copied");
            } else {
                fs::remove_file(to).expect("it can be removed");
            }
        }
    }

    /// In the copy alone.
    fn write(&self, path: &str, bytes: &[u8]) {
        let file = self.below(Path::new(path));
        fs::create_dir_all(file.parent().expect("it has one")).expect("a folder can be made");
        fs::write(file, bytes).expect("it can be written");
    }

    fn inside(&self, path: &Path) -> PathBuf {
        self.machine.inside(path.to_str().expect("text"))
    }

    fn below(&self, path: &Path) -> PathBuf {
        self.folder.path().join(path.strip_prefix("/").expect("it is absolute"))
    }
}

/// No daemon is told anything.
struct Nobody;

impl Engines for Nobody {
    fn reported(&mut self, _: Engine, _: &Daemon) -> Result<Reported, Fault> {
        Err("nobody runs".into())
    }

    fn reload(&mut self, _: &Reload) -> Result<Reported, Fault> {
        Err("nobody runs".into())
    }
}

fn changes(plan: &Plan) -> Vec<&Change> {
    plan.steps.iter().filter_map(|step| if let Step::Write(change) = step { Some(change) } else { None }).collect()
}

/// SIGHUP to the podman that listens there: its machine's processes are ours to see.
fn hang_up(socket: &Path) {
    let podman = tools::find("podman").expect("it runs");
    let podman = fs::canonicalize(&podman).unwrap_or(podman);
    let words = format!("unix://{}", socket.display());
    let processes = fs::read_dir("/proc").expect("it is mounted").flatten();
    let of_socket = |folder: &Path| fs::read_to_string(folder.join("cmdline")).is_ok_and(|line| line.contains(&words));
    let runs = |folder: &Path| fs::read_link(folder.join("exe")).is_ok_and(|exe| exe.file_name() == podman.file_name());
    let found = processes.map(|entry| entry.path()).find(|folder| of_socket(folder) && runs(folder)).expect("it runs");
    let pid = found.file_name().and_then(|name| name.to_str()?.parse().ok()).expect("a process id");
    let pid = rustix::process::Pid::from_raw(pid).expect("a process id");
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).expect("it can be told");
}

async fn wait_for<T>(mut question: impl AsyncFnMut() -> Option<T>) -> T {
    let answer = async {
        loop {
            if let Some(answer) = question().await {
                return answer;
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LONGEST, answer).await.expect("an answer within a minute")
}

const LONGEST: Duration = Duration::from_mins(1);
