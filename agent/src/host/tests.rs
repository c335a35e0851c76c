use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{IFlags, XattrFlags};

use super::*;

struct Tree {
    _folder: tempfile::TempDir,
    root: Root,
}

impl Tree {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let root = Root::below(folder.path()).expect("it is there");
        fs::create_dir_all(root.on_disk(Path::new("/etc/docker"))).expect("made");
        Self { _folder: folder, root }
    }

    fn disk(&self, path: &str) -> PathBuf {
        self.root.on_disk(Path::new(path))
    }

    fn file(&self, path: &str, text: &str) {
        fs::write(self.disk(path), text).expect("written");
    }

    fn link(&self, path: &str, target: &str) {
        symlink(target, self.disk(path)).expect("linked");
    }

    fn text(&self, path: &str) -> Option<String> {
        let found = self.root.read(Path::new(path)).expect("read")?;
        Some(String::from_utf8(found.bytes).expect("text"))
    }

    fn real(&self, path: &str) -> String {
        self.root.resolve(Path::new(path)).expect("resolved").real.display().to_string()
    }

    fn put(&self, path: &str, before: Option<&str>, after: &str) -> Result<(), HostError> {
        self.put_with(path, before, after, 0o644)
    }

    fn put_with(&self, path: &str, before: Option<&str>, after: &str, mode: u32) -> Result<(), HostError> {
        let place = self.root.resolve(Path::new(path))?;
        self.root.put(&place, &Put { before: before.map(str::as_bytes), after: after.as_bytes(), nature: None, mode })
    }

    fn names(&self, path: &str) -> Vec<String> {
        let names = self.root.list(Path::new(path)).expect("listed").expect("it is there");
        names.into_iter().map(|name| name.into_string().expect("text")).collect()
    }
}

#[test]
fn links_lead_within_the_tree_and_never_out_of_it() {
    let tree = Tree::new();
    fs::create_dir_all(tree.disk("/srv/conf")).expect("made");
    tree.file("/srv/conf/real.json", "{}");
    tree.link("/etc/docker/daemon.json", "/srv/conf/near.json"); // Counts from the tree's root.
    tree.link("/srv/conf/near.json", "../conf/real.json");
    tree.link("/out", "/../../../../srv");
    for (path, real, linked) in [
        ("/etc/docker/daemon.json", "/srv/conf/real.json", true),
        ("/out/conf/real.json", "/srv/conf/real.json", false),
        ("/out", "/srv", true),
        ("/etc/../../srv/conf/real.json", "/srv/conf/real.json", false),
        ("/etc/docker/none/x", "/etc/docker/none/x", false),
    ] {
        let place = tree.root.resolve(Path::new(path)).expect("resolved");
        assert_eq!((place.real.to_str().expect("text"), place.linked), (real, linked), "{path}");
    }
    assert_eq!(tree.text("/etc/docker/daemon.json").as_deref(), Some("{}"));
    assert_eq!(tree.root.list(Path::new("/none")).expect("listed"), None);
    assert!(tree.root.is_folder(Path::new("/out/conf")).expect("seen") && !tree.root.is_folder(Path::new("/none")).expect("seen"));
}

#[test]
fn links_in_a_circle_are_an_error_that_names_the_path() {
    let tree = Tree::new();
    tree.link("/etc/a", "b");
    tree.link("/etc/b", "/etc/a");
    let error = tree.root.read(Path::new("/etc/a")).expect_err("a circle");
    assert!(matches!(&error, HostError::Loop(path) if path == Path::new("/etc/a")), "{error}");
    assert_eq!(error.to_string(), "/etc/a leads through more than 40 symbolic links, or in a circle");
}

#[test]
fn what_is_no_file_is_named_and_never_waited_for() {
    let tree = Tree::new();
    tree.file("/etc/file", "x");
    let error = tree.root.read(Path::new("/etc/file/daemon.json")).expect_err("a file in the way");
    assert_eq!(error.to_string(), "/etc/file/daemon.json cannot be: /etc/file is not a folder");
    let error = tree.root.read(Path::new("/etc/docker")).expect_err("a folder");
    assert_eq!(error.to_string(), "/etc/docker is a folder, where a file was expected");
    let made = Command::new("mkfifo").arg(tree.disk("/etc/pipe")).status().expect("mkfifo runs");
    assert!(made.success());
    let error = tree.root.read(Path::new("/etc/pipe")).expect_err("a pipe");
    assert_eq!(error.to_string(), "/etc/pipe is a pipe, where a file was expected");
}

