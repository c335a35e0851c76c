//! A machine whose first process is systemd: namespaces with a root of their own, in memory, in which nothing of the real machine can be written.
//!
//! `/usr` is the real one, read-only, with an engine's packages over it where a test wants them installed, and so is the folder of the tests' own programs; `/etc` is a copy. Everything else,
//! `/tmp` above all, is the machine's own: systemd empties it at a boot. When systemd [reboots](SystemdMachine::reboot) it, the kernel ends all that is in its namespaces, and it boots again from
//! the same tree. The machine ends when this is dropped, or when the test program is killed.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::program::{built_with_the_tests, program_path};
use crate::tools;

/// A running one.
#[derive(Debug)]
pub struct SystemdMachine {
    cgroup: PathBuf,
    folder: TempDir,
    /// systemd, as the real machine counts.
    init: u32,
    /// A shell that waits for the test, and ends the machine with it.
    keeper: Child,
}

/// What a command on a machine said.
#[derive(Debug)]
pub struct Said {
    /// Its exit code.
    pub code: Option<i32>,
    /// Both streams, standard output first.
    pub text: String,
}

impl SystemdMachine {
    /// Boots one, with the program under test as `/opt/chandler`. Without root, systemd or control groups the test is skipped by name.
    pub fn boot() -> Option<Self> {
        Self::boot_with(Path::new(""))
    }

    /// Boots one on which Debian's packages of Docker 20.10 are installed, and not yet enabled: its units, its files, its programs where they belong.
    pub fn boot_with_docker() -> Option<Self> {
        tools::require_all(["dockerd-20", "iptables"])?;
        Self::boot_with(&tools::cache().join("debian/docker-20"))
    }

    /// `packages` is a tree of unpacked ones, or nothing.
    fn boot_with(packages: &Path) -> Option<Self> {
        if !tools::require_root() {
            return None;
        }
        let [unshare, _, _] = tools::require_all(["unshare", "nsenter", "systemctl"])?;
        let Some(groups) = unified() else {
            tools::skip("there is no writable control group of version 2 for a systemd");
            return None;
        };
        let folder = TempDir::with_prefix("chandler-systemd-").expect("a folder");
        let cgroup = groups.join(folder.path().file_name().expect("it has a name"));
        fs::create_dir(&cgroup).expect("just seen to be writable");
        let mut command = Command::new("sh");
        // Into the group first: a new namespace of groups begins where its process is.
        command.args(["-c", "echo $$ >\"$1\" && shift && exec \"$@\"", "sh"]).arg(cgroup.join("cgroup.procs")).arg(unshare);
        command.args(["--mount", "sh", "-c", KEEP, "sh"]);
        command.arg(folder.path()).arg(tools::cache()).arg(packages).arg(program_path()).arg(built_with_the_tests("test-hub"));
        let console = fs::File::create(folder.path().join("console")).expect("a file");
        command.env("BOOT", BOOT).stdin(Stdio::piped()).stdout(console.try_clone().expect("open")).stderr(console).process_group(0);
        let keeper = command.spawn().expect("a shell is always there");
        let mut machine = Self { cgroup, folder, init: 0, keeper };
        machine.wait_for_boot();
        Some(machine)
    }

    /// Reboots it as an operator does, and returns when it is up again.
    pub fn reboot(&mut self) {
        let _ = self.run("systemctl reboot"); // It may be ended before it says so.
        self.wait_for_boot();
    }

    fn wait_for_boot(&mut self) {
        let before = self.init;
        // The keeper, who boots it; unshare; systemd.
        self.init =
            self.wait_for(|machine| child_of(machine.keeper.id()).and_then(child_of).and_then(child_of).filter(|init| *init != before));
        self.wait_for(|machine| {
            // Before it is in its own root, this would ask the real machine's systemd.
            let said = machine.run("test -d /.etc && systemctl is-system-running");
            matches!(said.text.trim(), "running" | "degraded").then_some(())
        });
    }

    /// Runs a line of shell on it.
    pub fn run(&self, line: &str) -> Said {
        let mut command = Command::new("nsenter");
        command.args([
            "--target",
            &self.init.to_string(),
            "--mount",
            "--pid",
            "--uts",
            "--ipc",
            "--net",
            "--root",
            "--wd",
            "sh",
            "-c",
            line,
        ]);
        command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin");
        let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output().expect("nsenter was found");
        let text = String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned();
        Said { code: status.code(), text }
    }

    /// Runs a line that must succeed.
    #[track_caller]
    pub fn done(&self, line: &str) -> String {
        let said = self.run(line);
        assert_eq!(said.code, Some(0), "{line}: {}\n{}", said.text, self.run("journalctl --no-pager --output=cat --lines=40").text);
        said.text
    }

    #[track_caller]
    fn wait_for<T>(&self, mut look: impl FnMut(&Self) -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            let console = || fs::read_to_string(self.folder.path().join("console")).unwrap_or_default();
            assert!(Instant::now() < end, "the machine does not come up:\n{}", console());
            pause();
        }
    }
}

