//! "The disk never passes its cap (allocated bytes, spools and metadata included), and neither a full disk nor an unhealthy store fails a pull":
//! a small tmpfs that really is full.

use std::process::Command;

use super::*;

#[test]
fn a_full_disk_takes_nothing_new_and_serves_what_it_has() {
    let Some(mount) = Tmpfs::mount("4m") else { return };
    let store = opened(&config(mount.path()));
    let kept = content(1, 1 << 20);
    let digest = put(&store, &kept).expect("room");
    let reader = store.blob(&digest).expect("stored"); // What is read is not evicted.
    mount.fill();

    assert!(matches!(store.spool(&digest_of(b"new"), Some(1 << 20)), Err(StoreError::Full(_))));
    let mut unsized_spool = store.spool(&digest_of(b"newer"), None).expect("a file without bytes takes none");
    assert!(matches!(unsized_spool.append(&content(2, 1 << 20)), Err(StoreError::Full(_))));
    drop(unsized_spool);
    assert!(matches!(store.put_manifest(&digest_of(b"{}"), b"{}"), Err(StoreError::Full(_))));
    assert_eq!(read(&store.blob(&digest).expect("a hit")), kept);

    let repository = repository(&store, "library/alpine");
    let record = manifest(b"{}", vec![layer(&digest, 1 << 20)]);
    assert!(matches!(repository.link_manifest(&record), Err(StoreError::Full(_))));
    assert!(matches!(
        repository.set_tag(&tag("latest"), &TagRecord { digest: record.digest.clone(), gone_since: None }),
        Err(StoreError::Full(_))
    ));
    assert_eq!(repository.held(&digest).expect("in memory").size, 1 << 20);
    assert_eq!(repository.tag(&tag("latest")).expect("in memory").digest, record.digest);
    assert_eq!(*store.health().borrow(), Health::Healthy, "a full disk is not ill");

    mount.empty();
    repository.link_manifest(&record).expect("now on the disk");
    put(&store, &content(2, 1 << 20)).expect("room again");
    drop((reader, repository));
    assert_eq!(store.figures().allocated, du(mount.path()));
}

#[test]
fn when_others_fill_the_disk_old_blobs_make_room_for_new_ones() {
    let Some(mount) = Tmpfs::mount("4m") else { return };
    let store = opened(&config(mount.path()));
    let old = put(&store, &content(1, 1 << 20)).expect("room");
    mount.fill();
    let mut new = None;
    wait("room from the old one", || {
        new = put(&store, &content(2, 1 << 19)).ok();
        new.is_some()
    });
    let new = new.expect("waited for");
    assert!(store.blob(&old).is_none());
    assert!(store.blob(&new).is_some());
    assert_eq!(store.figures().evicted, 1);
}

#[test]
fn a_blob_that_can_never_fit_evicts_nothing() {
    let Some(mount) = Tmpfs::mount("4m") else { return };
    let store = opened(&config(mount.path()));
    let digest = put(&store, &content(1, 1 << 20)).expect("room");
    assert!(matches!(store.spool(&digest_of(b"large"), Some(1 << 30)), Err(StoreError::Full(_))));
    assert!(store.blob(&digest).is_some());
}

#[test]
fn the_reserve_stays_free() {
    let Some(mount) = Tmpfs::mount("8m") else { return };
    let reserve = Limit::Bytes(ByteSize(4 << 20));
    let store = opened(&StoreConfig { min_free: reserve, ..config(mount.path()) });
    for seed in 0..16 {
        put(&store, &content(seed, 1 << 20)).expect("room from older ones");
        // A process that another test starts has copies of all descriptors, the evicted file's too, until it runs its own program.
        wait("the reserve to be free", || store.figures().free >= 4 << 20);
    }
    assert!(store.figures().evicted >= 12);
}

#[test]
fn a_file_system_that_cannot_allocate_ahead_is_accounted_for_ahead() {
    let Some(mount) = Tmpfs::of("ramfs", "mode=700") else { return };
    let store = opened(&capped(mount.path(), 4 << 20));
    let bytes = content(1, 1 << 20);
    let mut spool = store.spool(&digest_of(&bytes), Some(1 << 20)).expect("room");
    spool.append(&bytes[..1000]).expect("room");
    assert!(matches!(store.spool(&digest_of(b"large"), Some(3 << 20)), Err(StoreError::Full(_))), "its rest is promised");
    spool.append(&bytes[1000..]).expect("room");
    spool.publish(ChildKind::Blob).expect("published");
    assert_eq!(read(&store.blob(&digest_of(&bytes)).expect("stored")), bytes);
    assert_eq!(store.figures().allocated, du(mount.path()));
}

/// Mounted until dropped.
pub(super) struct Tmpfs(TempDir);

impl Tmpfs {
    /// `None` where we may not mount: then the test says so, and fails where that must not be.
    pub(super) fn mount(size: &str) -> Option<Self> {
        Self::of("tmpfs", &format!("size={size},mode=700"))
    }

    fn of(kind: &str, options: &str) -> Option<Self> {
        if !is_root() {
            return None;
        }
        let folder = folder();
        run("mount", &["-t", kind, "-o", options, "chandler-test"], folder.path());
        Some(Self(folder))
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(super) fn make_read_only(&self) {
        run("mount", &["-o", "remount,ro"], self.path());
    }

    /// Somebody else's file takes the rest.
    fn fill(&self) {
        let file = fs::File::create(self.path().join("others")).expect("a file");
        let mut at = 0;
        while file.write_all_at(&[1; 4096], at).is_ok() {
            at += 4096;
        }
    }

    fn empty(&self) {
        fs::remove_file(self.path().join("others")).expect("filled before");
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // Lazily: a failed test may have files open.
        let unmounted = Command::new("umount").arg("-l").arg(self.path()).status();
        assert!(std::thread::panicking() || unmounted.is_ok_and(|status| status.success()), "umount {}", self.path().display());
    }
}

/// Says so where we are not.
#[expect(clippy::print_stdout, reason = "a test's own output")]
pub(super) fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "this test mounts a tmpfs or changes users: run it as root");
        println!("not tested: only root may mount a tmpfs and change users");
    }
    root
}

fn run(program: &str, arguments: &[&str], path: &Path) {
    let status = Command::new(program).args(arguments).arg(path).status().expect(program);
    assert!(status.success(), "{program} {arguments:?} {}", path.display());
}