#[test]
fn a_replaced_file_keeps_its_mode_owner_attributes_and_links() {
    let tree = Tree::new();
    fs::create_dir_all(tree.disk("/srv")).expect("made");
    tree.file("/srv/daemon.json", "old");
    tree.link("/etc/docker/daemon.json", "/srv/daemon.json");
    let file = tree.disk("/srv/daemon.json");
    fs::set_permissions(&file, Permissions::from_mode(0o4640)).expect("set");
    let root = fs::metadata(&file).expect("there").uid() == 0;
    if root {
        chown(&file, Some(4711), Some(4712)).expect("given");
        fs::set_permissions(&file, Permissions::from_mode(0o4640)).expect("set again: giving it away clears the bit");
    }
    rustix::fs::setxattr(&file, "user.note", b"by hand\0\xff", XattrFlags::empty()).expect("set");
    let before = tree.root.read(Path::new("/etc/docker/daemon.json")).expect("read").expect("there");
    assert!(before.place.linked && before.nature.attributes.contains_key("user.note"));
    assert_eq!((before.nature.mode, before.nature.owner), (0o4640, if root { 4711 } else { before.nature.owner }));
    tree.put("/etc/docker/daemon.json", Some("old"), "new").expect("put");
    let after = tree.root.read(Path::new("/etc/docker/daemon.json")).expect("read").expect("there");
    assert_eq!((after.bytes.as_slice(), &after.nature, &after.place), (b"new".as_slice(), &before.nature, &before.place));
    assert_eq!(tree.names("/srv"), ["daemon.json"]);
}

#[test]
fn what_a_folder_hands_down_is_not_given_to_a_file_that_lacked_it() {
    let tree = Tree::new();
    tree.file("/etc/docker/daemon.json", "old");
    let set = Command::new("setfacl").args(["-d", "-m", "u:4711:rw"]).arg(tree.disk("/etc/docker")).status();
    if !set.is_ok_and(|status| status.success()) {
        return; // No such program, or no access lists on this file system.
    }
    let before = tree.root.read(Path::new("/etc/docker/daemon.json")).expect("read").expect("there").nature;
    tree.put("/etc/docker/daemon.json", Some("old"), "new").expect("put");
    assert_eq!(tree.root.read(Path::new("/etc/docker/daemon.json")).expect("read").expect("there").nature, before);
}

#[test]
fn a_dangling_links_target_is_made_and_the_link_stays() {
    let tree = Tree::new();
    tree.link("/etc/docker/daemon.json", "/srv/a/b/daemon.json");
    assert_eq!(tree.text("/etc/docker/daemon.json"), None);
    let real = PathBuf::from(tree.real("/etc/docker/daemon.json"));
    assert_eq!(tree.root.missing_folders(&real), ["/srv", "/srv/a", "/srv/a/b"].map(PathBuf::from));
    tree.put("/etc/docker/daemon.json", None, "new").expect("put");
    assert_eq!(tree.text("/srv/a/b/daemon.json").as_deref(), Some("new"));
    assert!(fs::symlink_metadata(tree.disk("/etc/docker/daemon.json")).expect("there").is_symlink());
    assert_eq!(fs::metadata(tree.disk("/srv/a")).expect("made").mode() & 0o777, 0o755, "whatever the umask is");
}

#[test]
fn a_file_that_is_not_what_was_planned_for_is_left_alone() {
    let tree = Tree::new();
    tree.file("/etc/docker/daemon.json", "theirs");
    for before in [None, Some("old")] {
        let error = tree.put("/etc/docker/daemon.json", before, "new").expect_err("changed");
        assert!(matches!(&error, HostError::Changed(path) if path == Path::new("/etc/docker/daemon.json")), "{error}");
    }
    assert!(matches!(tree.put("/etc/docker/none", Some("old"), "new"), Err(HostError::Changed(_))));
    let place = tree.root.resolve(Path::new("/etc/docker/daemon.json")).expect("resolved");
    assert!(matches!(tree.root.take_away(&place, Some(b"old")), Err(HostError::Changed(_))));
    assert_eq!((tree.text("/etc/docker/daemon.json").as_deref(), tree.names("/etc/docker").len()), (Some("theirs"), 1));
    tree.root.take_away(&place, Some(b"theirs")).expect("removed");
    assert_eq!(tree.names("/etc/docker"), Vec::<String>::new());
}

#[test]
fn a_key_is_for_its_owners_eyes_from_the_first_byte_on() {
    for at in 0.. {
        let tree = Tree::new();
        let done = steps::crash_at(at, || {}, || tree.put_with("/etc/docker/certs.d/m/client.key", None, "a key", 0o600));
        let folder = tree.root.list(Path::new("/etc/docker/certs.d/m")).expect("listed").unwrap_or_default();
        for name in &folder {
            let file = fs::metadata(tree.disk("/etc/docker/certs.d/m").join(name)).expect("there");
            assert_eq!(file.mode() & 0o777, 0o600, "{at}");
        }
        let Some(done) = done else { continue };
        done.expect("put");
        assert_eq!((folder.len(), at > 4), (1, true));
        return;
    }
}

