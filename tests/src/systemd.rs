//! A machine whose first process is systemd: namespaces with a root of their own, in memory, in which nothing of the real machine can be written.
//!
//! `/usr` is the real one, read-only, and so is the folder of the tests' own programs; `/etc` is a copy. Everything else, `/tmp` above all, is the machine's own: systemd empties it at a boot. The machine ends when this is dropped, or when
//! the test program is killed.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::program::program_path;
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

/// What a command on it said.
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
        let enter = "echo $$ >\"$1\" && shift && { \"$@\" </dev/null & read -r _; kill -KILL $!; wait; }";
        command.args(["-c", enter, "sh"]).arg(cgroup.join("cgroup.procs")).arg(unshare);
        command.args(["--mount", "--pid", "--fork", "--uts", "--ipc", "--cgroup", "--net", "--kill-child", "sh", "-c", BOOT, "sh"]);
        command.arg(folder.path()).arg(program_path()).arg(tools::cache());
        let console = fs::File::create(folder.path().join("console")).expect("a file");
        command.stdin(Stdio::piped()).stdout(console.try_clone().expect("open")).stderr(console).process_group(0);
        let keeper = command.spawn().expect("a shell is always there");
        let mut machine = Self { cgroup, folder, init: 0, keeper };
        machine.init = machine.wait_for(|machine| child_of(machine.keeper.id()).and_then(child_of));
        machine.wait_for(|machine| {
            let said = machine.run("systemctl is-system-running");
            matches!(said.text.trim(), "running" | "degraded").then_some(())
        });
        Some(machine)
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
        drop(self.keeper.stdin.take()); // The shell ends unshare, and with it the kernel all that is in its namespaces.
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

/// Runs inside of the namespaces: makes the root, and becomes systemd. What a machine in memory has no use for is masked.
const BOOT: &str = r#"
set -e
mount --make-rprivate /
root=$1/root
mkdir "$root"
mount -t tmpfs tmpfs "$root"
cd "$root"
mkdir -p usr etc var/lib var/log var/tmp tmp run dev/shm proc sys root home opt srv old .etc/lower .etc/upper .etc/work
chmod 1777 tmp var/tmp
mount --bind /usr usr
mount -o remount,bind,ro usr
mount -t tmpfs tmpfs usr/local
mkdir usr/local/bin
for link in bin sbin lib lib64; do
  if [ -L "/$link" ]; then ln -s "usr/$link" "$link"; elif [ -d "/$link" ]; then mkdir "$link" && mount --bind "/$link" "$link" && mount -o remount,bind,ro "$link"; fi
done
cp -a /etc/. .etc/lower/
mount -t overlay overlay -o "lowerdir=$root/.etc/lower,upperdir=$root/.etc/upper,workdir=$root/.etc/work" etc
for device in null zero full random urandom tty; do touch "dev/$device" && mount --bind "/dev/$device" "dev/$device"; done
mount -t tmpfs tmpfs dev/shm
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
touch opt/chandler dev/console
mount --bind "$1/console" dev/console
mount --bind "$2" opt/chandler
if [ -d "$3" ]; then mkdir -p ".$3" && mount --bind "$3" ".$3" && mount -o remount,bind,ro ".$3"; fi
rm -rf etc/systemd/system etc/chandler
mkdir -p etc/systemd/system
: >etc/fstab
sed -i /^chandler:/d etc/passwd etc/group
for unit in systemd-udevd.service systemd-udev-trigger.service systemd-logind.service systemd-sysctl.service systemd-remount-fs.service systemd-modules-load.service systemd-tmpfiles-setup-dev.service systemd-random-seed.service systemd-update-utmp.service systemd-tmpfiles-clean.timer systemd-binfmt.service getty.target dev-hugepages.mount dev-mqueue.mount sys-kernel-debug.mount sys-kernel-tracing.mount sys-fs-fuse-connections.mount proc-sys-fs-binfmt_misc.automount; do
  ln -s /dev/null "etc/systemd/system/$unit"
done
ip link set lo up
pivot_root . old
umount -l /old
export container=other
exec /lib/systemd/systemd --system --unit=multi-user.target --log-target=console --log-level=notice
"#;
