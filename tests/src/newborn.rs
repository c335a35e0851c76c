//! A machine's first boot, as far as cloud-init goes: its four stages, run for real on a private [`Machine`] with a seed of its own.
//!
//! `/usr` and `/var/log` are overlaid too, so that nothing of it stays on the real machine, and `systemctl` is a program that does nothing. Only the modules that user data of ours uses are on.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::engine::{Answer, Machine, MachineConfig};
use crate::promised::within;
use crate::tools;

/// A machine that can be born.
#[derive(Debug)]
pub struct Newborn {
    machine: Machine,
    program: PathBuf,
}

/// How a boot went.
#[derive(Debug)]
pub struct Boot {
    /// What `result.json` says went wrong.
    pub errors: Vec<String>,
    /// cloud-init's log, which says of every warning that it is one.
    pub log: String,
    /// What the stages, and the programs that they ran, wrote.
    pub output: String,
}

impl Newborn {
    /// Or `None` after saying what is missing.
    pub async fn conceive(config: &MachineConfig) -> Option<Self> {
        let machine = Machine::start(config).await?;
        Self::on(machine).await
    }

    /// On a machine that has been furnished.
    pub async fn on(machine: Machine) -> Option<Self> {
        let [program, _] = tools::require_all(["cloud-init", "cloud-init-per"])?;
        let mut overlay = machine.command(Path::new("sh"));
        overlay.args(["-euc", OVERLAY, "sh"]).arg(machine.folder().join("etc"));
        Answer::of(&mut overlay).await.expect_success();
        machine.write("/etc/cloud/cloud.cfg", SETTINGS);
        machine.write("/usr/local/bin/systemctl", "#!/bin/sh\n");
        Some(Self { machine, program })
    }

    /// The first boot with this user data. Its stages end by themselves, within the time that a boot may take.
    pub async fn boot(&self, user_data: &[u8]) -> Boot {
        self.machine.write(&format!("{SEED}/user-data"), user_data);
        self.machine.write(&format!("{SEED}/meta-data"), "instance-id: i-newborn\n");
        self.boot_again().await
    }

    /// A later boot of the same machine.
    pub async fn boot_again(&self) -> Boot {
        let stages = async {
            let mut said = String::new();
            for stage in [&["init", "--local"][..], &["init"], &["modules", "--mode=config"], &["modules", "--mode=final"]] {
                let answer = self.cloud_init(stage).await;
                said.extend([answer.stdout, answer.stderr]);
            }
            said
        };
        let output = within(LONGEST_BOOT, "cloud-init's stages", stages).await;
        let result = self.read("/run/cloud-init/result.json");
        let result: Value = serde_json::from_str(&result).unwrap_or_else(|error| panic!("{error}: {result}\n{output}"));
        let errors = result["v1"]["errors"].as_array().cloned().unwrap_or_default();
        let errors = errors.iter().map(ToString::to_string).collect();
        let mut again = self.machine.command(Path::new("sh"));
        Answer::of(again.args(["-c", "rm -rf /run/cloud-init"])).await.expect_success();
        Boot { errors, log: self.read("/var/log/cloud-init.log"), output }
    }

    /// `cloud-init ARGUMENTS`, with a host's name of its own.
    pub async fn cloud_init(&self, arguments: &[&str]) -> Answer {
        let mut command = self.machine.command(Path::new("unshare"));
        Answer::of(command.args(["--uts", "--"]).arg(&self.program).args(arguments)).await
    }

    /// What `cloud-init schema` says of a cloud-config.
    pub async fn schema(&self, text: &str) -> Answer {
        self.machine.write("/run/candidate.yaml", text);
        self.cloud_init(&["schema", "--config-file", "/run/candidate.yaml"]).await
    }

    /// A file of the machine.
    #[track_caller]
    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.machine.inside(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Whether a file is there.
    pub fn has(&self, path: &str) -> bool {
        self.machine.inside(path).exists()
    }

    /// A file's mode, its owner being root.
    #[track_caller]
    pub fn mode(&self, path: &str) -> u32 {
        let status = fs::metadata(self.machine.inside(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert_eq!((status.uid(), status.gid()), (0, 0), "{path}");
        status.mode() & 0o7777
    }

    /// The machine, on which an engine can be started now.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// The same, for good.
    pub fn into_machine(self) -> Machine {
        self.machine
    }
}

impl Boot {
    /// Nothing went wrong, and cloud-init warned of nothing.
    #[track_caller]
    pub fn assert_clean(&self) {
        assert!(self.errors.is_empty(), "{:#?}\n{}", self.errors, self.output);
        let warnings: Vec<&str> = self.log.lines().filter(|line| line.contains("[WARNING]") || line.contains("[ERROR]")).collect();
        assert!(warnings.is_empty(), "{warnings:#?}\n{}", self.output);
    }
}

const SEED: &str = "/var/lib/cloud/seed/nocloud";

const OVERLAY: &str = r#"
for folder in usr var/log; do
  mkdir -p "$1/over/$folder" "$1/work/$folder"
  mount -t overlay overlay -o "lowerdir=/$folder,upperdir=$1/over/$folder,workdir=$1/work/$folder" "/$folder"
done
rm -rf /var/lib/cloud /etc/cloud /var/log/cloud-init.log
"#;

const SETTINGS: &str = "\
datasource_list: [NoCloud, None]
network: {config: disabled}
disable_root: false
system_info: {distro: debian, paths: {cloud_dir: /var/lib/cloud}}
cloud_init_modules: [bootcmd, write-files, ca-certs]
cloud_config_modules: [runcmd]
cloud_final_modules: [write-files-deferred, scripts-per-boot, scripts-user]
";

/// cloud-init itself is Python that starts four times, beside all other tests.
const LONGEST_BOOT: Duration = Duration::from_mins(2);
