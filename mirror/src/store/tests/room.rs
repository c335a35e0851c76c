//! "The disk never passes its cap (allocated bytes, spools and metadata included)": the account against what `du` says, and eviction.

use proptest::prelude::*;

use super::*;

#[test]
fn the_least_recently_used_go_first_and_layers_before_manifests() {
    let folder = folder();
    let store = opened(&capped(folder.path(), 3 << 20));
    store.put_manifest(&digest_of(b"{}"), b"{}").expect("room");
    let [old, mid] = [1, 2].map(|seed| put(&store, &content(seed, 1 << 20)).expect("room"));
    store.disk.index.touch(&old, disk::now() + 1);
    let new = put(&store, &content(3, 1 << 20)).expect("room");
    let stored = [&old, &mid, &new].map(|digest| store.blob(digest).is_some());
    assert_eq!(stored, [true, false, true]);
    put(&store, &content(4, 2 << 20)).expect("room");
    assert!(store.manifest(&digest_of(b"{}")).is_some());
    assert_eq!((store.figures().evicted, store.figures().blobs), (3, 1));
}

#[test]
fn what_is_read_or_written_is_not_evicted() {
    let folder = folder();
    let store = opened(&capped(folder.path(), 3 << 20));
    let digest = put(&store, &content(1, 1 << 20)).expect("room");
    let stored = store.blob(&digest).expect("stored");
    let mut spool = store.spool(&digest_of(&content(2, 1 << 20)), Some(1 << 20)).expect("room");
    assert!(matches!(store.spool(&digest_of(b"more"), Some(1 << 20)), Err(StoreError::Full(_))));
    let file = Arc::clone(stored.file());
    drop(stored);
    assert!(matches!(store.spool(&digest_of(b"more"), Some(1 << 20)), Err(StoreError::Full(_))), "the file itself is still read");
    drop(file);
    let more = store.spool(&digest_of(b"more"), Some(1 << 20)).expect("room, now that nobody reads");
    assert!(store.blob(&digest).is_none());
    spool.append(&content(2, 1 << 20)).expect("its room was taken before");
    spool.publish(ChildKind::Blob).expect("published");
    drop(more);
    assert_eq!(store.figures().allocated, du(folder.path()));
}

#[test]
fn a_smaller_cap_is_kept_after_the_scan() {
    let folder = folder();
    {
        let store = opened(&config(folder.path()));
        (0..8).for_each(|seed| drop(put(&store, &content(seed, 1 << 20)).expect("room")));
    }
    let store = open(&capped(folder.path(), 4 << 20));
    assert!(matches!(store.spool(&digest_of(b"x"), Some(1)), Err(StoreError::Full(_))), "what is used is not known before the scan");
    scan(&store);
    store.disk.trim();
    assert!(store.figures().allocated <= 4 << 20, "{:?}", store.figures());
    assert_eq!(store.figures().allocated, du(folder.path()));
}

#[test]
fn the_clean_up_takes_what_nobody_used_and_its_records_and_empty_folders() {
    let folder = folder();
    let keep_unused = Some(Duration::from_secs(1000));
    let store = opened(&StoreConfig { keep_unused, ..config(folder.path()) });
    let (old, hot) = (put(&store, b"old").expect("room"), put(&store, b"hot").expect("room"));
    for (name, digest) in [("a", &old), ("a/b", &hot), ("c/d", &old)] {
        let (repository, record) = (repository(&store, name), manifest(name.as_bytes(), vec![layer(digest, 3)]));
        store.put_manifest(&record.digest, name.as_bytes()).expect("room");
        repository.link_manifest(&record).expect("room");
        repository.link_blob(digest, 3).expect("room");
        repository.set_tag(&tag("latest"), &TagRecord { digest: record.digest, gone_since: None }).expect("room");
    }
    let closed = RepositoryState { visibility: None, closed: true };
    repository(&store, "c/d").set_state(closed).expect("room");
    let later = disk::now() + 2000;
    store.disk.index.touch(&hot, later);
    store.disk.index.touch(&digest_of(b"a/b"), later);
    store.cleanup().run(later, &CancellationToken::new());

    assert_eq!(store.catalog(None, 10), ["hub/a/b"]);
    assert!(store.blob(&old).is_none() && store.blob(&hot).is_some());
    assert_eq!(repository(&store, "a").tags(), []);
    assert_eq!(repository(&store, "a").held(&old), None);
    assert_eq!(repository(&store, "a/b").tags(), [tag("latest")]);
    assert_eq!(repository(&store, "c/d").state(), closed, "what is closed stays closed");
    assert!(!folder.path().join("repos/hub/a/_tags").exists() && folder.path().join("repos/hub/a/b/_tags").exists());
    assert_eq!(store.figures().allocated, du(folder.path()));
}

