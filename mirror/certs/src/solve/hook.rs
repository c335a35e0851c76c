//! dns-01 by somebody's script: those of certbot and of lego run as they are.
//!
//! - certbot's (`--manual-auth-hook`, `--manual-cleanup-hook`): `CERTBOT_DOMAIN`, `CERTBOT_VALIDATION` and others in the environment; what the first
//!   prints is `CERTBOT_AUTH_OUTPUT` of the second.
//! - lego's (`EXEC_PATH`): called with `present` or `cleanup`, the record's name and its value.
//!
//! A script is waited for, but not for ever, and is ended with all that it started when it takes too long, or nobody waits any more. What it leaves behind
//! when it ends of itself holds up nothing, and of what it prints the end is kept.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};

use super::Proof;
use crate::Identifier;
use crate::acme::legible;

/// A script that writes TXT records.
#[derive(Debug)]
pub struct DnsHook {
    cleanup: Option<PathBuf>,
    outputs: Mutex<HashMap<String, String>>,
    present: PathBuf,
    /// Variables that it does not get.
    secrets: Vec<String>,
    style: HookStyle,
    timeout: Duration,
}

/// How a script is called.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HookStyle {
    /// As by certbot.
    Certbot,
    /// As by lego.
    Lego,
}

/// Why a script did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// It ended with an error.
    #[error("{} ended with {status}: {said}", hook.display())]
    Failed {
        /// Which.
        hook: PathBuf,
        /// The end of what it said.
        said: String,
        /// How it ended.
        status: ExitStatus,
    },
    /// It takes too long.
    #[error("{} did not end within {} s", hook.display(), timeout.as_secs())]
    Late {
        /// Which.
        hook: PathBuf,
        /// How long it was waited for.
        timeout: Duration,
    },
    /// It cannot be started.
    #[error("cannot start {}", hook.display())]
    Start {
        /// Which.
        hook: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl DnsHook {
    /// `present` puts a record in place; `cleanup`, else the same script, takes it away.
    pub fn new(style: HookStyle, present: &Path, cleanup: Option<&Path>, timeout: Duration) -> Self {
        let (cleanup, present) = (cleanup.map(Path::to_owned), present.to_owned());
        Self { cleanup, outputs: Mutex::default(), present, secrets: Vec::new(), style, timeout }
    }

    /// Without the variables of these names, which hold passwords of the mirror's.
    pub fn without(self, secrets: &[String]) -> Self {
        Self { secrets: secrets.to_vec(), ..self }
    }

    pub(super) async fn present(&self, proof: &Proof) -> Result<(), HookError> {
        let output = self.run(&self.present, "present", proof, None).await?;
        let printed = String::from_utf8_lossy(&output).trim().to_owned();
        self.outputs.lock().unwrap_or_else(PoisonError::into_inner).insert(proof.dns_value.clone(), printed);
        Ok(())
    }

    /// certbot's manual mode cleans up only where there is a second script.
    pub(super) async fn withdraw(&self, proof: &Proof) -> Result<(), HookError> {
        let printed = self.outputs.lock().unwrap_or_else(PoisonError::into_inner).remove(&proof.dns_value);
        let hook = match (&self.cleanup, self.style) {
            (Some(hook), _) => hook,
            (None, HookStyle::Lego) => &self.present,
            (None, HookStyle::Certbot) => return Ok(()),
        };
        self.run(hook, "cleanup", proof, printed.as_deref()).await.map(drop)
    }

    async fn run(&self, hook: &Path, action: &str, proof: &Proof, printed: Option<&str>) -> Result<Vec<u8>, HookError> {
        let mut command = Command::new(hook);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).process_group(0);
        let domain = base(&proof.identifier);
        match self.style {
            HookStyle::Certbot => {
                command.env("CERTBOT_DOMAIN", domain).env("CERTBOT_VALIDATION", &proof.dns_value).env("CERTBOT_TOKEN", &proof.token);
                command.env("CERTBOT_ALL_DOMAINS", domain).env("CERTBOT_REMAINING_CHALLENGES", "0");
                command.envs(printed.map(|printed| ("CERTBOT_AUTH_OUTPUT", printed)));
            }
            HookStyle::Lego => {
                command.args([action, &format!("_acme-challenge.{domain}."), &proof.dns_value]);
            }
        }
        for (name, _) in std::env::vars_os().filter(|(name, _)| is_of_the_mirror(name)) {
            command.env_remove(name);
        }
        for name in &self.secrets {
            command.env_remove(name);
        }
        let start = |source| HookError::Start { hook: hook.to_owned(), source };
        let mut child = command.spawn().map_err(start)?;
        let mut group = Group(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)));
        let ended = tokio::time::timeout(self.timeout, end(&mut child)).await;
        let ended = ended.map_err(|_| HookError::Late { hook: hook.to_owned(), timeout: self.timeout })?;
        group.0 = None; // Its number may be another's by now.
        let Ended { status, stdout, stderr } = ended.map_err(start)?;
        if status.success() {
            return Ok(stdout);
        }
        let said = end_of(if stderr.is_empty() { &stdout } else { &stderr });
        Err(HookError::Failed { hook: hook.to_owned(), said, status })
    }
}

