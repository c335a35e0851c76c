//! The real program, started by a test: `chandler mirror` with a configuration of the test's own, on ports that the kernel chooses.
//!
//! Whoever holds a [`Program`] owns the process. When it is dropped the process is stopped as an operator would stop it, and the test fails if it
//! does not end in time, ends badly, or leaves part of a download in its store.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A running mirror.
#[derive(Debug)]
pub struct Program {
    /// `http://127.0.0.1:PORT` or `https://…` of each listener, in their order.
    pub urls: Vec<String>,
    admin: String,
    child: Option<Child>,
    folder: Arc<TempDir>,
    log: Arc<Log>,
}

/// How to start one.
#[derive(Debug)]
pub struct Builder {
    environment: Vec<(String, String)>,
    extra: String,
    folder: Arc<TempDir>,
    listeners: String,
    limits: String,
    store: String,
    upstreams: String,
}

#[derive(Debug, Default)]
struct Log {
    grown: Condvar,
    lines: Mutex<Vec<String>>,
}

impl Program {
    /// A mirror whose first upstream is a Hub at `url`, without an account.
    pub fn of_hub(url: &str) -> Builder {
        Builder {
            environment: Vec::new(),
            extra: String::new(),
            folder: Arc::new(TempDir::with_prefix("chandler-test-").expect("a folder in the temporary folder")),
            listeners: "[{address: \"127.0.0.1:0\"}]".into(),
            limits: "{drain: 5s}".into(),
            store: String::new(),
            upstreams: format!("[{{name: docker.io, url: \"{url}\"}}]"),
        }
    }

    /// The first listener's URL.
    pub fn url(&self) -> &str {
        &self.urls[0]
    }

    /// The first listener without its scheme, as image names want it.
    pub fn host(&self) -> &str {
        self.urls[0].split_once("://").map_or("", |(_, host)| host)
    }

    /// The admin listener's URL.
    pub fn admin(&self) -> &str {
        &self.admin
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// Where it stores.
    pub fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    /// Its configuration file, which a test may change before [`Program::signal`]ling a reload.
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("mirror.yaml")
    }

    /// All that it said so far, on either stream.
    pub fn log(&self) -> String {
        self.log.text()
    }

    /// Waits until a line of the log holds `text`, and gives that line.
    pub fn wait_for_log(&self, text: &str) -> String {
        self.log.wait_for(text).unwrap_or_else(|| panic!("no line with `{text}` in\n{}", self.log()))
    }

    /// Sends a signal such as `HUP`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status().expect("`kill` runs");
        assert!(sent.success(), "the program is gone:\n{}", self.log());
    }

    /// kill -9, and a new start with the same files (and new ports).
    pub fn crash_and_restart(mut self) -> Self {
        self.crash();
        let builder = Builder { folder: self.folder.clone(), ..Self::of_hub("http://unused.invalid") };
        builder.start_as_configured()
    }

    /// kill -9.
    pub fn crash(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it runs");
            child.wait().expect("it is ours");
        }
    }

    /// Stops it as an operator would, and tells how it ended.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait()
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("it runs");
        let deadline = Instant::now() + PATIENCE;
        loop {
            match child.try_wait().expect("it is ours") {
                Some(status) => return status,
                None if Instant::now() > deadline => {
                    let _ = child.kill();
                    let _ = child.wait();
                    panic!("the program did not stop within {PATIENCE:?}:\n{}", self.log());
                }
                None => pause(),
            }
        }
    }

    fn check_leftovers(&self) {
        let left: Vec<PathBuf> = files_in(&self.store().join("spool"));
        assert!(left.is_empty(), "a stopped mirror left parts of downloads: {left:?}\n{}", self.log());
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if self.child.is_none() {
            return;
        }
        if std::thread::panicking() {
            print_end(&self.log());
            self.crash();
            return;
        }
        let status = self.stop();
        assert!(status.success(), "the program ended with {status}:\n{}", self.log());
        assert!(!self.log().contains("panicked at"), "something panicked:\n{}", self.log());
        self.check_leftovers();
    }
}

impl Builder {
    /// An account at the Hub, for a mirror that is open (it listens on loopback).
    pub fn account(mut self, user: &str, password: &str) -> Self {
        let account = format!(", account: {{user: {user}, password: {password}}}}}]");
        self.upstreams = format!("{}{account}", self.upstreams.trim_end_matches("}]"));
        self
    }

