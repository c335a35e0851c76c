//! "The disk never passes its cap (allocated bytes, spools and metadata included), and neither a full disk nor an unhealthy store fails a pull: it
//! streams past."
//!
//! The cap in use is `eviction`'s subject, the unhealthy store `sick_store`'s.

use tests::client::Client;
use tests::disk::{Tmpfs, blob_file, published, wait_for_blob, wait_for_empty_spool};
use tests::hub::{Digest, Fault, Gate, Hub, KIB, Kind, MIB, noise, on};
use tests::operator::Operator;
use tests::program::Program;
use tests::slow_client::SlowReader;
use tokio::task::JoinSet;

/// More than the whole file system.
const BIG: usize = 24 * MIB;
/// How far a download may go before all readers have followed: less than what the mirror keeps in memory for them.
const STEP: usize = 2 * MIB;
const READERS: usize = 20;

/// A mirror that stores on 16 MiB, a small image that lies there already, and a blob that never will.
struct Setting {
    bytes: bytes::Bytes,
    client: Client,
    digest: Digest,
    hub: Hub,
    mirror: Program,
    small: Digest,
    tmpfs: Tmpfs, // The last to go: the mirror must have stopped.
}

impl Setting {
    async fn new() -> Option<Self> {
        let tmpfs = Tmpfs::new("16m")?;
        let (hub, bytes) = (Hub::start(), noise(21, BIG));
        let digest = hub.put_blob("library/big", bytes.clone());
        let small = hub.image("library/small").tag("1").layers([2 * MIB]).push();
        let builder = Program::of_hub(&hub.url());
        tmpfs.hold_the_store_of(&builder);
        let mirror = builder.start();
        let client = Client::new(mirror.url());
        client.pull("library/small", "1").await;
        for blob in small.blobs() {
            wait_for_blob(&mirror.store(), &blob.digest).await;
        }
        hub.forget();
        Some(Self { bytes, client, digest, hub, mirror, small: small.digest, tmpfs })
    }

    fn path(&self) -> String {
        format!("/v2/library/big/blobs/{}", self.digest)
    }

    /// Stops the download at each [`STEP`].
    fn gates(&self) -> Vec<(usize, Gate)> {
        (1..BIG / STEP).map(|step| (step * STEP, self.hub.hold_at((step * STEP) as u64, on(Kind::Cdn)))).collect()
    }