#[test]
fn many_threads_on_the_same_few_blobs_leave_the_account_right() {
    let folder = folder();
    let store = opened(&capped(folder.path(), 3 << 20));
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let store = &store;
            scope.spawn(move || {
                for turn in 0..150_u64 {
                    let seed = (turn * 7 + thread * 3) % 8;
                    let bytes = content(seed, 300_000 + seed as usize);
                    let found = store.blob(&digest_of(&bytes));
                    assert!(found.as_ref().is_none_or(|stored| read(stored) == bytes));
                    if found.is_none() {
                        // Others may hold all the room at this moment.
                        put(store, &bytes).map(drop).unwrap_or_default();
                    } else if turn % 13 == 0 {
                        store.disk.quarantine(&digest_of(&bytes), "a test");
                    }
                    assert!(store.figures().allocated <= 3 << 20);
                }
            });
        }
    });
    assert!(store.figures().evicted > 0);
    assert_eq!(store.figures().allocated, du(folder.path()));
    assert_eq!(store.figures().blobs as usize, files(&folder.path().join("blobs")).len());
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Abort { seed: u64, said: Option<u64>, length: usize },
    Clean,
    Close,
    Link { seed: u64, repository: u8 },
    Open { seed: u64 },
    Put { seed: u64, said: Option<u64>, length: usize },
    PutManifest { seed: u64 },
    Quarantine { seed: u64 },
    Reopen,
    SetTag { seed: u64, repository: u8 },
    Trim,
    Unlink { seed: u64, repository: u8 },
}

fn step() -> impl Strategy<Value = Step> {
    let seed = 0..12_u64;
    let repository = 0..3_u8;
    let said = proptest::option::of(0..400_000_u64);
    let length = 0..300_000_usize;
    prop_oneof![
        2 => (seed.clone(), said.clone(), length.clone()).prop_map(|(seed, said, length)| Step::Abort { seed, said, length }),
        1 => Just(Step::Clean),
        2 => Just(Step::Close),
        2 => (seed.clone(), repository.clone()).prop_map(|(seed, repository)| Step::Link { seed, repository }),
        3 => seed.clone().prop_map(|seed| Step::Open { seed }),
        6 => (seed.clone(), said, length).prop_map(|(seed, said, length)| Step::Put { seed, said, length }),
        2 => seed.clone().prop_map(|seed| Step::PutManifest { seed }),
        1 => seed.clone().prop_map(|seed| Step::Quarantine { seed }),
        1 => Just(Step::Reopen),
        2 => (seed.clone(), repository.clone()).prop_map(|(seed, repository)| Step::SetTag { seed, repository }),
        1 => Just(Step::Trim),
        1 => (seed, repository).prop_map(|(seed, repository)| Step::Unlink { seed, repository }),
    ]
}

/// A store, and whoever reads it.
struct Run {
    config: StoreConfig,
    open: Vec<Stored>,
    store: Store,
}

