//! What a start finds: another process, left-overs, foreign files, folders that cannot be used.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use super::full::{Tmpfs, is_root};
use super::*;

#[test]
fn a_second_store_is_refused_by_path_and_process() {
    let folder = folder();
    let first = open(&config(folder.path()));
    let error = Store::open(&config(folder.path())).expect_err("the first has it");
    let text = format!("the store `{}` is in use by process {}", folder.path().display(), std::process::id());
    assert_eq!(error.to_string(), text);
    insta::assert_snapshot!(error.hint(), @"stop the other process, or give this one a folder of its own");
    drop(first);
    open(&config(folder.path()));
}

#[test]
fn a_reader_keeps_the_folder_from_the_next_store() {
    let folder = folder();
    let store = open(&config(folder.path()));
    put(&store, b"x").expect("room");
    let stored = store.blob(&digest_of(b"x"));
    drop(store);
    assert!(matches!(Store::open(&config(folder.path())), Err(OpenError::InUse { .. })));
    drop(stored);
    open(&config(folder.path()));
}

#[test]
fn partial_files_of_ours_go_and_those_of_others_stay() {
    let folder = folder();
    drop(opened(&config(folder.path())));
    let ours = folder.path().join("spool").join(layout::Temporaries::new(7, 8).next());
    let foreign = ["spool/notes.txt", "docker/registry/v2/blobs/sha256/ab/abcd/data", "blobs/sha256/ab/README", "repos/hub/a/_tags/.keep"];
    for path in foreign.iter().map(|path| folder.path().join(path)).chain([ours.clone()]) {
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, "not empty").expect("a file");
    }
    let store = opened(&StoreConfig { keep_unused: Some(Duration::ZERO), ..config(folder.path()) });
    let _ = repository(&store, "a");
    store.cleanup().run(u32::MAX, &CancellationToken::new());
    assert!(!ours.exists());
    for path in foreign {
        assert_eq!(fs::read(folder.path().join(path)).expect(path), b"not empty");
    }
}

#[test]
fn a_lock_that_is_a_link_is_refused_and_what_it_leads_to_stays() {
    let folder = folder();
    let (root, precious) = (folder.path().join("store"), folder.path().join("precious"));
    fs::create_dir(&root).expect("ours");
    fs::write(&precious, "of somebody").expect("ours");
    std::os::unix::fs::symlink(&precious, root.join("chandler.lock")).expect("ours");
    let error = Store::open(&config(&root)).expect_err("a link");
    assert_eq!(error.to_string(), format!("cannot open the lock file `{}`", root.join("chandler.lock").display()));
    assert_eq!(fs::read(&precious).expect("there"), b"of somebody");
}

#[test]
fn a_newer_stores_folder_is_refused() {
    let folder = folder();
    drop(open(&config(folder.path())));
    let marker = folder.path().join("chandler.json");
    fs::write(&marker, r#"{"version":2,"new":"things"}"#).expect("ours");
    let error = Store::open(&config(folder.path())).expect_err("newer");
    assert_eq!(error.to_string(), format!("`{}` says version 2, and this program knows version 1", marker.display()));
    fs::write(&marker, "{").expect("ours");
    assert!(matches!(Store::open(&config(folder.path())), Err(OpenError::Marker { path, .. }) if path == marker));
}

#[test]
fn a_folder_that_cannot_be_used_is_named_with_what_to_do() {
    let folder = folder();
    let file = folder.path().join("file");
    fs::write(&file, "").expect("a file");
    let error = Store::open(&config(&file.join("store"))).expect_err("a file is in the way");
    assert_eq!(error.to_string(), format!("cannot create `{}`", file.join("store").display()));
    insta::assert_snapshot!(error.hint(), @"a file is in the way: move it, or choose another folder for the store");

    let Some(mount) = Tmpfs::mount("4m") else { return };
    let store = mount.path().join("store");
    mount.make_read_only();
    let error = Store::open(&config(&store)).expect_err("read-only");
    assert_eq!(error.to_string(), format!("cannot create `{}`", store.display()));
    insta::assert_snapshot!(error.hint(), @"mount it writable, or choose another folder for the store");
}

#[test]
fn a_part_of_the_store_on_another_file_system_is_refused() {
    let folder = folder();
    let Some(mount) = Tmpfs::mount("4m") else { return };
    std::os::unix::fs::symlink(mount.path(), folder.path().join("blobs")).expect("a link");
    let error = Store::open(&config(folder.path())).expect_err("elsewhere");
    assert!(matches!(error, OpenError::OtherFileSystem { path } if path == folder.path().join("blobs")));
}

/// Root may do everything, so the one who may not is a process of another user: this test again.
#[test]
#[expect(clippy::print_stdout, reason = "the child tells the parent")]
fn a_folder_of_another_user_is_named_with_what_to_do() {
    if let Some(root) = std::env::var_os(FOREIGN_ROOT) {
        let error = Store::open(&config(Path::new(&root))).expect_err("it is not ours");
        println!("{error}; {}", error.hint());
        return;
    }
    if !is_root() {
        return;
    }
    let folder = folder();
    drop(open(&config(folder.path())));
    fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("ours");
    let program = folder.path().join("again");
    fs::copy(std::env::current_exe().expect("this program"), &program).expect("a copy that nobody may run");
    let this = "store::tests::opening::a_folder_of_another_user_is_named_with_what_to_do";
    let child = Command::new(program)
        .args(["--exact", this, "--nocapture"])
        .env(FOREIGN_ROOT, folder.path())
        .uid(65534)
        .stdin(Stdio::null())
        .output()
        .expect("the child ran");
    let said = String::from_utf8_lossy(&child.stdout);
    let lock = folder.path().join("chandler.lock");
    assert!(
        said.contains(&format!("cannot open the lock file `{}`; let the mirror's user own the store's folder", lock.display())),
        "{said}"
    );
}

const FOREIGN_ROOT: &str = "CHANDLER_TEST_FOREIGN_ROOT";
