//! `chandler install` and `uninstall`, by the real program, in trees that no machine runs on.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// A tree with what a system has before anything of ours.
struct Tree(TempDir);

impl Tree {
    fn new() -> Self {
        let tree = Self(TempDir::with_prefix("chandler-tree-").expect("a folder"));
        fs::set_permissions(tree.0.path(), fs::Permissions::from_mode(0o755)).expect("ours");
        for folder in [
            "etc/systemd/system/multi-user.target.wants",
            "etc/systemd/system/sockets.target.wants",
            "etc/sysusers.d",
            "usr/local/bin",
            "var/lib",
        ] {
            fs::create_dir_all(tree.at(folder)).expect("made");
        }
        tree.write("etc/passwd", "root:x:0:0::/root:/bin/sh\nchandler:x:998:998::/var/lib/chandler:/usr/sbin/nologin\n");
        tree.write("etc/group", "root:x:0:\nchandler:x:998:\n");
        tree
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, text).expect("written");
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.at(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn run(&self, arguments: &str) -> Said {
        let output = Command::new(env!("CARGO_BIN_EXE_chandler"))
            .args(arguments.split_whitespace())
            .arg("--root")
            .arg(self.0.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("CHANDLER_LISTENERS", "127.0.0.1:443") // Of this shell, which is not the service's.
            .output()
            .expect("the program starts");
        Said::of(output)
    }

    /// All that is in it: permissions and, of a file or link, what is in it.
    fn content(&self) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
        let mut found = BTreeMap::new();
        let mut left = vec![self.0.path().to_owned()];
        while let Some(folder) = left.pop() {
            for entry in fs::read_dir(folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                let meta = path.symlink_metadata().expect("there");
                let bytes = if meta.is_symlink() {
                    fs::read_link(&path).expect("a link").into_os_string().into_encoded_bytes()
                } else if meta.is_dir() {
                    left.push(path.clone());
                    Vec::new()
                } else {
                    fs::read(&path).expect("a file")
                };
                found.insert(path, (meta.permissions().mode(), bytes));
            }
        }
        found
    }
}

fn owner(tree: &Tree) -> u32 {
    std::os::unix::fs::MetadataExt::uid(&fs::metadata(tree.0.path()).expect("there"))
}

/// What the program did.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Said {
    fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    fn done(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }

