//! Makes a running dockerd read `daemon.json` again, and sees that it did. No container and no build notices.
//!
//! dockerd says of a file that it does not like only in its log, and a signal tells its sender nothing. So: the file is given to the same dockerd to check, where it can (23.0 and newer); the signal goes to the process that was
//! looked at and no other; its event is waited for; and then `/info` must show what is wanted.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use bollard::Docker;
use futures_util::StreamExt as _;
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

use super::api::{self, ApiError};
use super::command_line::{config_file, flags, words};
use crate::engines::Reload;
use crate::engines::process::{self, Handle, Process, SignalError};

/// Why an engine does not use what its file says.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// It could not be asked.
    #[error("dockerd (process {pid}) cannot be asked at {}", socket.display())]
    Ask {
        /// The daemon's.
        pid: u32,
        /// Where it listens.
        socket: PathBuf,
        /// Why.
        #[source]
        source: ApiError,
    },
    /// It did not take the file, though it is a good one by itself.
    #[error("dockerd (process {pid}) was told to read its configuration again, and {}; {LOG}", told(*.event, .shown))]
    Kept {
        /// The daemon's.
        pid: u32,
        /// Whether it said that it did.
        event: bool,
        /// What it has.
        shown: Shown,
    },
    /// dockerd's own check refuses the file.
    #[error("dockerd refuses {}: {said}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Its words.
        said: String,
    },
    /// The process is not that dockerd any more.
    #[error(transparent)]
    Signal(#[from] SignalError),
}

/// What an engine shows that it works by.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Shown {
    /// Its mirrors, in order, as it spells them.
    pub mirrors: Vec<String>,
    /// The registries and networks that it takes for insecure.
    pub insecure: Vec<String>,
}

/// Reloads an engine, unless it shows already what it should; what it shows then.
pub async fn reload(order: &Reload) -> Result<Shown, ReloadError> {
    let (pid, socket) = (order.daemon.pid, &order.daemon.socket);
    let failed = |source| ReloadError::Ask { pid, socket: socket.clone(), source };
    let handle = Handle::open(pid, "dockerd")?;
    let docker = api::connect(socket).await.map_err(failed)?;
    let shown = api::shown(&docker).await.map_err(failed)?;
    if is_as_wanted(order, &shown) {
        return Ok(shown);
    }
    check(pid).await?;
    let event = hang_up(&handle, &docker).await?;
    let until = Instant::now() + SETTLING;
    loop {
        let shown = api::shown(&docker).await.map_err(failed)?;
        if is_as_wanted(order, &shown) {
            return Ok(shown);
        }
        if !event || Instant::now() > until {
            return Err(ReloadError::Kept { pid, event, shown });
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// Whether an engine shows exactly the wanted mirrors, in their order, and at least the wanted insecure registries.
pub fn is_as_wanted(order: &Reload, shown: &Shown) -> bool {
    let has = |wanted: &String| shown.insecure.iter().any(|has| has.eq_ignore_ascii_case(wanted));
    same_mirrors(&order.mirrors, &shown.mirrors) && order.insecure.iter().all(has)
}

/// dockerd puts a slash behind each.
pub fn same_mirrors(one: &[String], other: &[String]) -> bool {
    let bare = |url: &String| url.trim_end_matches('/').to_owned();
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| bare(one) == bare(other))
}

/// What a dockerd's own check says of a file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Validity {
    /// It would start with it.
    Good,
    /// It would not; its words.
    Bad(String),
    /// It has no such check: 20.10 and older.
    Unknown,
}

/// Anybody may call a program `dockerd`: what it names as its file, and the program itself, are trusted with the rights of its own user and no others.
fn is_our_own(process: &Process) -> bool {
    process.uid == rustix::process::geteuid().as_raw()
}

/// Lets the program of the running daemon check a file, with the daemon's own flags beside it, so that what is in both is found too, and in the daemon's own environment, where it looks for other programs.
pub async fn validate(pid: u32, file: &Path) -> io::Result<Validity> {
    let Some(daemon) = process::running("dockerd")?.into_iter().find(|process| process.pid == pid && is_our_own(process)) else {
        return Ok(Validity::Unknown);
    };
    let mut command = Command::new(process::executable(pid));
    // Of `--config-file`, the last counts.
    command.args(daemon.arguments.iter().skip(1)).arg("--validate").arg("--config-file").arg(file);
    command.env_clear().envs(daemon.environment).stdin(Stdio::null()).kill_on_drop(true);
    let Ok(output) = timeout(LONGEST_CHECK, command.output()).await else { return Ok(Validity::Unknown) };
    let output = output?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Ok(match output.status.success() {
        true => Validity::Good,
        false if said.contains("unknown flag: --validate") => Validity::Unknown,
        false => Validity::Bad(said.lines().last().unwrap_or_default().to_owned()),
    })
}

/// The file that the daemon is about to read.
async fn check(pid: u32) -> Result<(), ReloadError> {
    let daemon = process::running("dockerd").ok().and_then(|all| all.into_iter().find(|process| process.pid == pid && is_our_own(process)));
    let flags = daemon.map(|daemon| flags(&words(pid, &daemon.arguments))).unwrap_or_default();
    let path = config_file(&flags).unwrap_or_else(|| PathBuf::from("/etc/docker/daemon.json"));
    // A check that cannot be made is no reason: what counts is what the engine shows.
    match validate(pid, &path).await {
        Ok(Validity::Bad(said)) => Err(ReloadError::Invalid { path, said }),
        _ => Ok(()),
    }
}

/// Sends the signal; whether the daemon then said that it reloaded.
///
/// Events are asked for from just before the signal on: those that come before our question arrives are sent as well.
async fn hang_up(handle: &Handle, docker: &Docker) -> Result<bool, SignalError> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let mut events = pin!(api::events(docker, &format!("{}.{:09}", now.as_secs(), now.subsec_nanos())));
    handle.hang_up()?;
    let reloaded = async {
        while let Some(event) = events.next().await {
            if event.is_ok_and(|action| action == "reload") {
                return true;
            }
        }
        false
    };
    Ok(timeout(LONGEST_RELOAD, reloaded).await.unwrap_or(false))
}