#[test]
fn what_a_killed_process_left_is_in_nobodys_way_and_can_be_swept() {
    let tree = Tree::new();
    tree.file("/etc/docker/daemon.json", "old");
    tree.file("/etc/docker/.daemon.json.chandler-new", "half a f");
    tree.put("/etc/docker/daemon.json", Some("old"), "new").expect("put");
    assert_eq!(tree.names("/etc/docker"), ["daemon.json"]);
    tree.file("/etc/docker/.daemon.json.chandler-new", "half a f");
    tree.root.sweep(Path::new("/etc/docker/daemon.json")).expect("swept");
    assert_eq!(tree.names("/etc/docker"), ["daemon.json"]);
}

#[test]
fn folders_are_removed_only_while_they_are_empty() {
    let tree = Tree::new();
    tree.put("/a/b/c/file", None, "x").expect("put");
    let made = ["/a", "/a/b", "/a/b/c"].map(PathBuf::from);
    assert_eq!(tree.root.remove_folders(&made).expect("seen"), made, "the file is in them");
    fs::remove_file(tree.disk("/a/b/c/file")).expect("removed");
    tree.file("/a/theirs", "x");
    assert_eq!(tree.root.remove_folders(&made).expect("seen"), [PathBuf::from("/a")]);
    assert_eq!(tree.names("/a"), ["theirs"]);
}

#[test]
fn what_chattr_holds_is_named() {
    let tree = Tree::new();
    tree.file("/etc/docker/daemon.json", "old");
    for held in ["/etc/docker/daemon.json", "/etc/docker"] {
        let file = fs::File::open(tree.disk(held)).expect("open");
        let Ok(flags) = rustix::fs::ioctl_getflags(&file) else { return };
        if rustix::fs::ioctl_setflags(&file, flags | IFlags::IMMUTABLE).is_err() {
            return; // Not root, or a file system without it.
        }
        let error = tree.put("/etc/docker/daemon.json", Some("old"), "new").expect_err("held");
        rustix::fs::ioctl_setflags(&file, flags).expect("as it was");
        assert!(matches!(&error, HostError::Immutable(path) if path == Path::new(held)), "{error}");
    }
    assert_eq!((tree.text("/etc/docker/daemon.json").as_deref(), tree.names("/etc/docker").len()), (Some("old"), 1));
}

/// In a mount namespace of its own, where that is allowed.
#[test]
fn a_file_that_is_a_mount_and_a_read_only_file_system_are_named() {
    const NAME: &str = "host::tests::a_file_that_is_a_mount_and_a_read_only_file_system_are_named";
    if let Some(folder) = std::env::var_os("CHANDLER_TEST_MOUNTS") {
        let root = Root::below(Path::new(&folder)).expect("there");
        let put = |path: &str| {
            let place = root.resolve(Path::new(path)).expect("resolved");
            root.put(&place, &Put { before: Some(b"old"), after: b"new", nature: None, mode: 0o644 }).expect_err("refused")
        };
        let error = put("/mounted");
        assert!(matches!(&error, HostError::Mounted(path) if path == Path::new("/mounted")), "{error:?}");
        let error = put("/ro/file");
        assert!(matches!(&error, HostError::ReadOnly(path) if path == Path::new("/ro/file")), "{error:?}");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("ro")).expect("made");
    for name in ["mounted", "source", "ro/file"] {
        fs::write(folder.path().join(name), "old").expect("written");
    }
    let script = "cd \"$CHANDLER_TEST_MOUNTS\" && mount --bind source mounted && mount --bind ro ro && mount -o remount,bind,ro ro || exit 77\n\
                  exec \"$0\" --exact \"$1\"";
    let myself = std::env::current_exe().expect("a path");
    let mut child = Command::new("unshare");
    child.args(["--mount", "sh", "-c", script]).arg(&myself).arg(NAME).env("CHANDLER_TEST_MOUNTS", folder.path());
    let ended = child.output().expect("unshare runs");
    let allowed = ended.status.code() != Some(77) && !String::from_utf8_lossy(&ended.stderr).contains("unshare failed");
    assert!(!allowed || ended.status.success(), "{}{}", String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    let left = |name: &str| fs::read_to_string(folder.path().join(name)).expect("there");
    assert_eq!((left("mounted"), left("source"), left("ro/file")), ("old".into(), "old".into(), "old".into()));
    assert_eq!(fs::read_dir(folder.path()).expect("there").count(), 3, "nothing is left beside them");
}