/// A script with all that it started: it ends with this.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// A script that ended of itself.
struct Ended {
    status: ExitStatus,
    stderr: Vec<u8>,
    stdout: Vec<u8>,
}

/// What a script started may hold its output open: after its end nobody waits for that.
async fn end(child: &mut Child) -> io::Result<Ended> {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let (from_stdout, from_stderr) = (child.stdout.take(), child.stderr.take());
    let status = {
        let mut reading = std::pin::pin!(async { tokio::join!(keep_end(from_stdout, &mut stdout), keep_end(from_stderr, &mut stderr)) });
        let mut is_read = false;
        let status = loop {
            tokio::select! {
                status = child.wait() => break status?,
                _ = &mut reading, if !is_read => is_read = true,
            }
        };
        if !is_read {
            let _ = tokio::time::timeout(LAST_WORDS, reading).await;
        }
        status
    };
    Ok(Ended { status, stderr, stdout })
}

/// Reads until nothing comes, and keeps the last [`KEPT`] bytes.
async fn keep_end(from: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) {
    let Some(mut from) = from else { return };
    let mut piece = vec![0; 8 << 10];
    while let Ok(read @ 1..) = from.read(&mut piece).await {
        kept.drain(..(kept.len() + read).saturating_sub(KEPT));
        kept.extend_from_slice(&piece[..read]);
    }
}

/// The name whose record it is; an address has none, and never comes here.
fn base(identifier: &Identifier) -> &str {
    match identifier {
        Identifier::Dns(name) => name.base(),
        Identifier::Ip(_) => "",
    }
}

/// Our own variables hold passwords, which are no script's affair. What a script needs of others', such as a provider's token, it gets.
fn is_of_the_mirror(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| name.starts_with("CHANDLER_") || name.starts_with("REGISTRY_"))
}

/// The last words, which are the ones that tell.
fn end_of(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(SAID)..]);
    let text = text.trim();
    if text.is_empty() { "it said nothing".to_owned() } else { legible(&text.replace('\n', " / ")) }
}

