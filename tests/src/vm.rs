//! A whole machine: Debian 12 with Docker 20.10 and cloud-init in QEMU, on a disk that survives its reboots and is forgotten with it.
//!
//! `disk` is what it boots from, `shell` how it is spoken with. The real machine's loopback addresses are [`HOST`] to it, so that it reaches the [mirror](crate::program::Program) and the
//! [Hub](crate::hub::Hub) of a test; nothing else is reached. Its processor is a program (TCG), which needs no rights and runs everywhere, at a tenth of the speed.
//!
//! ```no_run
//! use tests::vm::{Seed, Vm};
//!
//! let Some(mut vm) = Vm::boot(Some(&Seed::of("#cloud-config\nruncmd: [touch /srv/born]\n"))) else { return };
//! vm.done("cloud-init status --wait && test -e /srv/born");
//! vm.reboot();
//! vm.until("docker info");
//! ```

mod disk;
mod shell;

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use self::disk::Base;
pub use self::disk::Seed;
use self::shell::Shell;
use crate::systemd::Said;
use crate::tools;

/// A running one.
#[derive(Debug)]
pub struct Vm {
    folder: TempDir,
    /// A shell that waits for the test, and ends QEMU with it.
    keeper: Child,
    shell: Shell,
}

impl Vm {
    /// Boots one, for whose first boot cloud-init finds `seed`; without one cloud-init does not run. Where a program is missing or this is not root the test is skipped by name.
    pub fn boot(seed: Option<&Seed>) -> Option<Self> {
        if !tools::require_root() {
            return None;
        }
        let [qemu, genisoimage, _] = tools::require_all(["qemu-system-x86_64", "genisoimage", "debootstrap"])?;
        let base = Base::get();
        let folder = TempDir::with_prefix("chandler-vm-").expect("a folder");
        let disc = seed.map(|seed| seed.disc(folder.path(), &genisoimage));
        let mut keeper = Command::new("sh");
        keeper.args(["-c", "\"$@\" </dev/null & read -r _ || :; kill -KILL $!; wait", "sh"]).arg(qemu);
        keeper.args(arguments(&base, folder.path(), disc.as_deref()));
        let log = fs::File::create(folder.path().join("log")).expect("a file");
        keeper.env("TMPDIR", folder.path()).stdin(Stdio::piped()).stdout(log.try_clone().expect("open")).stderr(log);
        let keeper = keeper.spawn().expect("a shell is always there");
        let shell = Shell::over(connect(folder.path()));
        let mut vm = Self { folder, keeper, shell };
        vm.wait_for_boot();
        Some(vm)
    }

    /// Runs lines of shell on it, as root.
    #[track_caller]
    pub fn run(&mut self, lines: &str) -> Said {
        self.shell.run(lines).unwrap_or_else(|error| self.fail(&error))
    }

    /// Runs lines that must succeed.
    #[track_caller]
    pub fn done(&mut self, lines: &str) -> String {
        let said = self.run(lines);
        if said.code != Some(0) {
            let journal = self.run("journalctl --no-pager --output=cat --lines=40").text;
            panic!("{lines}: {:?}\n{}\n--- the journal:\n{journal}", said.code, said.text);
        }
        said.text
    }

    /// Waits until lines succeed, and gives what they then say.
    #[track_caller]
    pub fn until(&mut self, lines: &str) -> String {
        self.done(&format!("timeout 300 sh -c 'until \"$@\"; do sleep 0.5; done' sh sh -c '{}'", lines.replace('\'', "'\\''")))
    }

    /// Reboots it as an operator does, and returns when all that starts at a boot has started.
    #[track_caller]
    pub fn reboot(&mut self) {
        self.shell.tell("systemctl reboot");
        self.wait_for_boot();
    }

    /// Takes its power as an operator does.
    #[track_caller]
    pub fn power_off(mut self) {
        self.shell.tell("systemctl poweroff");
        if let Err(error) = self.shell.wait_for_end() {
            self.fail(&error);
        }
    }

    /// What its kernel and its first process wrote to the serial console.
    pub fn console(&self) -> String {
        fs::read(self.folder.path().join("console")).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    #[track_caller]
    fn wait_for_boot(&mut self) {
        if let Err(error) = self.shell.wait_for_boot() {
            self.fail(&error);
        }
        let said = self.run("systemctl is-system-running --wait");
        assert!(matches!(said.text.trim(), "running" | "degraded"), "{}", said.text);
    }

    #[track_caller]
    fn fail(&self, error: &str) -> ! {
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let console = self.console();
        let lines: Vec<&str> = console.lines().collect();
        panic!("{error}\n--- QEMU:\n{log}--- the console:\n{}", lines[lines.len().saturating_sub(60)..].join("\n"));
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// QEMU's: a machine with a disk, perhaps a disc, a network behind which is this machine, and the shell's port.
fn arguments(base: &Base, folder: &Path, disc: Option<&Path>) -> Vec<String> {
    let kernel = format!("root=/dev/vda rw console=ttyS0 panic=-1{}", if disc.is_some() { "" } else { " cloud-init=disabled" });
    let path = |path: &Path| path.display().to_string();
    // With `snapshot` what the machine writes is in a file that nobody sees, and that is there until QEMU ends: across reboots.
    let disk = format!("file={},format=raw,if=virtio,snapshot=on", path(&base.disk));
    let port = format!("socket,id=shell,path={},server=on,wait=off", path(&socket(folder)));
    let mut arguments: Vec<String> = [
        "-accel",
        "tcg,thread=multi",
        "-cpu",
        "max",
        "-smp",
        "2",
        "-m",
        "2048",
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-netdev",
        "user,id=net",
        "-device",
        "virtio-net-pci,netdev=net,romfile=",
        "-device",
        "virtio-rng-pci",
        "-device",
        "virtio-serial-pci",
        "-device",
        "virtserialport,chardev=shell,name=test-shell",
    ]
    .map(str::to_owned)
    .to_vec();
    arguments.extend(["-kernel".into(), path(&base.kernel), "-initrd".into(), path(&base.initrd), "-append".into(), kernel]);
    arguments.extend(["-drive".into(), disk, "-chardev".into(), port]);
    arguments.extend(["-serial".into(), format!("file:{}", path(&folder.join("console")))]);
    arguments.extend(disc.into_iter().flat_map(|disc| ["-drive".into(), format!("file={},format=raw,if=virtio,readonly=on", path(disc))]));
    arguments
}

fn socket(folder: &Path) -> PathBuf {
    folder.join("shell")
}

/// As soon as QEMU listens.
#[expect(clippy::disallowed_methods, reason = "each test has its own thread, and QEMU tells nobody when it listens")]
fn connect(folder: &Path) -> UnixStream {
    let until = Instant::now() + Duration::from_mins(1);
    loop {
        match UnixStream::connect(socket(folder)) {
            Ok(stream) => return stream,
            Err(error) if Instant::now() > until => {
                panic!("QEMU does not start: {error}\n{}", fs::read_to_string(folder.join("log")).unwrap_or_default())
            }
            Err(_) => thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// Where the real machine's loopback addresses are.
pub const HOST: &str = "10.0.2.2";