fn told(event: bool, Shown { mirrors, insecure }: &Shown) -> String {
    let mirrors = if mirrors.is_empty() { "no mirrors".to_owned() } else { format!("the mirrors {}", mirrors.join(", ")) };
    let insecure = if insecure.is_empty() { "none".to_owned() } else { insecure.join(", ") };
    let said = if event { "says that it did" } else { "did not say that it did" };
    format!("{said}; it has {mirrors}, and as insecure registries {insecure}")
}

/// A reload takes milliseconds; a busy machine's seconds.
const LONGEST_RELOAD: Duration = Duration::from_secs(15);
/// After its event the new values are in `/info`.
const SETTLING: Duration = Duration::from_secs(2);
const LONGEST_CHECK: Duration = Duration::from_secs(20);
/// Where dockerd says why.
const LOG: &str = "its log says why: `journalctl -u docker`, or where its standard error goes";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engines::{Daemon, Engine};

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn what_an_engine_shows_is_held_against_what_is_wanted() {
        for (wanted, insecure, has, has_insecure, is) in [
            (&["http://a:1"][..], &[][..], &["http://a:1/"][..], &["127.0.0.0/8"][..], true),
            (&["http://a:1", "http://b"], &[], &["http://b/", "http://a:1/"], &[], false),
            (&["http://a:1"], &[], &["http://a:1/", "http://b/"], &[], false),
            (&[], &[], &[], &[], true),
            (&[], &[], &["http://a:1/"], &[], false),
            (&["http://a:1"], &["a:1"], &["http://a:1/"], &["127.0.0.0/8"], false),
            (&["http://a:1"], &["a:1"], &["http://a:1/"], &["127.0.0.0/8", "A:1", "b"], true),
        ] {
            let daemon = Daemon { pid: 7, socket: PathBuf::from("/s") };
            let order = Reload { engine: Engine::Docker, daemon, mirrors: texts(wanted), insecure: texts(insecure) };
            let shown = Shown { mirrors: texts(has), insecure: texts(has_insecure) };
            assert_eq!(is_as_wanted(&order, &shown), is, "{order:?} {shown:?}");
        }
    }

    #[test]
    fn an_engine_that_keeps_what_it_had_is_named_with_what_that_is() {
        let error = ReloadError::Kept {
            pid: 7,
            event: false,
            shown: Shown { mirrors: texts(&["http://old/"]), insecure: texts(&["127.0.0.0/8"]) },
        };
        insta::assert_snapshot!(error, @"dockerd (process 7) was told to read its configuration again, and did not say that it did; it has the mirrors http://old/, and as insecure registries 127.0.0.0/8; its log says why: `journalctl -u docker`, or where its standard error goes");
    }
}
