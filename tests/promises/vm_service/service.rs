//! The service's container, as far as the customization sees it: `/circleconfig`, `/service/app.jar`, a start script that sources the one and starts the other.
//!
//! It is a root of its own: the machine's, under a layer in memory, so that `/resources` and the rest are where they are in the service and nothing is left behind.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use tests::tools;

/// A folder that the container and the test see under one path; `app.jar` is in it.
pub(super) struct Container {
    folder: TempDir,
}

/// What the service did after a shell sourced the file.
pub(super) struct Run {
    /// Which shell.
    pub(super) shell: &'static str,
    /// What a machine would be born with.
    pub(super) user_data: String,
    /// Java's options and class path, as the service saw them.
    pub(super) options: String,
    /// Its standard error.
    pub(super) said: String,
}

impl Run {
    /// Whether the template was ours.
    pub(super) fn is_ours(&self) -> bool {
        self.user_data.contains("chandler-first-boot")
    }
}

impl Container {
    /// Builds the service, or says what is missing.
    pub(super) fn start() -> Option<Self> {
        if !tools::require_root() {
            return None;
        }
        tools::require_all(["unshare", "javac", "jar", "java", "bash", "busybox"])?;
        let folder = TempDir::with_prefix("chandler-service-").expect("a folder can be made");
        let classes = folder.path().join("classes");
        fs::create_dir_all(classes.join("ec2")).expect("a folder of ours can be made");
        fs::write(classes.join("ec2/linux_cloud_init.yaml"), OWN).expect("a file of ours can be written");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("promises/vm_service/Service.java");
        success(Command::new("javac").arg("-d").arg(&classes).arg(source));
        success(Command::new("jar").arg("--create").arg("--file").arg(folder.path().join("app.jar")).arg("-C").arg(&classes).arg("."));
        Some(Self { folder })
    }

    /// The service with each of the shells, with this file and this environment.
    pub(super) fn run(&self, customizations: &str, environment: &[(&str, &str)]) -> Vec<Run> {
        fs::write(self.folder().join("customizations"), customizations).expect("a file of ours can be written");
        SHELLS.into_iter().map(|shell| self.run_with(shell, environment)).collect()
    }

    fn run_with(&self, shell: &'static str, environment: &[(&str, &str)]) -> Run {
        let mut command = self.inside(START, &[shell]);
        command.envs(environment.iter().copied());
        let output = command.output().expect("unshare starts");
        let text = |bytes| String::from_utf8(bytes).expect("the service says UTF-8");
        let (user_data, said) = (text(output.stdout), text(output.stderr));
        assert!(output.status.success(), "{shell}: {said}");
        let options = said.lines().find_map(|line| line.strip_prefix("options: ")).unwrap_or_default().to_owned();
        Run { shell, user_data, options, said }
    }

    /// A script that runs in the container, with the folder as its first argument.
    pub(super) fn inside(&self, script: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--", "sh", "-euc", ROOT, "sh"]).arg(self.folder()).args(["sh", "-euc", script, "sh"]);
        command.arg(self.folder()).args(arguments).env_remove("JAVA_OPTS").env_remove("CLASSPATH");
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", tools::folder().display()));
        command
    }

    /// Seen by both.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// Runs a command that must succeed; its output.
pub(super) fn success(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?} can't be started: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What lies in `app.jar`.
pub(super) const OWN: &str = "#cloud-config\nhostname: own\n";

/// `sh` is the system's, dash on Debian; the service's own image has another.
pub(super) const SHELLS: [&str; 3] = ["sh", "bash", "busybox sh"];

/// A root with a layer in memory, gone with its last process. The folder is bound before the layer hides what is below it.
const ROOT: &str = r#"
folder=$1
shift
mkdir -p "$folder/layer"
mount -t tmpfs tmpfs "$folder/layer"
cd "$folder/layer"
mkdir upper work root
mount -t overlay overlay -o "lowerdir=/,upperdir=$folder/layer/upper,workdir=$folder/layer/work" root
mkdir -p "root$folder"
mount --bind "$folder" "root$folder"
mount --rbind /proc root/proc
mount --rbind /dev root/dev
exec chroot root "$@"
"#;

/// As the service's image starts it, as strictly as a script can be.
const START: &str = r#"
mkdir -p /circleconfig/vm-service /service /patches
: > /patches/patch.txt
cp "$1/customizations" /circleconfig/vm-service/customizations
cp "$1/app.jar" /service/app.jar
exec $2 -euc '
  . /circleconfig/vm-service/customizations
  exec java ${JAVA_OPTS:--cp /service/app.jar} Service circleci "ssh-rsa KEY"
'
"#;