impl Run {
    fn take(&mut self, step: Step) {
        let name = |repository: u8| ["a", "a/b", "c"][usize::from(repository)];
        match step {
            Step::Abort { seed, said, length } => {
                if let Ok(mut spool) = self.store.spool(&blob(seed).1, said) {
                    let _ = spool.append(&content(seed, length));
                }
            }
            Step::Clean => self.store.cleanup().run(disk::now(), &CancellationToken::new()),
            Step::Close => self.open.truncate(self.open.len() / 2),
            Step::Link { seed, repository: of } => {
                let record = manifest(&seed.to_le_bytes(), vec![layer(&blob(seed).1, 1)]);
                repository(&self.store, name(of)).link_manifest(&record).unwrap_or_default();
            }
            Step::Open { seed } => self.open.extend(self.store.blob(&blob(seed).1)),
            Step::Put { seed, said, length } => {
                // The name is not the hash of these bytes: the store trusts whoever writes a blob.
                let Ok(mut spool) = self.store.spool(&blob(seed).1, said) else { return };
                if spool.append(&content(seed, length)).is_ok() {
                    self.open.extend(spool.publish(ChildKind::Blob));
                }
            }
            Step::PutManifest { seed } => self.store.put_manifest(&digest_of(&seed.to_le_bytes()), &seed.to_le_bytes()).unwrap_or_default(),
            Step::Quarantine { seed } => self.store.disk.quarantine(&blob(seed).1, "a test"),
            Step::Reopen => self.reopen(),
            Step::SetTag { seed, repository: of } => {
                let record = TagRecord { digest: blob(seed).1, gone_since: None };
                repository(&self.store, name(of)).set_tag(&tag(&format!("t{}", seed % 4)), &record).unwrap_or_default();
            }
            Step::Trim => self.store.disk.trim(),
            Step::Unlink { seed, repository: of } => {
                let repository = repository(&self.store, name(of));
                repository.unlink(&digest_of(&seed.to_le_bytes()));
                repository.remove_tag(&tag(&format!("t{}", seed % 4)));
            }
        }
    }

    /// The next scan runs while the steps that follow are taken.
    fn reopen(&mut self) {
        self.open.clear();
        let elsewhere = folder();
        self.store = open(&config(elsewhere.path())); // Ours must be gone before its folder is opened again.
        while Arc::strong_count(&self.store.disk) > 1 {
            std::thread::yield_now();
        }
        self.store = loop {
            match Store::open(&self.config) {
                Ok(store) => break store,
                Err(OpenError::InUse { .. }) => std::thread::yield_now(), // The last scan's thread.
                Err(error) => panic!("{error}"),
            }
        };
        self.store.disk.set_scan_state(ScanState::Running);
        let store = self.store.clone();
        std::thread::spawn(move || scan(&store));
    }
}

fn blob(seed: u64) -> (Vec<u8>, Digest) {
    let bytes = content(seed, 8);
    let digest = digest_of(&bytes);
    (bytes, digest)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn the_account_is_what_du_says_and_never_above_the_cap(steps in prop::collection::vec(step(), 1..60), cap in proptest::option::of(1_000_000..3_000_000_u64)) {
        let folder = folder();
        let config = cap.map_or_else(|| config(folder.path()), |cap| capped(folder.path(), cap));
        let mut run = Run { store: opened(&config), open: Vec::new(), config };
        for step in steps {
            run.take(step);
            let figures = run.store.figures();
            prop_assert!(figures.allocated <= cap.unwrap_or(u64::MAX), "{figures:?} after {step:?}");
            prop_assert!(!figures.scanned || du(folder.path()) <= figures.allocated, "{figures:?} after {step:?}, on disk {}", du(folder.path()));
        }
        run.open.clear();
        while run.store.disk.scan_state() == ScanState::Running {
            std::thread::yield_now();
        }
        prop_assert_eq!(run.store.figures().allocated, du(folder.path()));
    }
}
