//! What a mirror goes through with its certificate: torn files, a CA that is gone for good, a clock that is wrong.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use http::HeaderValue;
use http::header::DATE;
use tests::hub::Hub;
use tests::interposer::{Fate, Interposer};
use tests::operator::Operator;
use tests::pebble::{Pebble, Settings};

use super::crash_loop::want_key;
use super::{OBTAINED, at, mirror, shown};

/// As after a crash of the machine, or of a disk, or by two writers.
#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_whose_files_are_torn_serves_its_certificate_and_orders_none() {
    let Some(pebble) = Pebble::start(Settings::default()) else { return };
    let hub = Hub::start();
    let mut program = at(&hub, &pebble).start();
    Operator::of(&program).wait_for_readiness(200).await;
    let before = shown(&program, "mirror.test").await;
    let folder = program.config().with_file_name("certs");
    let damages: [fn(Vec<u8>) -> Vec<u8>; 4] = [
        |_| Vec::new(),
        |whole| whole[..whole.len() / 2].to_vec(),
        |whole| [whole, b"}".to_vec()].concat(),
        |_| b"\0\xff\xfe{\"history".to_vec(),
    ];
    for damage in damages {
        program.crash();
        let certificate = fs::read_dir(folder.join("certs")).expect("a folder").next().expect("one").expect("read").path();
        fs::write(certificate.join("pending.json"), b"{\"account\": ").expect("written");
        for file in ["state.json", "current", "pending.json"].map(|name| certificate.join(name)).into_iter().chain(accounts(&folder)) {
            let whole = fs::read(&file).unwrap_or_default();
            fs::write(&file, damage(whole)).expect("written");
        }
        program = program.crash_and_restart();
        Operator::of(&program).wait_for_readiness(200).await;
        assert_eq!(shown(&program, "mirror.test").await, before);
        program.wait_for_log("it is put aside as");
    }
    assert_eq!(pebble.issued(), 1);

    program.crash();
    let certificate = fs::read_dir(folder.join("certs")).expect("a folder").next().expect("one").expect("read").path();
    let bundle = certificate.join("gen-000001.pem");
    let whole = fs::read(&bundle).expect("it was stored");
    fs::write(&bundle, &whole[..whole.len() / 2]).expect("written");
    program = program.crash_and_restart();
    Operator::of(&program).wait_for_readiness(200).await;
    assert_ne!(shown(&program, "mirror.test").await, before, "with no whole one left another is got");
    assert_eq!(pebble.issued(), 2);
}

fn accounts(folder: &Path) -> Vec<PathBuf> {
    let accounts = fs::read_dir(folder.join("acme")).into_iter().flatten().flatten().map(|entry| entry.path().join("account.json"));
    accounts.filter(|file| file.exists()).collect()
}

/// "A working certificate of ours is never replaced by a worse one", and one that is over is better than one that nobody ever trusted.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_has_ended_is_served_while_the_ca_is_gone_and_readyz_says_so() {
    let Some(mut pebble) = Pebble::start(Settings { life: Duration::from_secs(8), ..Settings::default() }) else { return };
    let hub = Hub::start();
    let program = at(&hub, &pebble).start();
    program.wait_for_log("a certificate is in use");
    pebble.stop();
    let last = shown(&program, "mirror.test").await;
    let operator = Operator::of(&program);
    let over = async {
        loop {
            let (status, said) = operator.page("/readyz").await;
            if status == 503 && said.contains("the certificate ended at") {
                return said;
            }
            program.signal("HUP"); // "Look again": else it looks every half minute.
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    let said = tokio::time::timeout(Duration::from_secs(60), over).await.expect("it ends after eight seconds");
    assert!(said.contains("the next attempt is at"), "{said}");
    assert_eq!(shown(&program, "mirror.test").await, last);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_whose_clock_is_not_the_cas_waits_with_what_can_wait() {
    let Some(pebble) = Pebble::start(Settings::default()) else { return };
    let hub = Hub::start();
    let is_wrong = Arc::new(AtomicBool::new(false));
    let wrong = is_wrong.clone();
    let way = Interposer::before(&pebble, move |_| {
        if !wrong.load(Ordering::Acquire) {
            return Fate::Pass;
        }
        let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(3600));
        Fate::with_header(DATE, Some(HeaderValue::from_str(&date).expect("a date")))
    });
    let program = mirror(&hub, &pebble, &way.directory(), way.root(), "").start();
    Operator::of(&program).wait_for_readiness(200).await;
    let before = shown(&program, "mirror.test").await;

    is_wrong.store(true, Ordering::Release);
    want_key(&program.config(), "p384");
    let program = program.crash_and_restart();
    program.wait_for_log("the clock of this machine is wrong");
    let operator = Operator::of(&program);
    operator.wait_for_metric("chandler_acme_clock_skew_seconds", 3590).await;
    assert_eq!((shown(&program, "mirror.test").await, pebble.issued()), (before.clone(), 1));

    is_wrong.store(false, Ordering::Release);
    program.signal("HUP");
    operator.wait_for_metric(OBTAINED, 1).await;
    assert_ne!(shown(&program, "mirror.test").await, before);
}
