//! "What arrives in the VM is what went in", whatever it is made of: percent signs, dollars, quotes, backslashes, lines that look like a here-document's end.

use std::fs;

use cloud_init::vm_service::customizations::install;
use cloud_init::vm_service::{Block, template};
use cloud_init::{CloudConfig, Command, Content, DockerKeys, PlacedFile, first_boot};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use tests::tools;

use super::service::{Container, SHELLS, success};

#[test]
fn whatever_a_machine_is_given_arrives_as_it_is() {
    let Some(container) = Container::start() else { return };
    let packages = tools::cache().join("debian/cloud-init/usr/lib/python3/dist-packages");
    let mut reader = std::process::Command::new("/usr/bin/python3");
    if !reader.args(["-c", "import yaml"]).env("PYTHONPATH", &packages).output().is_ok_and(|output| output.status.success()) {
        tools::skip("PyYAML is not there, tests/setup provides it with cloud-init");
        return;
    }
    let mut runner = TestRunner::default();
    let cases: Vec<(CloudConfig, DockerKeys)> = (0..CASES).map(|_| cases().new_tree(&mut runner).expect("a value").current()).collect();
    for (number, (config, _)) in cases.iter().enumerate() {
        let block = Block::new(template::template(config), &[]).unwrap_or_else(|faults| panic!("{faults:?}: {config:?}"));
        let text = install(None, &block).unwrap_or_else(|refusal| panic!("{refusal}: {config:?}"));
        fs::write(container.folder().join(format!("{number}.customizations")), text).expect("a file of ours can be written");
    }
    for shell in SHELLS {
        success(&mut container.inside(SOURCE_ALL, &[shell]));
        for (number, (config, _)) in cases.iter().enumerate() {
            let written = fs::read_to_string(container.folder().join(format!("{number}.template"))).expect("each has written its template");
            assert_eq!(written, template::template(config), "{shell}");
        }
    }
    success(container.inside(FORMAT_ALL, &[]).env("PYTHONPATH", packages));
    for (number, (config, keys)) in cases.iter().enumerate() {
        let text = fs::read_to_string(container.folder().join(format!("{number}.json"))).expect("each was read");
        let read: Value = serde_json::from_str(&text).expect("it is JSON");
        assert_eq!(read["config"], expected(config));
        assert_eq!(read["keys"], json!({ "MIRRORS": keys.mirrors, "INSECURE": keys.insecure }));
    }
}

/// As cloud-init reads it.
fn expected(config: &CloudConfig) -> Value {
    let command = |command: &Command| match command {
        Command::Args(words) => json!(words),
        Command::Shell(line) => json!(line),
    };
    let file = |file: &PlacedFile| json!({ "path": file.path, "owner": "root:root", "permissions": format!("{:04o}", file.mode), "content": file.content.text });
    json!({
        "system_info": { "default_user": { "name": "circleci" } },
        "ssh_authorized_keys": ["ssh-rsa 100% $K"],
        "bootcmd": config.bootcmd.iter().map(command).collect::<Vec<_>>(),
        "write_files": config.write_files.iter().map(file).collect::<Vec<_>>(),
        "ca_certs": { "trusted": config.ca_certs },
        "runcmd": config.runcmd.iter().map(command).collect::<Vec<_>>(),
    })
}

/// The last boot command is the program that merges the keys.
fn cases() -> impl Strategy<Value = (CloudConfig, DockerKeys)> {
    let lists = (prop::collection::vec(texts(), 0..3), prop::collection::vec(texts(), 0..3));
    (configs(), lists).prop_map(|(mut config, (mirrors, insecure))| {
        let keys = DockerKeys { mirrors, insecure };
        config.bootcmd.push(first_boot::at_boot(&keys));
        (config, keys)
    })
}

fn configs() -> impl Strategy<Value = CloudConfig> {
    let commands = || {
        let one = prop_oneof![texts().prop_map(Command::Shell), prop::collection::vec(texts(), 1..4).prop_map(Command::Args)];
        prop::collection::vec(one, 1..3)
    };
    let file = (texts(), texts()).prop_map(|(path, text)| PlacedFile {
        path: format!("/{path}"),
        mode: 0o640,
        content: Content { text, secret: false },
    });
    let parts = (prop::collection::vec(file, 1..3), prop::collection::vec(texts(), 1..3), commands(), commands());
    parts.prop_map(|(write_files, ca_certs, bootcmd, runcmd)| CloudConfig {
        write_files,
        ca_certs,
        bootcmd,
        runcmd,
        ..CloudConfig::default()
    })
}

/// Anything but NUL, which neither a file's name nor a shell can have.
fn texts() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[a-z0-9/:. -]{1,8}",
        4 => prop::sample::select(&PIECES[..]).prop_map(str::to_owned),
        1 => any::<char>().prop_filter("no NUL", |c| *c != '\0').prop_map(String::from),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

const PIECES: [&str; 32] = [
    "%",
    "%s",
    "%%",
    "%1$s",
    "%2$s",
    "%Y",
    "%n",
    "$",
    "$HOME",
    "${X:-y}",
    "$(id)",
    "`id`",
    "'",
    "\"",
    "\\",
    "\\n",
    "\n",
    "\n\n",
    "\nEOD\n",
    "\nEOD_2\n",
    "EOD",
    "'EOD'",
    "\t",
    "\r\n",
    " \n",
    "# ",
    ": ",
    "- ",
    "# END chandler\n",
    "---\n",
    "\u{85}",
    "é🚢",
];

const CASES: usize = 96;

/// One shell for all.
const SOURCE_ALL: &str = r#"
cd "$1"
exec $2 -euc '
  for file in *.customizations; do
    . "./$file"
    mv /resources/ec2/linux_cloud_init.yaml "${file%.customizations}.template"
  done
'
"#;

/// One JVM, and one reader of YAML 1.1, for all.
const FORMAT_ALL: &str = r#"
java -cp "$1/app.jar" Service circleci 'ssh-rsa 100% $K' "$1"
cd "$1"
exec /usr/bin/python3 -c '
import ast, glob, json, yaml
for name in glob.glob("*.user-data"):
    with open(name, "rb") as file:
        config = yaml.safe_load(file)
    program = ast.parse(config["bootcmd"][-1][-1])
    lines = [line for line in program.body if isinstance(line, ast.Assign) and line.targets[0].id in ("MIRRORS", "INSECURE")]
    keys = {line.targets[0].id: ast.literal_eval(line.value) for line in lines}
    with open(name.replace(".user-data", ".json"), "w") as out:
        json.dump({"config": config, "keys": keys}, out)
'
"#;