    /// More keys of the Hub's upstream, as `, key: value`.
    pub fn hub(mut self, keys: &str) -> Self {
        self.upstreams = format!("{}{keys}}}]", self.upstreams.trim_end_matches("}]"));
        self
    }

    /// Another upstream, as a YAML flow mapping.
    pub fn upstream(mut self, yaml: &str) -> Self {
        self.upstreams = format!("{}, {yaml}]", self.upstreams.trim_end_matches(']'));
        self
    }

    /// The listeners, as a YAML flow sequence.
    pub fn listeners(mut self, yaml: &str) -> Self {
        self.listeners = yaml.into();
        self
    }

    /// More keys of the store, as `, key: value`.
    pub fn store(mut self, keys: &str) -> Self {
        self.store = keys.into();
        self
    }

    /// The limits, as a YAML flow mapping.
    pub fn limits(mut self, yaml: &str) -> Self {
        self.limits = yaml.into();
        self
    }

    /// Whole lines of the configuration.
    pub fn config(mut self, lines: &str) -> Self {
        self.extra.push_str(lines);
        self.extra.push('\n');
        self
    }

    /// A variable of the environment.
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Where its files will be.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes the configuration and starts the program; returns when it serves.
    pub fn start(self) -> Program {
        fs::write(self.folder.path().join("mirror.yaml"), self.yaml()).expect("the test's folder can be written");
        self.start_as_configured()
    }

    fn yaml(&self) -> String {
        let Self { extra, limits, listeners, store, upstreams, .. } = self;
        let path = self.folder.path().join("store");
        format!(
            "listeners: {listeners}\nupstreams: {upstreams}\nstore: {{path: \"{}\"{store}}}\nlimits: {limits}\nadmin: {{address: \"127.0.0.1:0\"}}\n\
             log: {{level: \"info,mirror=debug\", format: json}}\n{extra}",
            path.display()
        )
    }

    fn start_as_configured(self) -> Program {
        let mut command = Command::new(program_path());
        command.arg("mirror").arg("--config").arg(self.folder.path().join("mirror.yaml"));
        command.envs(self.environment).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program was built with the tests");
        let log = Arc::new(Log::default());
        log.follow(child.stdout.take().expect("piped"));
        log.follow(child.stderr.take().expect("piped"));
        let mut program = Program { urls: Vec::new(), admin: String::new(), child: Some(child), folder: self.folder, log };
        let line = program.wait_for_log("the mirror serves");
        let line: serde_json::Value = serde_json::from_str(&line).expect("the log is JSON");
        let words = |key: &str| line[key].as_str().unwrap_or_default().split(' ').map(str::to_owned).collect::<Vec<_>>();
        program.urls = words("urls");
        program.admin = words("admin").remove(0);
        program
    }
}

impl Log {
    /// Copies a stream into the log, on a thread that ends with the stream.
    fn follow(self: &Arc<Self>, stream: impl std::io::Read + Send + 'static) {
        let log = self.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                log.lines.lock().expect("no holder panics").push(line);
                log.grown.notify_all();
            }
            log.grown.notify_all();
        });
    }

    fn text(&self) -> String {
        self.lines.lock().expect("no holder panics").join("\n")
    }

    fn wait_for(&self, text: &str) -> Option<String> {
        let found = |lines: &Vec<String>| lines.iter().find(|line| line.contains(text)).cloned();
        let lines = self.lines.lock().expect("no holder panics");
        let (lines, _) = self.grown.wait_timeout_while(lines, PATIENCE, |lines| found(lines).is_none()).expect("no holder panics");
        found(&lines)
    }
}

#[expect(clippy::disallowed_methods, reason = "Drop can't await, and the system tells nobody of a child's end without a signal handler")]
fn pause() {
    std::thread::sleep(POLL);
}

/// Into the test's captured output, which is shown when it fails.
#[expect(clippy::print_stderr, reason = "what a failed test says about its program")]
fn print_end(log: &str) {
    eprintln!("--- the program said:\n{log}\n---");
}

/// The program lies beside the folder of the test that runs.
pub fn program_path() -> PathBuf {
    let test = std::env::current_exe().expect("a running test has a path");
    let folder = test.parent().and_then(Path::parent).expect("target/PROFILE/deps");
    folder.join("chandler-under-test")
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// Longer than anything takes on a busy machine, shorter than a test runner's own patience.
const PATIENCE: Duration = Duration::from_mins(1);
/// Between two looks at a process.
const POLL: Duration = Duration::from_millis(5);
