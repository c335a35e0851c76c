//! The real program, started by a test: `chandler mirror` with a configuration of the test's own, on ports that the kernel chooses.
//!
//! Whoever holds a [`Program`] owns the process. When it is dropped the process is stopped as an operator would stop it, and the test fails if it
//! does not end in time, ends badly, or leaves part of a download in its store.
//!
//! What needs other arguments, or ends by itself, is started by a [`Starter`]; both stand on [`Process`].

mod process;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;

use tempfile::TempDir;

use process::SMALL_RESERVE;
pub use process::{Process, Starter, built_with_the_tests, program_path};

/// A running mirror.
#[derive(Debug)]
pub struct Program {
    /// `http://127.0.0.1:PORT` or `https://…` of each listener, in their order.
    pub urls: Vec<String>,
    admin: String,
    environment: Vec<(String, String)>,
    folder: Arc<TempDir>,
    process: Process,
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
        self.process.pid()
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
        self.process.said()
    }

    /// Waits until a line of the log holds `text`, and gives that line.
    pub fn wait_for_log(&self, text: &str) -> String {
        self.process.wait_for(text)
    }

    /// Sends a signal such as `HUP`.
    pub fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// kill -9, and a new start with the same files and variables (and new ports).
    pub fn crash_and_restart(mut self) -> Self {
        self.crash();
        let environment = std::mem::take(&mut self.environment);
        let builder = Builder { environment, folder: self.folder.clone(), ..Self::of_hub("http://unused.invalid") };
        builder.start_as_configured()
    }

    /// kill -9.
    pub fn crash(&mut self) {
        self.process.kill();
    }

    /// Stops it as an operator would, and tells how it ended.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait()
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        self.process.wait()
    }

    fn check_leftovers(&self) {
        let left: Vec<PathBuf> = files_in(&self.store().join("spool"));
        assert!(left.is_empty(), "a stopped mirror left parts of downloads: {left:?}\n{}", self.log());
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if !self.process.is_ours() {
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

    /// Writes the configuration, and starts nothing. The folder stays until the builder is dropped.
    pub fn write(&self) -> PathBuf {
        let file = self.folder.path().join("mirror.yaml");
        fs::write(&file, self.yaml()).expect("the test's folder can be written");
        file
    }

    /// Writes the configuration and starts the program; returns when it serves.
    pub fn start(self) -> Program {
        self.write();
        self.start_as_configured()
    }

    fn yaml(&self) -> String {
        let Self { extra, limits, listeners, store, upstreams, .. } = self;
        let path = self.folder.path().join("store");
        // A test that is about it says it; twice in one file is a mistake.
        let reserve = if store.contains("min_free") { String::new() } else { format!(", min_free: {SMALL_RESERVE}") };
        format!(
            "listeners: {listeners}\nupstreams: {upstreams}\nstore: {{path: \"{}\"{reserve}{store}}}\nlimits: {limits}\nadmin: {{address: \"127.0.0.1:0\"}}\n\
             log: {{level: \"info,mirror=debug\", format: json}}\n{extra}",
            path.display()
        )
    }

    fn start_as_configured(self) -> Program {
        let mut command = Command::new(program_path());
        command.arg("mirror").arg("--config").arg(self.folder.path().join("mirror.yaml")).stdin(Stdio::null());
        // A proxy or a setting of the machine's own would change what is tested.
        command.env_clear().envs(self.environment.iter().map(|(name, value)| (name, value)));
        let process = Process::spawn(&mut command);
        let Self { environment, folder, .. } = self;
        let mut program = Program { urls: Vec::new(), admin: String::new(), environment, folder, process };
        let line = program.wait_for_log("the mirror serves");
        let line: serde_json::Value = serde_json::from_str(&line).expect("the log is JSON");
        let words = |key: &str| line[key].as_str().unwrap_or_default().split(' ').map(str::to_owned).collect::<Vec<_>>();
        program.urls = words("urls");
        program.admin = words("admin").remove(0);
        program
    }
}

/// Into the test's captured output, which is shown when it fails.
#[expect(clippy::print_stderr, reason = "what a failed test says about its program")]
fn print_end(log: &str) {
    eprintln!("--- the program said:\n{log}\n---");
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}