impl Drop for SystemdMachine {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take()); // The keeper ends itself and what it started, and with that the kernel all that is in its namespaces.
        let _ = self.keeper.wait();
        let end = Instant::now() + PATIENCE;
        while !is_removed(&self.cgroup) && Instant::now() < end {
            pause();
        }
    }
}

/// Between two looks at what other processes do, which tell nobody of it.
#[expect(clippy::disallowed_methods, reason = "each test has its own thread, and a drop can await nothing")]
fn pause() {
    thread::sleep(Duration::from_millis(20));
}

/// Groups below first; a group with a process in it stays.
fn is_removed(group: &Path) -> bool {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            is_removed(&entry.path());
        }
    }
    fs::remove_dir(group).is_ok() || !group.exists()
}

/// Where control groups of version 2 are, if groups can be made there.
fn unified() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts").ok()?;
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>()).find(|fields| fields.get(2) == Some(&"cgroup2"))?;
    let own = fs::read_to_string("/proc/self/cgroup").ok()?.lines().find_map(|line| line.strip_prefix("0::/").map(str::to_owned))?;
    let place = PathBuf::from(fields[1]).join(own);
    let trial = place.join(format!("chandler-trial-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
    let made = fs::create_dir(&trial).is_ok();
    (made && fs::remove_dir(&trial).is_ok()).then_some(place)
}

/// Trials so far: several tests look at the same time, each with a name of its own.
static NEXT: AtomicU32 = AtomicU32::new(0);

fn child_of(pid: u32) -> Option<u32> {
    fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?.split_whitespace().next()?.parse().ok()
}

/// Of a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// Makes the tree, in a mount namespace of its own, boots it, again after each reboot (which the kernel tells as a hangup), and ends when the test does. What a machine in memory has no use for is
/// masked.
const KEEP: &str = r#"
set -e
root=$1/root packages=$3
mkdir "$root"
mount -t tmpfs tmpfs "$root"
cd "$root"
mkdir -p usr etc var/lib var/log var/tmp tmp run dev/shm proc sys root home opt srv old .etc/lower .etc/upper .etc/work .local/bin
chmod 1777 tmp var/tmp
cp -a /etc/. .etc/lower/
mount -t overlay overlay -o "lowerdir=$root/.etc/lower,upperdir=$root/.etc/upper,workdir=$root/.etc/work" etc
rm -rf etc/systemd/system etc/chandler
mkdir -p etc/systemd/system
: >etc/fstab
sed -i /^chandler:/d etc/passwd etc/group
if [ -n "$packages" ]; then
  rm -rf etc/docker
  cp -a "$packages/etc/." etc/
  cp "$packages"/lib/systemd/system/*.service "$packages"/lib/systemd/system/*.socket etc/systemd/system/
  grep -q ^docker: etc/group || echo docker:x:989: >>etc/group
fi
for unit in systemd-udevd.service systemd-udev-trigger.service systemd-logind.service systemd-sysctl.service systemd-remount-fs.service systemd-modules-load.service systemd-tmpfiles-setup-dev.service systemd-random-seed.service systemd-update-utmp.service systemd-tmpfiles-clean.timer systemd-binfmt.service getty.target dev-hugepages.mount dev-mqueue.mount sys-kernel-debug.mount sys-kernel-tracing.mount sys-fs-fuse-connections.mount proc-sys-fs-binfmt_misc.automount; do
  ln -s /dev/null "etc/systemd/system/$unit"
done
boots() {
  ended=129
  while [ "$ended" -eq 129 ]; do
    ended=0
    unshare --mount --pid --fork --uts --ipc --cgroup --net --kill-child sh -c "$BOOT" sh "$@" </dev/null || ended=$?
  done
}
boots "$@" &
read -r _ || :
kill -KILL 0
"#;
/// Runs inside of the machine's namespaces: completes the root, and becomes systemd.
const BOOT: &str = r#"
set -e
root=$1/root packages=$3
cd "$root"
if [ -n "$packages" ]; then
  mount -t overlay overlay -o "lowerdir=$packages/usr:/usr" usr
else
  mount --bind /usr usr
  mount -o remount,bind,ro usr
fi
mount --bind .local usr/local
for link in bin sbin lib lib64; do
  if [ -L "/$link" ]; then ln -sfn "usr/$link" "$link"; elif [ -d "/$link" ]; then mkdir -p "$link" && mount --bind "/$link" "$link" && mount -o remount,bind,ro "$link"; fi
done
for device in null zero full random urandom tty; do touch "dev/$device" && mount --bind "/dev/$device" "dev/$device"; done
mount -t tmpfs tmpfs dev/shm
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
# Of the boot before.
find sys/fs/cgroup -mindepth 1 -depth -type d -exec rmdir {} +
touch opt/chandler opt/test-hub dev/console
mount --bind "$1/console" dev/console
mount --bind "$4" opt/chandler
mount --bind "$5" opt/test-hub
if [ -d "$2" ]; then mkdir -p ".$2" && mount --bind "$2" ".$2" && mount -o remount,bind,ro ".$2"; fi
ip link set lo up
pivot_root . old
umount -l /old
export container=other
unset BOOT
exec /lib/systemd/systemd --system --unit=multi-user.target --log-target=console --log-level=notice
"#;
