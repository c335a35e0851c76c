//! Starts the program as other tests' [`tests::program::Program`] cannot: with any arguments and environment, and nothing of the test's own.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use tests::program::program_path;

/// A program that was started, with what it said; dropped, it is killed.
pub(super) struct Started {
    child: Child,
    said: Arc<Said>,
}

#[derive(Default)]
struct Said {
    changed: Condvar,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    closed: u8,
    text: String,
}

/// How to start it.
pub(super) struct Starter(Command);

impl Starter {
    /// `chandler ARGUMENTS`, without any of the caller's variables that could mean something.
    pub(super) fn new<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Self {
        let mut command = Command::new(program_path());
        command.args(arguments).env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(command)
    }

    /// A variable.
    pub(super) fn with(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.0.env(name, value);
        self
    }

    /// Starts it.
    pub(super) fn start(mut self) -> Started {
        let mut child = self.0.spawn().expect("the program was built with the tests");
        let said = Arc::new(Said::default());
        follow(&said, child.stdout.take().expect("piped"));
        follow(&said, child.stderr.take().expect("piped"));
        Started { child, said }
    }
}

impl Started {
    /// The line with `text`, once it is said.
    pub(super) fn wait_for(&self, text: &str) -> String {
        let find = |state: &State| state.text.lines().find(|line| line.contains(text)).map(str::to_owned);
        let state = self.said.state.lock().expect("no holder panics");
        let waits = |state: &mut State| state.closed < 2 && find(state).is_none();
        let (state, _) = self.said.changed.wait_timeout_while(state, PATIENCE, waits).expect("no holder panics");
        find(&state).unwrap_or_else(|| panic!("no `{text}` in\n{}", state.text))
    }

    /// The first listener's URL, once it serves.
    pub(super) fn url(&self) -> String {
        let line = self.wait_for("the mirror serves");
        let start = line.find("http").expect("a URL");
        line[start..].chars().take_while(|c| !matches!(c, '"' | ' ' | ',')).collect()
    }

    /// All that was said so far.
    pub(super) fn said(&self) -> String {
        self.said.state.lock().expect("no holder panics").text.clone()
    }

    /// Waits until it ends by itself.
    pub(super) fn wait(&mut self) -> ExitStatus {
        let state = self.said.state.lock().expect("no holder panics");
        let (state, late) = self.said.changed.wait_timeout_while(state, PATIENCE, |state| state.closed < 2).expect("no holder panics");
        assert!(!late.timed_out(), "it does not end:\n{}", state.text);
        drop(state);
        self.child.wait().expect("it is ours")
    }

    /// Sends a signal such as `TERM`.
    pub(super) fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status().expect("`kill` runs");
        assert!(sent.success(), "the program is gone:\n{}", self.said());
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn follow(said: &Arc<Said>, stream: impl Read + Send + 'static) {
    let said = said.clone();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let mut state = said.state.lock().expect("no holder panics");
            state.text.push_str(&line);
            state.text.push('\n');
            said.changed.notify_all();
        }
        said.state.lock().expect("no holder panics").closed += 1;
        said.changed.notify_all();
    });
}

const PATIENCE: Duration = Duration::from_mins(1);