    /// What was there before is there still, and needs no Hub.
    async fn still_serves_what_it_stored(&self) {
        wait_for_empty_spool(&self.mirror.store()).await;
        assert!(!published(&self.mirror.store()).iter().any(|name| self.digest.as_str().ends_with(name.as_str())));
        self.hub.down();
        self.client.pull("library/small", self.small.as_str()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_that_keep_up_share_one_download_of_a_blob_that_has_no_room() {
    let Some(setting) = Setting::new().await else { return };
    let gates = setting.gates();
    let mut readers = Vec::new();
    for _ in 0..READERS {
        readers.push((setting.client.open(&setting.path()).await, Vec::new()));
    }
    for (at, gate) in gates {
        for (reader, read) in &mut readers {
            let missing = at - read.len().min(at);
            read.extend(reader.take(missing).await);
        }
        gate.release();
    }
    let mut rests = JoinSet::new();
    for (reader, mut read) in readers {
        rests.spawn(async move {
            read.extend(reader.rest().await.expect("the rest"));
            read
        });
    }
    while let Some(read) = rests.join_next().await {
        assert!(read.expect("no panic") == setting.bytes);
    }
    let counts = setting.hub.count();
    assert_eq!(counts.gets(Kind::Cdn), 1, "{}", counts.summary());
    assert!(Operator::of(&setting.mirror).metric("chandler_store_full_total").await >= 1, "an operator can see it");
    setting.still_serves_what_it_stored().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_is_left_behind_gets_every_byte_by_a_download_of_its_own() {
    let Some(setting) = Setting::new().await else { return };
    let gates = setting.gates();
    let mut slow = SlowReader::get(setting.mirror.url(), &setting.path()).await;
    let mut read = slow.take(100_000).await;
    let mut fast = (setting.client.open(&setting.path()).await, Vec::new());
    for (at, gate) in gates {
        let missing = at - fast.1.len().min(at);
        let more = fast.0.take(missing).await;
        fast.1.extend(more);
        gate.release();
    }
    fast.1.extend(fast.0.rest().await.expect("the rest"));
    assert!(fast.1 == setting.bytes, "the fast one never waits");
    assert_eq!(setting.hub.count().gets(Kind::Cdn), 1);

    read.extend(slow.rest().await.expect("the rest, from wherever"));
    assert!(read == setting.bytes, "the slow one has every byte");
    let counts = setting.hub.count();
    assert_eq!(counts.gets(Kind::Cdn), 2, "{}", counts.summary());
    assert_eq!(counts.list(on(Kind::Cdn))[1].header("range").split('=').next(), Some("bytes"), "only its rest");
    setting.still_serves_what_it_stored().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_without_room_ends_with_its_last_reader() {
    let Some(setting) = Setting::new().await else { return };
    let mut reader = setting.client.open(&setting.path()).await;
    reader.take(MIB).await;
    drop(reader);
    setting.hub.wait_for(|counts| counts.running(on(Kind::Cdn)) == 0).await;
    assert!(setting.client.get(&setting.path()).await.whole() == setting.bytes);
    setting.still_serves_what_it_stored().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_in_the_middle_of_a_download_does_not_end_it() {
    let Some(setting) = Setting::new().await else { return };
    // Nobody knows the size, so that the room is not missed before the download is half done.
    setting.hub.faults().set(Fault::NoContentLength, on(Kind::Cdn));
    let gates = setting.gates();
    let mut slow = setting.client.open(&setting.path()).await;
    let mut read = slow.take(100_000).await;
    let mut fast = (setting.client.open(&setting.path()).await, Vec::new());
    for (at, gate) in gates {
        // The tail of what came is withheld: its end may be the blob's.
        let missing = (at - 64 * KIB).saturating_sub(fast.1.len());
        let more = fast.0.take(missing).await;
        fast.1.extend(more);
        gate.release();
    }
    fast.1.extend(fast.0.rest().await.expect("the rest"));
    assert!(fast.1 == setting.bytes, "first from the disk, then past it");
    read.extend(slow.rest().await.expect("the rest"));
    assert!(read == setting.bytes, "the slow one has what the disk has, and the rest by itself");
    let counts = setting.hub.count();
    // Where no header tells the size, a byte is fetched to learn it.
    let downloads = counts.list(on(Kind::Cdn)).iter().filter(|seen| seen.bytes > 1).count();
    assert_eq!(downloads, 2, "{}", counts.summary());
    assert!(Operator::of(&setting.mirror).metric("chandler_flight_overflows_total").await >= 1);
    // What lay there made room first, as it must: it is fetched again.
    wait_for_empty_spool(&setting.mirror.store()).await;
    setting.client.pull("library/small", "1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_far_into_a_blob_that_has_no_room_is_sent_by_the_same_download() {
    let Some(setting) = Setting::new().await else { return };
    let answer = setting.client.range(&setting.path(), "bytes=20000000-20999999").await;
    assert_eq!(answer.status, 206);
    assert!(answer.whole() == setting.bytes.slice(20_000_000..21_000_000));
    assert_eq!(setting.hub.count().gets(Kind::Cdn), 1);
    setting.still_serves_what_it_stored().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_others_filled_does_not_fail_a_pull() {
    let Some(setting) = Setting::new().await else { return };
    let ballast = setting.tmpfs.path().join("of-somebody-else");
    fill(&ballast);
    let cold = setting.hub.image("library/cold").tag("1").seed(5).layers([3 * MIB, 40_000]).push();
    let pulled = setting.client.pull("library/cold", "1").await;
    assert_eq!(pulled.len(), 3);
    for descriptor in cold.blobs() {
        let blob = setting.client.get(&format!("/v2/library/cold/blobs/{}", descriptor.digest)).await;
        assert_eq!(Digest::sha256(&blob.whole()), descriptor.digest);
    }
    std::fs::remove_file(&ballast).expect("it is ours");
    wait_for_empty_spool(&setting.mirror.store()).await;
    setting.client.pull("library/cold", "1").await;
    for descriptor in cold.blobs() {
        wait_for_blob(&setting.mirror.store(), &descriptor.digest).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_found_no_room_is_written_when_it_is_used_again_and_there_is_some() {
    let Some(tmpfs) = Tmpfs::new("8m") else { return };
    let hub = Hub::start();
    let image = hub.image("library/app").tag("1").layers([5000]).push();
    let builder = Program::of_hub(&hub.url());
    tmpfs.hold_the_store_of(&builder);
    let mirror = builder.start();
    let client = Client::new(mirror.url());
    let ballast = tmpfs.path().join("of-somebody-else");
    fill(&ballast);
    client.pull("library/app", "1").await;
    assert_eq!(published(&mirror.store()), Vec::<String>::new(), "there was no room");

    std::fs::remove_file(&ballast).expect("it is ours");
    hub.down();
    let tag = mirror.store().join("repos/docker.io/library/app/_tags/1");
    client.until("/v2/library/app/manifests/1", |answer| answer.status.is_success() && tag.is_file()).await;
    for blob in image.blobs() {
        let file = blob_file(&mirror.store(), &blob.digest);
        client.until(&format!("/v2/library/app/blobs/{}", blob.digest), |answer| answer.status.is_success() && file.is_file()).await;
    }
    Operator::of(&mirror).wait_until_written().await;
    let mirror = mirror.crash_and_restart();
    Client::new(mirror.url()).pull("library/app", "1").await;
}

/// Writes until the file system has no room.
fn fill(file: &std::path::Path) {
    use std::io::Write as _;
    let mut file = std::fs::File::create(file).expect("room for a name");
    for size in [MIB, 4096, 1] {
        while file.write_all(&vec![1; size]).is_ok() {}
    }
}
