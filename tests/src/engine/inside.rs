//! What else there is on a private machine: programs where packages have them, processes, and a user who may be anybody.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;

use super::{Answer, Machine};
use crate::tools;

/// A user of a [`Machine`].
#[derive(Clone, Copy, Debug)]
pub struct User {
    /// The name.
    pub name: &'static str,
    /// The number, of the group too.
    pub id: u32,
}

impl User {
    /// Where this user lives.
    pub fn home(self) -> PathBuf {
        Path::new("/home").join(self.name)
    }

    /// Where this user's services have their sockets.
    pub fn runtime(self) -> PathBuf {
        Path::new("/run/user").join(self.id.to_string())
    }
}

/// A process, which no later one is taken for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Running {
    /// Its number on the real machine.
    pub pid: i32,
    /// When it started, as the kernel counts.
    started: String,
}

impl Machine {
    /// Puts programs where packages have them, each by its name, and takes the engines of the real machine out of sight: what is found here is what the test says.
    pub async fn install<N: AsRef<str>, P: AsRef<Path>>(&self, programs: impl IntoIterator<Item = (N, P)>) {
        let mut shell = self.command("sh".as_ref());
        shell.args(["-euc", INSTALL, "sh"]);
        for (name, program) in programs {
            shell.arg(name.as_ref()).arg(program.as_ref());
        }
        Answer::of(&mut shell).await.expect_success();
    }

    /// The same, for programs of [`tools`] by their own names; `None` after saying which is missing.
    pub async fn install_tools<const N: usize>(&self, names: [&str; N]) -> Option<()> {
        let found = tools::require_all(names)?;
        self.install(names.into_iter().zip(found)).await;
        Some(())
    }

    /// Makes a user with an empty home, who may map ids as `useradd` allows it, and lets everybody reach the tests' programs and `folders`.
    pub async fn add_user(&self, user: User, folders: &[&Path]) {
        let User { name, id } = user;
        let add = |path: &str, line: String| {
            let before = fs::read_to_string(self.inside(path)).unwrap_or_default();
            self.write(path, format!("{before}{line}\n"));
        };
        add("/etc/passwd", format!("{name}:x:{id}:{id}::{}:/bin/sh", user.home().display()));
        add("/etc/group", format!("{name}:x:{id}:"));
        for file in ["/etc/subuid", "/etc/subgid"] {
            add(file, format!("{name}:{}:65536", id * 100));
        }
        // Who has nothing to seek in it still passes through.
        fs::set_permissions(self.folder(), fs::Permissions::from_mode(0o711)).expect("a folder of ours can be opened");
        let mut shell = self.command("sh".as_ref());
        shell.args(["-euc", ADD_USER, "sh"]).arg(self.folder()).arg(id.to_string()).arg(user.home()).arg(user.runtime());
        shell.arg(tools::cache()).args(folders);
        Answer::of(&mut shell).await.expect_success();
    }

    /// A command of this user's on this machine, with the environment of a login.
    pub fn command_of(&self, user: User, program: &Path) -> Command {
        let mut command = self.command("setpriv".as_ref());
        let id = user.id.to_string();
        command.args(["--reuid", &id, "--regid", &id, "--clear-groups", "--"]).arg(program);
        command.env("HOME", user.home()).env("USER", user.name).env("XDG_RUNTIME_DIR", user.runtime());
        command
    }

    /// The processes of this machine that run a program of this name.
    pub fn running(&self, program: &str) -> Vec<Running> {
        let space = |pid: &Path| fs::read_link(pid.join("ns/pid")).ok();
        let ours = space(Path::new(&format!("/proc/{}", self.init())));
        let processes = fs::read_dir("/proc").expect("it is mounted").flatten().map(|entry| entry.path());
        let of_program = |folder: &PathBuf| fs::read_link(folder.join("exe")).is_ok_and(|exe| exe.ends_with(program));
        // Rootless engines have a space of their own below.
        let here = processes.filter(of_program).filter(|folder| space(folder) == ours);
        let known = here.filter_map(|folder| {
            let stat = fs::read_to_string(folder.join("stat")).ok()?;
            let started = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.to_owned();
            Some(Running { pid: folder.file_name()?.to_str()?.parse().ok()?, started })
        });
        known.collect()
    }

    /// Tells these processes something.
    pub fn signal(&self, program: &str, signal: Signal) {
        for Running { pid, .. } in self.running(program) {
            let pid = Pid::from_raw(pid).expect("a process has a number");
            kill_process(pid, signal).expect("it was there a moment ago");
        }
    }
}

/// `NAME PROGRAM` by pairs. The folders that the machine is made with count as an engine's sign, and belong to those that are installed.
const INSTALL: &str = r#"
mountpoint -q /usr/local/sbin || mount -t tmpfs -o mode=755 tmpfs /usr/local/sbin
for name in dockerd podman buildah skopeo crio containerd buildkitd nerdctl crictl ctr buildctl k3s; do
  for folder in /usr/local/bin /usr/sbin /usr/bin; do
    case " $* " in *" $folder/$name "*) continue ;; esac
    [ ! -f "$folder/$name" ] || mount --bind /dev/null "$folder/$name"
  done
done
while [ $# -gt 0 ]; do ln -sf "$2" "/usr/local/sbin/$1"; shift 2; done
rmdir /etc/docker /etc/containers 2>/dev/null || true
"#;

/// `FOLDER ID HOME RUNTIME REACHED...`. A folder that is closed to others, such as root's home, has another in its place on this machine, in which only the way
/// to those that are reached is laid.
const ADD_USER: &str = r#"
within=$1 id=$2 home=$3 runtime=$4
shift 4
mountpoint -q /home || mount -t tmpfs -o mode=755 tmpfs /home
mkdir -p "$home" "$runtime"
chmod 700 "$home" "$runtime"
chown "$id:$id" "$home" "$runtime"
count=0
for path; do
  count=$((count + 1))
  mkdir "$within/reached$count"
  mount --bind "$path" "$within/reached$count"
done
count=0
for path; do
  count=$((count + 1))
  at=
  rest=${path#/}
  while [ -n "$rest" ]; do
    at=$at/${rest%%/*}
    case $rest in */*) rest=${rest#*/} ;; *) rest= ;; esac
    case $(stat -c %a "$at" 2>/dev/null || echo 755) in
      *[1357]) ;;
      *) mount -t tmpfs -o mode=755 tmpfs "$at"; break ;;
    esac
  done
  mkdir -p "$path"
  mount --bind "$within/reached$count" "$path"
done
"#;
