//! What runs on and keeps what it has read: `podman system service`, which says what that is, and CRI-O, which does not. Both read again at SIGHUP,
//! and nothing that they run notices.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::look::Service;
use crate::engines::plan::Daemon;
use crate::engines::process::Process;

/// The service that a process of `podman` is, if it is one; what it has is not asked yet.
pub fn podman(process: &Process) -> Option<Service> {
    let words = process.arguments.iter().skip(1).filter(|word| !word.starts_with('-'));
    let words: Vec<&String> = words.collect();
    let at = words.windows(2).position(|pair| pair[0] == "system" && pair[1] == "service")?;
    let url = words[at + 2..].iter().find(|word| word.contains(':'));
    let socket = url.map_or_else(|| standard_socket(process), |url| url.trim_start_matches("unix://").trim_start_matches("unix:").into());
    Some(Service { name: PODMAN, daemon: Daemon { pid: process.pid, socket }, reported: None })
}

/// CRI-O.
pub fn crio(process: &Process) -> Service {
    let mut arguments = process.arguments.iter();
    let listen = arguments.find_map(|argument| argument.strip_prefix("--listen=")).unwrap_or("/run/crio/crio.sock");
    Service { name: CRIO, daemon: Daemon { pid: process.pid, socket: listen.into() }, reported: None }
}

/// Where systemd's socket unit has it listen.
fn standard_socket(process: &Process) -> PathBuf {
    let folder = match process.uid {
        0 => "/run".into(),
        uid => {
            let said = process.environment.iter().find(|(name, _)| name == "XDG_RUNTIME_DIR");
            said.map_or_else(|| format!("/run/user/{uid}"), |(_, folder)| folder.clone())
        }
    };
    Path::new(&folder).join("podman/podman.sock")
}

/// The mirrors of Docker Hub that a service of Podman's has, in order; `None`: it does not say.
pub async fn reported(socket: &Path) -> Option<Vec<String>> {
    let client = reqwest::Client::builder().unix_socket(socket).timeout(PATIENCE).build().ok()?;
    let answer = client.get("http://podman/v4.0.0/libpod/info").send().await.ok()?.error_for_status().ok()?;
    mirrors(&answer.bytes().await.ok()?)
}

/// The same, in what it answers.
fn mirrors(answer: &[u8]) -> Option<Vec<String>> {
    let info: Value = serde_json::from_slice(answer).ok()?;
    info.get("store")?; // else it is not Podman's
    let mirrors = info.pointer("/registries/docker.io/Mirrors").and_then(Value::as_array);
    let locations = mirrors.into_iter().flatten().filter_map(|mirror| mirror.get("Location")?.as_str());
    Some(locations.map(str::to_owned).collect())
}

/// The program of `podman system service`.
pub const PODMAN: &str = "podman";
/// The program of CRI-O.
pub const CRIO: &str = "crio";
const PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn process(uid: u32, arguments: &str) -> Process {
        Process { pid: 7, uid, arguments: arguments.split(' ').map(str::to_owned).collect(), environment: Vec::new() }
    }

    #[test]
    fn a_service_is_told_from_a_command_and_its_socket_is_found() {
        for (uid, line, socket) in [
            (0, "podman system service", Some("/run/podman/podman.sock")),
            (1000, "podman system service", Some("/run/user/1000/podman/podman.sock")),
            (0, "/usr/bin/podman --log-level=info system service --time=0 unix:///run/x.sock", Some("/run/x.sock")),
            (0, "podman system service -t 0 unix:/run/x.sock", Some("/run/x.sock")),
            (0, "podman pull docker.io/library/service", None),
            (0, "podman system info", None),
        ] {
            let found = podman(&process(uid, line)).map(|service| service.daemon.socket);
            assert_eq!(found.as_deref(), socket.map(Path::new), "{line}");
        }
    }

    #[test]
    fn what_a_service_has_is_read_from_its_answer() {
        let answer = r#"{"store": {}, "registries": {"search": ["docker.io"],
            "docker.io": {"Prefix": "docker.io", "Mirrors": [{"Location": "m:5000", "Insecure": true}, {"Location": "n"}]}}}"#;
        assert_eq!(mirrors(answer.as_bytes()), Some(vec!["m:5000".to_owned(), "n".to_owned()]));
        assert_eq!(mirrors(br#"{"store": {}, "registries": {}}"#), Some(vec![]));
        assert_eq!(mirrors(b"{}"), None);
        assert_eq!(mirrors(b"<html>"), None);
    }
}