/// Bytes of what a script prints that are kept.
const KEPT: usize = 64 << 10;
/// For what a script has printed, after its end.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Bytes of a script's words that are repeated.
const SAID: usize = 400;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::Way;
    use super::*;

    fn proof() -> Proof {
        Proof {
            digest: Vec::new(),
            dns_value: "value".into(),
            identifier: "*.mirror.test".parse().expect("a name"),
            key_authorization: "token.thumb".into(),
            token: "token".into(),
            way: Way::Dns,
        }
    }

    fn script(folder: &Path, name: &str, text: &str) -> PathBuf {
        let path = folder.join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("executable");
        path
    }

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn scripts_for_certbot_run_as_they_are() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("log");
        let auth = script(
            folder.path(),
            "auth",
            &format!("echo $CERTBOT_DOMAIN $CERTBOT_VALIDATION $CERTBOT_TOKEN >> {}; echo record-7", log.display()),
        );
        let cleanup = script(folder.path(), "cleanup", &format!("echo $CERTBOT_DOMAIN $CERTBOT_AUTH_OUTPUT >> {}", log.display()));
        let hook = DnsHook::new(HookStyle::Certbot, &auth, Some(&cleanup), LONG);
        hook.present(&proof()).await.expect("it works");
        hook.withdraw(&proof()).await.expect("it works");
        assert_eq!(std::fs::read_to_string(log).expect("written"), "mirror.test value token\nmirror.test record-7\n");
    }

    #[tokio::test]
    async fn scripts_for_lego_run_as_they_are() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("log");
        let exec = script(folder.path(), "exec", &format!("echo \"$@\" >> {}", log.display()));
        let hook = DnsHook::new(HookStyle::Lego, &exec, None, LONG);
        hook.present(&proof()).await.expect("it works");
        hook.withdraw(&proof()).await.expect("it works");
        let written = std::fs::read_to_string(log).expect("written");
        assert_eq!(written, "present _acme-challenge.mirror.test. value\ncleanup _acme-challenge.mirror.test. value\n");
    }

    #[tokio::test]
    async fn a_script_that_fails_is_quoted_and_one_that_hangs_is_ended() {
        let folder = tempfile::tempdir().expect("a folder");
        let wrong = script(folder.path(), "wrong", "echo no such zone >&2; exit 3");
        let error = DnsHook::new(HookStyle::Lego, &wrong, None, LONG).present(&proof()).await.expect_err("it fails");
        assert!(error.to_string().ends_with("ended with exit status: 3: no such zone"), "{error}");
        let hangs = script(folder.path(), "hangs", "sleep 600");
        let error = DnsHook::new(HookStyle::Lego, &hangs, None, Duration::from_millis(50)).present(&proof()).await.expect_err("it hangs");
        assert!(matches!(error, HookError::Late { .. }), "{error}");
        let pid = folder.path().join("pid");
        let parent = script(folder.path(), "parent", &format!("sleep 600 & echo $! > {}; wait", pid.display()));
        let error = DnsHook::new(HookStyle::Lego, &parent, None, Duration::from_secs(1)).present(&proof()).await.expect_err("it hangs");
        assert!(matches!(error, HookError::Late { .. }), "{error}");
        let child: i32 = std::fs::read_to_string(&pid).expect("it ran").trim().parse().expect("a number");
        while is_running(child) {
            tokio::time::sleep(Duration::from_millis(10)).await; // Its end is the system's to tell.
        }
        let missing = folder.path().join("missing");
        let error = DnsHook::new(HookStyle::Lego, &missing, None, LONG).present(&proof()).await.expect_err("it is not there");
        assert!(matches!(error, HookError::Start { .. }), "{error}");
    }

    #[tokio::test]
    async fn of_what_a_script_prints_the_end_is_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let loud = script(folder.path(), "loud", "head -c 1000000 /dev/zero | tr '\\0' x; echo the end");
        let output = DnsHook::new(HookStyle::Lego, &loud, None, LONG).run(&loud, "present", &proof(), None).await.expect("it works");
        assert_eq!(output.len(), KEPT);
        assert!(output.ends_with(b"xthe end\n"));
    }

    #[tokio::test]
    async fn what_a_script_leaves_behind_with_its_output_holds_up_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let pid = folder.path().join("pid");
        let leaves = script(folder.path(), "leaves", &format!("sleep 600 & echo $! > {}; echo record-7", pid.display()));
        let hook = DnsHook::new(HookStyle::Certbot, &leaves, None, Duration::from_secs(20));
        hook.present(&proof()).await.expect("it ended");
        assert_eq!(hook.outputs.lock().expect("no holder panics").get("value").map(String::as_str), Some("record-7"));
        let left: i32 = std::fs::read_to_string(&pid).expect("it ran").trim().parse().expect("a number");
        assert!(is_running(left), "it is the script's affair");
        let _ = rustix::process::kill_process(Pid::from_raw(left).expect("a process"), Signal::KILL);
    }

    #[tokio::test]
    async fn a_variable_that_holds_a_password_is_not_shown_to_scripts() {
        let folder = tempfile::tempdir().expect("a folder");
        // Any that this process has and no shell sets by itself.
        let is_plain =
            |name: &str| name.bytes().all(|byte| byte.is_ascii_uppercase()) && !["PATH", "PWD", "OLDPWD", "SHLVL"].contains(&name);
        let any = std::env::vars().find(|(name, value)| is_plain(name) && !value.is_empty() && !value.contains('\n'));
        let (name, value) = any.expect("a variable");
        let tells = script(folder.path(), "tells", &format!("echo \"${{{name}-nothing}}\""));
        for (secrets, said) in [(Vec::new(), value), (vec![name], "nothing".to_owned())] {
            let hook = DnsHook::new(HookStyle::Lego, &tells, None, LONG).without(&secrets);
            let printed = hook.run(&tells, "present", &proof(), None).await.expect("it works");
            assert_eq!(String::from_utf8_lossy(&printed).trim_end(), said.trim_end(), "without {secrets:?}");
        }
    }

    /// Not gone, and not waiting to be collected by whoever adopted it.
    fn is_running(process: i32) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat"));
        stat.is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|rest| !rest.trim_start().starts_with('Z')))
    }
}
