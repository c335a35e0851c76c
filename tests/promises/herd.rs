//! "One upstream download per blob, however many clients ask at once, and whichever of them leave."
//!
//! A herd as CI makes it: machines that start a moment apart, some on bad lines, some killed in the middle.

use std::time::Duration;

use tests::client::Client;
use tests::dice::Dice;
use tests::hub::{Hub, Kind, MIB, noise, on};
use tests::program::Program;
use tests::slow_client::SlowReader;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const SIZE: usize = 12 * MIB;
const SLOW: usize = 40;
const LEAVING: usize = 60;
const FAST: usize = 100;

#[tokio::test(flavor = "multi_thread")]
async fn fast_readers_finish_while_slow_ones_read_on_and_others_come_and_go() {
    let (hub, bytes, mut dice) = (Hub::start(), noise(7, SIZE), Dice::new());
    let path = format!("/v2/library/big/blobs/{}", hub.put_blob("library/big", bytes.clone()));
    let mirror = Program::of_hub(&hub.url()).start();
    let client = Client::new(mirror.url());
    let gates = [MIB, 4 * MIB, 8 * MIB].map(|at| (at, hub.hold_at(at as u64, on(Kind::Cdn))));
    let let_loose = CancellationToken::new();
    let (mut slow, mut fast, mut leaving) = (JoinSet::new(), JoinSet::new(), JoinSet::new());

    // Each third comes at another point of the download; the last gate opens when all have asked.
    for (at, gate) in gates {
        hub_has_sent(&hub, &client, &path, at).await;
        for _ in 0..=SLOW / 3 {
            slow.spawn(read_slowly(mirror.url().to_owned(), path.clone(), let_loose.clone()));
        }
        for _ in 0..=FAST / 3 {
            let (client, path) = (client.clone(), path.clone());
            fast.spawn(async move { client.get(&path).await.whole() });
        }
        for _ in 0..LEAVING / 3 {
            let (client, path, until) = (client.clone(), path.clone(), dice.roll(0..at as u64 - 100_000));
            leaving.spawn(async move { client.open(&path).await.take(until as usize).await.len() });
        }
        while let Some(left) = leaving.join_next().await {
            left.expect("one that leaves has what it asked for before");
        }
        gate.release();
    }
    // A mirror whose slow readers hold up the others would never get here: they read on only after this.
    while let Some(read) = fast.join_next().await {
        assert!(read.expect("no panic") == bytes, "every fast reader gets exactly the blob");
    }
    assert_eq!(slow.try_join_next().map(|_| ()), None, "the slow ones still read");
    let_loose.cancel();
    while let Some(read) = slow.join_next().await {
        assert!(read.expect("no panic") == bytes, "every slow reader gets exactly the blob");
    }
    let counts = hub.count();
    assert_eq!(counts.gets(Kind::Cdn), 1, "{}", counts.summary());
    assert_eq!(counts.bytes(on(Kind::Cdn)), SIZE as u64);
}

/// The first to come starts the download, and leaves at once.
async fn hub_has_sent(hub: &Hub, client: &Client, path: &str, bytes: usize) {
    drop(client.open(path).await);
    hub.wait_for(|counts| counts.bytes(on(Kind::Cdn)) == bytes as u64).await;
}

/// A KiB a second, until it is let loose.
async fn read_slowly(url: String, path: String, let_loose: CancellationToken) -> Vec<u8> {
    let mut reader = SlowReader::get(&url, &path).await;
    let mut read = Vec::new();
    while tokio::time::timeout(Duration::from_secs(1), let_loose.cancelled()).await.is_err() {
        read.extend(reader.take(1024).await);
    }
    read.extend(reader.rest().await.expect("the rest"));
    read
}