    /// Of what is told to programs.
    fn lines(&self, key: &str) -> Vec<String> {
        let told = json(&self.out);
        told[key].as_array().expect("a list").iter().map(|line| line.as_str().expect("text").to_owned()).collect()
    }
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn what_install_put_into_a_tree_uninstall_takes_out_and_a_second_install_changes_nothing() {
    for what in ["mirror", "mirror --socket", "agent"] {
        let tree = Tree::new();
        let before = tree.content();
        let first = tree.run(&format!("install {what}")).done();
        let between = tree.content();
        assert!(first.out.contains("added /usr/local/bin/chandler\n") && between.len() > before.len(), "{first:?}");
        let second = tree.run(&format!("install {what}")).done();
        assert!(second.out.starts_with("nothing to do\n"), "{second:?}");
        assert!(tree.content() == between, "{what}: a second run changed something");
        let noun = what.split(' ').next().expect("a word");
        tree.run(&format!("uninstall {noun}")).done();
        let paths = |content: &BTreeMap<PathBuf, (u32, Vec<u8>)>| content.keys().cloned().collect::<Vec<_>>();
        assert_eq!(paths(&tree.content()), paths(&before), "{what}");
        assert!(tree.content() == before, "{what}: something else than before is there");
    }
}

#[test]
fn each_line_says_what_was_done() {
    let tree = Tree::new();
    tree.write("etc/chandler/mirror.yaml", "listeners: ':443'\nstore: {path: /srv/images}\naccess: open\n");
    let said = tree.run("install mirror").done();
    insta::assert_snapshot!(format!("{}{}", said.out, said.err), @r#"
    added /usr/local/bin/chandler
    added /etc/sysusers.d/chandler.conf
    made /srv/images for it
    added /etc/systemd/system/chandler-mirror.service
    added /etc/systemd/system/multi-user.target.wants/chandler-mirror.service
    the mirror is installed: [::]:443
    note: the mirror starts when this tree is booted
    "#);
    let service = tree.read("etc/systemd/system/chandler-mirror.service");
    assert!(
        service.contains("\nReadWritePaths=/srv/images\n") && service.contains("\nAmbientCapabilities=CAP_NET_BIND_SERVICE\n"),
        "{service}"
    );
    assert!(tree.at("srv/images").is_dir());
    let said = tree.run("uninstall mirror").done();
    insta::assert_snapshot!(format!("{}{}", said.out, said.err), @r#"
    removed /etc/systemd/system/multi-user.target.wants/chandler-mirror.service
    removed /etc/systemd/system/chandler-mirror.service
    removed /etc/sysusers.d/chandler.conf
    removed /usr/local/bin/chandler
    the mirror is not installed
    note: what was kept stays, and goes with --purge: /etc/chandler/mirror.yaml
    "#);
    let said = tree.run("install agent").done();
    insta::assert_snapshot!(format!("{}{}", said.out, said.err), @r#"
    added /usr/local/bin/chandler
    added /etc/chandler/agent.yaml, with comments alone
    added /etc/systemd/system/chandler-agent.service
    added /etc/systemd/system/multi-user.target.wants/chandler-agent.service
    added /etc/systemd/system/docker.service.d/10-chandler.conf
    the agent is installed: before each start of Docker, and at each boot, the engines are put behind the mirror
    note: name the mirror in /etc/chandler/agent.yaml (`mirrors`), or nothing is put behind it
    "#);
}

#[test]
fn a_program_that_both_run_stays_for_the_other_one() {
    let tree = Tree::new();
    tree.run("install mirror").done();
    tree.run("install agent").done();
    let said = tree.run("uninstall mirror").done();
    assert!(said.err.contains("/usr/local/bin/chandler stays: chandler-agent.service runs it"), "{said:?}");
    assert!(tree.at("usr/local/bin/chandler").exists());
    let said = tree.run("uninstall agent").done();
    assert!(said.out.contains("removed /usr/local/bin/chandler\n"), "{said:?}");
}

#[test]
fn a_unit_that_somebody_edited_stays_and_is_named() {
    let tree = Tree::new();
    tree.run("install mirror").done();
    let unit = "etc/systemd/system/chandler-mirror.service";
    let edited = tree.read(unit) + "Nice=5\n";
    tree.write(unit, &edited);
    for command in ["install mirror", "uninstall mirror"] {
        let said = tree.run(command).done();
        assert!(said.err.contains("/etc/systemd/system/chandler-mirror.service is not as chandler wrote it, and stays"), "{said:?}");
        assert_eq!(tree.read(unit), edited);
    }
}

#[test]
fn a_configuration_that_is_wrong_or_whose_files_the_user_cannot_read_changes_nothing() {
    let tree = Tree::new();
    tree.write("etc/chandler/mirror.yaml", "listenrs: ':443'\n");
    let before = tree.content();
    let said = tree.run("install mirror");
    assert!(said.code == Some(2) && said.err.contains("/etc/chandler/mirror.yaml:1:1: unknown key `listenrs`"), "{said:?}");
    assert!(tree.content() == before);

    tree.write("etc/letsencrypt/live/m/fullchain.pem", "chain");
    tree.write("etc/letsencrypt/live/m/privkey.pem", "key");
    fs::set_permissions(tree.at("etc/letsencrypt/live"), fs::Permissions::from_mode(0o700)).expect("ours");
    let tls = "{certificate: /etc/letsencrypt/live/m/fullchain.pem, key: /etc/letsencrypt/live/m/privkey.pem}";
    tree.write("etc/chandler/mirror.yaml", &format!("listeners: [{{address: ':443', tls: {tls}}}]\nupstreams: [{{account: {{user: ci, password_file: /root/password}}}}]\naccess: open\n"));
    let before = tree.content();
    let said = tree.run("install mirror");
    assert_eq!(said.code, Some(1), "{said:?}");
    insta::assert_snapshot!(said.err.replace(&format!("user {}'s", owner(&tree)), "user OWNER's"), @r#"
    error: the user chandler, as whom the mirror is to run, cannot read what its configuration names:
      /etc/letsencrypt/live/m/fullchain.pem: /etc/letsencrypt/live is user OWNER's, with mode 0700
      /etc/letsencrypt/live/m/privkey.pem: /etc/letsencrypt/live is user OWNER's, with mode 0700
      /root/password: the service sees nothing of /root
    hint: certbot's keys are root's: let tls.certificate and tls.key name files in a folder of chandler's own, and give certbot `chandler cert import` as its deploy hook, which copies each new pair there; or let the mirror get its certificates itself (tls.acme)
    "#);
    assert!(tree.content() == before);
}

#[test]
fn what_the_mirror_kept_goes_only_when_somebody_says_so() {
    let tree = Tree::new();
    tree.write("etc/chandler/mirror.yaml", "tag_window: 5s\n");
    tree.write("var/lib/chandler/cache/blobs/x", "content");
    tree.write("var/lib/chandler/certs/ca/key.pem", "key");
    tree.run("install mirror").done();
    let said = tree.run("uninstall mirror --purge");
    assert!(said.code == Some(2) && tree.at("etc/systemd/system/chandler-mirror.service").exists(), "{said:?}");
    let said = tree.run("uninstall mirror").done();
    assert!(
        said.err.contains("goes with --purge: /etc/chandler/mirror.yaml, /var/lib/chandler/cache, /var/lib/chandler/certs"),
        "{said:?}"
    );
    assert!(tree.at("var/lib/chandler/certs/ca/key.pem").exists());
    tree.run("uninstall mirror --purge --yes").done();
    assert!(!tree.at("var/lib/chandler").exists() && !tree.at("etc/chandler").exists());
}

#[test]
fn a_check_changes_nothing_and_says_what_would_be_done_also_to_programs() {
    for what in ["mirror", "mirror --socket", "agent"] {
        let tree = Tree::new();
        let before = tree.content();
        let said = tree.run(&format!("install {what} --check"));
        assert!(said.code == Some(3) && said.out.contains("would have added /usr/local/bin/chandler\n"), "{said:?}");
        let said = tree.run(&format!("install {what} --check --json"));
        let told = json(&said.out);
        assert_eq!((said.code, &told["would_change"], &told["changed"]), (Some(3), &true.into(), &false.into()), "{told}");
        assert!(tree.content() == before, "{what}: a check changed something");

        let would: Vec<String> = said.lines("lines").iter().map(|line| line.replace("would have ", "")).collect();
        let done = tree.run(&format!("install {what} --json")).done();
        assert_eq!(would, done.lines("lines"), "what was said before is what is done");
        assert_eq!(json(&done.out)["changed"], true);
        let after = tree.content();
        let said = tree.run(&format!("install {what} --check")).done();
        assert!(said.out.starts_with("nothing to do\n"), "{said:?}");
        assert!(tree.content() == after, "{what}: a check changed something");
        let noun = what.split(' ').next().expect("a word");
        assert_eq!(json(&tree.run(&format!("uninstall {noun} --json")).done().out)["changed"], true);
    }
}

#[test]
fn engines_that_are_behind_the_mirror_are_not_left_there_by_an_agent_that_goes() {
    let tree = Tree::new();
    tree.run("install agent").done();
    tree.write("var/lib/chandler/agent/record.json", "{}");
    let before = tree.content();
    let said = tree.run("uninstall agent --purge --yes");
    assert!(said.code == Some(1) && tree.content() == before, "{said:?}");
}

#[test]
fn a_link_that_leads_out_of_the_tree_is_followed_within_it() {
    let tree = Tree::new();
    fs::create_dir_all(tree.at("opt/system")).expect("made");
    fs::remove_dir_all(tree.at("etc/systemd/system")).expect("ours");
    std::os::unix::fs::symlink("/opt/system", tree.at("etc/systemd/system")).expect("linked");
    tree.run("install mirror").done();
    assert!(tree.at("opt/system/chandler-mirror.service").exists());
    assert!(tree.at("opt/system/multi-user.target.wants/chandler-mirror.service").symlink_metadata().is_ok());
}

#[test]
fn systemd_takes_the_units() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        return; // Not every machine has it.
    }
    let tree = Tree::new();
    tree.write(
        "etc/chandler/mirror.yaml",
        "listeners: [':443', '10.0.0.7:5000']\nstore: {path: '/srv/image cache/100%'}\naccess: open\nadmin: off\n",
    );
    tree.run("install mirror --socket").done();
    tree.run("install agent").done();
    for unit in ["chandler-mirror.service", "chandler-mirror.socket", "chandler-agent.service"] {
        // In the machine's own tree, where the targets are; the program is taken from there as well.
        let text = tree.read(&format!("etc/systemd/system/{unit}")).replace("/usr/local/bin/chandler", env!("CARGO_BIN_EXE_chandler"));
        let folder = tree.at("verify");
        fs::create_dir_all(&folder).expect("made");
        fs::write(folder.join(unit), text).expect("written");
    }
    for unit in ["chandler-mirror.service", "chandler-mirror.socket", "chandler-agent.service"] {
        let verified = verify(&tree.at("verify").join(unit));
        assert!(verified.code == Some(0) && !verified.err.contains("chandler"), "{unit}: {verified:?}");
    }
}

fn verify(unit: &Path) -> Said {
    let mut command = Command::new("systemd-analyze");
    Said::of(command.args(["verify", "--man=no", "--recursive-errors=no"]).arg(unit).output().expect("it was started before"))
}

#[test]
fn the_ca_that_is_named_goes_into_the_tree_and_out_of_it_again() {
    let tree = Tree::new();
    let folder = TempDir::new().expect("a folder");
    let ca = folder.path().join("ca.pem");
    let named = format!("install agent --mirror https://mirror.example --ca {}", ca.display());
    fs::write(&ca, "no certificate\n").expect("written");
    let before = tree.content();
    assert_eq!(tree.run(&named).code, Some(2), "what is no CA is none");
    assert!(tree.content() == before, "something was changed");

    let pem = certificate();
    fs::write(&ca, &pem).expect("written");
    let said = tree.run(&named);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(tree.read("etc/chandler/mirror-ca.pem").contains(pem.trim()));
    assert!(tree.read("etc/chandler/agent.yaml").contains("ca: \"/etc/chandler/mirror-ca.pem\""));
    assert_eq!(tree.run("uninstall agent").code, Some(0));
    assert!(!tree.at("etc/chandler").exists(), "{:?}", tree.content().keys().collect::<Vec<_>>());
}

#[test]
fn a_mirror_is_not_put_behind_itself() {
    let tree = Tree::new();
    let before = tree.content();
    for itself in ["http://127.0.0.1:5000", "http://localhost:5000"] {
        let said = tree.run(&format!("install mirror --local --mirror {itself}"));
        assert!(said.code == Some(2) && said.err.contains(itself), "{said:?}");
    }
    assert!(tree.content() == before, "something was changed");
}

/// Of a CA that is made for it.
fn certificate() -> String {
    let folder = TempDir::new().expect("a folder");
    let out = folder.path().join("out");
    for arguments in [&["init", "--permit", "mirror.example"][..], &["export", "mirror.example:443", "--out", out.to_str().expect("plain")]]
    {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chandler"));
        let output = command.args(["ca", "--state"]).arg(folder.path()).args(arguments).output().expect("it starts");
        assert!(output.status.success(), "{output:?}");
    }
    fs::read_to_string(out.join("ca.pem")).expect("its root")
}
