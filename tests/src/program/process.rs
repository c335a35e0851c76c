//! A process of the program under test: how it is started with any arguments, what it says on either stream, and its end.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// Starts the program as no [`super::Program`] can be: with any arguments and environment, and nothing of the test's own.
#[derive(Debug)]
pub struct Starter {
    arguments: Vec<OsString>,
    environment: Vec<(String, OsString)>,
    descriptor: Option<OwnedFd>,
}

/// A program that was started; dropped, it is killed.
#[derive(Debug)]
pub struct Process {
    /// Until its end was waited for.
    child: Option<Child>,
    pid: u32,
    said: Arc<Said>,
}

#[derive(Debug, Default)]
struct Said {
    changed: Condvar,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Streams that ended.
    closed: u8,
    lines: Vec<String>,
}

impl Starter {
    /// `chandler ARGUMENTS`. Its one variable is [`SMALL_RESERVE`], so that a test does not depend on how full the machine's disk is.
    pub fn new<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Self {
        let arguments = arguments.into_iter().map(OsString::from).collect();
        let starter = Self { arguments, environment: Vec::new(), descriptor: None };
        starter.with("CHANDLER_STORE_MIN_FREE", SMALL_RESERVE)
    }

    /// A variable.
    pub fn with(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Hands a listening socket over, as a service manager does for a `.socket` unit. The test keeps its own descriptor of it.
    pub fn with_socket(self, socket: &TcpListener) -> Self {
        self.with_descriptor(socket.try_clone().expect("a descriptor is free"))
    }

    /// Hands any descriptor over in the place of such a socket.
    pub fn with_descriptor(mut self, descriptor: impl Into<OwnedFd>) -> Self {
        self.descriptor = Some(descriptor.into());
        self
    }

    /// Starts it.
    pub fn start(self) -> Process {
        let (mut command, stdin) = match self.descriptor {
            None => (Command::new(program_path()), Stdio::null()),
            Some(descriptor) => (handing_over(&program_path()), Stdio::from(descriptor)),
        };
        command.args(self.arguments).env_clear().envs(self.environment).stdin(stdin);
        Process::spawn(&mut command)
    }
}

/// A shell that becomes `program`, with its standard input as the first socket of `LISTEN_FDS`. `LISTEN_PID` must be the program's own number, which
/// only something that becomes the program knows before it starts.
fn handing_over(program: &Path) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-euc", "exec 3<&0 </dev/null; export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$@\"", "sh"]).arg(program);
    command
}

impl Process {
    /// Starts `command` and listens to it.
    pub fn spawn(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program was built with the tests");
        let said = Arc::new(Said::default());
        said.follow(child.stdout.take().expect("piped"));
        said.follow(child.stderr.take().expect("piped"));
        Self { pid: child.id(), child: Some(child), said }
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Nobody waited for its end yet.
    pub(super) fn is_ours(&self) -> bool {
        self.child.is_some()
    }

    /// All that it said so far, on either stream.
    pub fn said(&self) -> String {
        self.said.state().text()
    }

    /// The first line with `text`, once it is said.
    pub fn wait_for(&self, text: &str) -> String {
        let find = |state: &State| state.lines.iter().find(|line| line.contains(text)).cloned();
        let state = self.said.wait_while(|state| state.closed < STREAMS && find(state).is_none());
        find(&state).unwrap_or_else(|| panic!("no `{text}` in\n{}", state.text()))
    }

    /// The first listener's URL, once it serves.
    pub fn url(&self) -> String {
        let line = self.wait_for("the mirror serves");
        let start = line.find("http").expect("a URL");
        line[start..].chars().take_while(|c| !matches!(c, '"' | ' ' | ',')).collect()
    }

    /// Sends a signal such as `TERM`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.pid.to_string()).status().expect("`kill` runs");
        assert!(sent.success(), "the program is gone:\n{}", self.said());
    }

    /// Waits until it ends by itself.
    pub fn wait(&mut self) -> ExitStatus {
        let late = self.said.wait_while(|state| state.closed < STREAMS).closed < STREAMS;
        if late {
            self.kill();
            panic!("the program did not end within {PATIENCE:?}:\n{}", self.said());
        }
        self.child.take().expect("it is waited for once").wait().expect("it is ours")
    }

    /// kill -9, where it is not gone already.
    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Said {
    /// Copies a stream, on a thread that ends with the stream.
    fn follow(self: &Arc<Self>, stream: impl Read + Send + 'static) {
        let said = self.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                said.state().lines.push(line);
                said.changed.notify_all();
            }
            said.state().closed += 1;
            said.changed.notify_all();
        });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }

    /// The state once `waits` no longer holds of it, or as it is after a long time.
    fn wait_while(&self, waits: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        self.changed.wait_timeout_while(self.state(), PATIENCE, |state| waits(state)).expect("no holder panics").0
    }
}

impl State {
    fn text(&self) -> String {
        self.lines.join("\n")
    }
}

/// The program under test: that of `CHANDLER_TEST_PROGRAM`, such as one that is to be released, or the one that was built with the tests.
pub fn program_path() -> PathBuf {
    let workspace = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    std::env::var_os("CHANDLER_TEST_PROGRAM").map_or_else(|| built_with_the_tests("chandler-under-test"), |program| workspace.join(program))
}

/// It lies beside the folder of the test that runs, or beside the program that does.
pub fn built_with_the_tests(name: &str) -> PathBuf {
    let running = std::env::current_exe().expect("what runs has a path");
    let folder = running.parent().expect("target/PROFILE, or its deps");
    if folder.ends_with("deps") { folder.with_file_name(name) } else { folder.join(name) }
}

/// What stays free of the disk in a test that says nothing else: the mirror's own default, a share, would leave nothing stored on a fuller disk.
pub(super) const SMALL_RESERVE: &str = "1MiB";
/// Longer than anything takes on a busy machine, shorter than a test runner's own patience.
const PATIENCE: Duration = Duration::from_mins(1);
/// Standard output and standard error.
const STREAMS: u8 = 2;
