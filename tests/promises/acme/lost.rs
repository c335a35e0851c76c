//! Things that go: the account at the CA, our own files, the room on the disk, a script that does not come back.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use certs::acme::{Courier, roll_over};
use certs::solve::{DnsHook, HookStyle, Solvers};
use certs::store::Store;
use certs::worker::{Look, Worker};
use certs::{Class, Reason, Served, Wish};
use tempfile::TempDir;
use tests::disk::Tmpfs;
use tests::interposer::{Fate, Interposer};
use tests::pebble::{Pebble, Settings};

use super::prover::{self, Prover};
use super::{Owner, install_crypto};

/// One of several certificates of `owner`'s, called like its name.
fn worker_for(name: &str, worker: Worker) -> Worker {
    let wish = Wish { identifiers: [format!("{name}.test").parse().expect("a name")].into(), ..worker.wish.clone() };
    Worker { name: name.parse().expect("a name"), served: Arc::new(Served::new(wish.clone())), wish, ..worker }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_certificates_whose_account_the_ca_has_lost_register_one_new_one() {
    install_crypto();
    let Some(mut pebble) = Pebble::start(Settings::default()) else { return };
    let prover = Prover::start(&pebble).await;
    let registered = Arc::new(AtomicUsize::new(0));
    let count = registered.clone();
    let way = Interposer::before(&pebble, move |asked| {
        count.fetch_add(usize::from(asked.path == "/sign-me-up"), Ordering::Relaxed);
        Fate::Pass
    });
    let owner = Owner::of(&pebble, &["unused.test"]);
    for name in ["one", "two"] {
        let worker = worker_for(name, owner.worker_by(&way, &pebble, prover.http()));
        assert_eq!(worker.look().await.expect("files"), Look::Obtained(Reason::Missing), "{}", pebble.log());
    }
    pebble.start_again();
    registered.store(0, Ordering::Relaxed);
    owner.clock.on_by(Duration::from_secs(80 * 24 * 3600));
    let renewed = async |name: &str| loop {
        match worker_for(name, owner.worker_by(&way, &pebble, prover.http())).look().await.expect("files") {
            Look::Obtained(_) => return,
            Look::Elsewhere => tokio::time::sleep(Duration::from_millis(20)).await, // The other one is at the account.
            look => panic!("{name}: {look:?}"),
        }
    };
    tokio::join!(renewed("one"), renewed("two"));
    assert_eq!(registered.load(Ordering::Relaxed), 1, "both use it");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_lost_under_a_server_are_got_anew_while_it_serves_what_it_has() {
    install_crypto();
    let Some(mut pebble) = Pebble::start(Settings::default()) else { return };
    let prover = Prover::start(&pebble).await;
    let owner = Owner::of(&pebble, &["mirror.test"]);
    let worker = owner.worker(&pebble, prover.http());
    let serial = || worker.served.current().expect("it serves").serial().to_owned();
    assert_eq!(worker.look().await.expect("files"), Look::Obtained(Reason::Missing));
    let first = serial();
    pebble.stop();
    fs::remove_dir_all(owner.files.path().join("certs")).expect("somebody tidied up");
    assert_eq!(worker.look().await.expect("files"), Look::Failed(Class::Transient));
    assert_eq!(serial(), first);
    pebble.start_again();
    owner.clock.on_by(Duration::from_secs(120));
    assert_eq!(worker.look().await.expect("files"), Look::Obtained(Reason::Missing), "{}", pebble.log());
    assert_ne!(serial(), first, "the new one is served, which ends no earlier");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_finds_no_room_on_the_disk_is_fetched_again_and_not_ordered_again() {
    install_crypto();
    let Some(disk) = Tmpfs::new("1m") else { return };
    let Some(pebble) = Pebble::start(Settings::default()) else { return };
    let prover = Prover::start(&pebble).await;
    let mut owner = Owner::of(&pebble, &["mirror.test"]);
    owner.files = TempDir::new_in(disk.path()).expect("it is empty yet");
    let filler = disk.path().join("filler");
    let mut room = Some(filler.clone());
    let way = Interposer::before(&pebble, move |asked| match room.take_if(|_| asked.path.starts_with("/certZ/")) {
        Some(path) => Fate::Change(Box::new(move |answer| {
            fill(&path);
            answer
        })),
        None => Fate::Pass,
    });
    let look = owner.worker_by(&way, &pebble, prover.http()).look().await;
    assert!(!matches!(look, Ok(Look::Obtained(_))), "there was no room for it: {look:?}");
    fs::remove_file(&filler).expect("it is there");
    owner.clock.on_by(Duration::from_secs(120));
    let worker = owner.worker_by(&way, &pebble, prover.http());
    assert_eq!(worker.look().await.expect("files"), Look::Obtained(Reason::Missing), "{}", pebble.log());
    assert_eq!(pebble.issued(), 1);
}

fn fill(path: &Path) {
    let mut file = fs::File::create(path).expect("there is room for a name");
    while file.write_all(&[0; 4096]).is_ok() {}
}

/// A script that hangs holds up its own certificate.
#[tokio::test(flavor = "multi_thread")]
async fn one_certificate_does_not_wait_for_another_ones_proof() {
    install_crypto();
    let Some(pebble) = Pebble::start(Settings::default()) else { return };
    let prover = Prover::start(&pebble).await;
    let owner = Owner::of(&pebble, &["unused.test"]);
    let [script, started, go] = ["hook", "started", "go"].map(|file| owner.files.path().join(file));
    let (wait, publish) =
        (format!("touch {}; until [ -e {} ]; do sleep 0.05; done", started.display(), go.display()), pebble.set_txt_command());
    prover::write_script(
        &script,
        &format!("#!/bin/sh\n{wait}\nNAME=_acme-challenge.$CERTBOT_DOMAIN. VALUE=$CERTBOT_VALIDATION\n{publish}\n"),
    );
    let hook = DnsHook::new(HookStyle::Certbot, &script, None, Duration::from_secs(60));
    let slow = worker_for("slow", owner.worker(&pebble, Solvers { dns: Some(Arc::new(hook.into())), ..Solvers::default() }));
    let quick = worker_for("quick", owner.worker(&pebble, prover.http()));
    let quickly = async {
        while !started.exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let look = quick.look().await.expect("files");
        fs::write(&go, "").expect("written");
        look
    };
    let (slowly, quickly) = tokio::join!(slow.look(), quickly);
    assert_eq!(quickly, Look::Obtained(Reason::Missing), "{}", pebble.log());
    assert_eq!(slowly.expect("files"), Look::Obtained(Reason::Missing), "{}", pebble.log());
}

/// What is refused to the key before is not lost: the CA issues one certificate, and the key that it is for is in our files.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_gets_another_key_during_an_order_loses_no_certificate() {
    install_crypto();
    let Some(pebble) = Pebble::start(Settings::default()) else { return };
    let prover = Prover::start(&pebble).await;
    let owner = Owner::of(&pebble, &["mirror.test"]);
    let (known, files) = (Arc::<OnceLock<(String, String)>>::default(), owner.files.path().to_owned());
    let (behind, mut is_first) = (known.clone(), true);
    let way = Interposer::before(&pebble, move |asked| {
        if !asked.path.starts_with("/finalize-order/") || !std::mem::take(&mut is_first) {
            return Fate::Pass;
        }
        let (behind, files) = (behind.clone(), files.clone());
        Fate::Change(Box::new(move |answer| {
            let (directory, root) = behind.get().expect("it is there before anybody asks");
            let courier = Courier::knowing(root).expect("a client");
            let account = Store::new(&files).account(directory);
            let rolling = async { roll_over(&account, directory, &courier).await.is_ok() };
            assert!(tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(rolling)), "the CA takes the new key");
            answer
        }))
    });
    known.set((way.directory(), way.root().to_owned())).expect("once");
    let worker = owner.worker_by(&way, &pebble, prover.http());
    assert_eq!(worker.look().await.expect("files"), Look::Obtained(Reason::Missing), "{}", pebble.log());
    assert_eq!((pebble.issued(), owner.state().history.orders.len()), (1, 1), "{}", pebble.log());
}
