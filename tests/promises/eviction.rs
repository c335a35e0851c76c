//! "The disk never passes its cap (allocated bytes, spools and metadata included), and neither a full disk nor an unhealthy store fails a pull: it
//! streams past."
//!
//! Least recently used goes first, and never what is being read.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use tests::client::Client;
use tests::dice::Dice;
use tests::disk::{Tmpfs, allocated, blob_file, restarted_after, wait_for_blob, wait_for_empty_spool};
use tests::hub::{Hub, ImageInfo, Kind, MIB, noise};
use tests::operator::Operator;
use tests::program::Program;
use tests::slow_client::SlowReader;
use tokio::task::JoinSet;

fn images(hub: &Hub, first_seed: u64, count: u64, layers: [usize; 2]) -> Vec<ImageInfo> {
    let seeds = first_seed..first_seed + count;
    seeds.map(|seed| hub.image(&format!("library/image{seed}")).tag("1").seed(seed).layers(layers).push()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_working_set_beyond_the_cap_is_served_whole_and_never_passes_the_cap() {
    const CAP: u64 = 10 << 20;
    let Some(tmpfs) = Tmpfs::new("64m") else { return };
    let (hub, mut dice) = (Hub::start(), Dice::new());
    hub.quota(None, None);
    let images = images(&hub, 1, 12, [3 * MIB / 2, 700_000]);
    let builder = Program::of_hub(&hub.url()).store(", max_size: 10MiB");
    tmpfs.hold_the_store_of(&builder);
    let mirror = builder.start();
    let most = Most::watch(tmpfs);
    let mut pulls = JoinSet::new();
    for _ in 0..5 {
        let (client, mine) = (Client::new(mirror.url()), (0..12).map(|_| dice.pick(&images).clone()).collect::<Vec<_>>());
        pulls.spawn(async move {
            for image in mine {
                client.pull(&image.repository, "1").await;
            }
        });
    }
    while let Some(pulled) = pulls.join_next().await {
        pulled.expect("every pull completes");
    }
    let evicted = Operator::of(&mirror).metric("chandler_store_evicted_total").await;
    assert!(evicted >= 1, "{evicted}");
    drop(mirror);
    let most = most.end();
    assert!((CAP / 2..=CAP).contains(&most), "at most {most} bytes were taken, with a cap of {CAP}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_larger_than_the_cap_is_pulled_whole() {
    let hub = Hub::start();
    let image = hub.image("library/large").tag("1").layers([3 * MIB, 3 * MIB, 6 * MIB, 2 * MIB, 5000]).push();
    let mirror = Program::of_hub(&hub.url()).store(", max_size: 4MiB").start();
    let client = Client::new(mirror.url());
    for _ in ["cold", "again"] {
        assert_eq!(client.pull("library/large", "1").await.len(), image.blobs().count());
        wait_for_empty_spool(&mirror.store()).await;
        let taken = allocated(&mirror.store());
        assert!(taken <= 4 << 20, "{taken}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_is_pulled_keeps_its_layers_and_one_that_is_not_makes_room() {
    let hub = Hub::start();
    let (hot, cold) = (images(&hub, 1, 1, [MIB, MIB]).remove(0), images(&hub, 2, 4, [MIB, MIB]));
    let mirror = Program::of_hub(&hub.url()).store(", max_size: 13MiB, scrub_rate: off").start();
    let client = Client::new(mirror.url());
    for image in cold.iter().chain([&hot]) {
        client.pull(&image.repository, "1").await;
        for blob in image.blobs() {
            wait_for_blob(&mirror.store(), &blob.digest).await;
        }
    }
    // The image that will be hot was used longest ago.
    let mirror = restarted_after(mirror, |store| {
        for (image, hours) in cold.iter().map(|image| (image, 1)).chain([(&hot, 2)]) {
            for blob in image.blobs() {
                used_before(&blob_file(store, &blob.digest), Duration::from_hours(hours));
            }
        }
    });
    Operator::of(&mirror).wait_for_metric("chandler_store_scanned", 1).await;
    let client = Client::new(mirror.url());
    client.pull(&hot.repository, "1").await;
    for image in images(&hub, 10, 3, [MIB, MIB]) {
        client.pull(&image.repository, "1").await;
    }
    let gone = cold.iter().flat_map(|image| &image.layers).filter(|layer| !blob_file(&mirror.store(), &layer.digest).exists()).count();
    assert!(gone >= 2, "the cold layers make room: {gone} are gone");
    hub.forget();
    client.pull(&hot.repository, "1").await;
    assert_eq!(hub.count().gets(Kind::Cdn), 0, "the hot layers are there: {}", hub.count().summary());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_is_not_evicted_and_what_two_repositories_share_comes_back_for_both() {
    let (hub, bytes) = (Hub::start(), noise(41, 16 * MIB));
    let shared = hub.put_blob("library/one", bytes.clone());
    hub.put_blob("library/two", bytes.clone());
    let mirror = Program::of_hub(&hub.url()).store(", max_size: 26MiB").start();
    let (client, store) = (Client::new(mirror.url()), mirror.store());
    let [one, two] = ["one", "two"].map(|name| format!("/v2/library/{name}/blobs/{shared}"));
    assert!(client.get(&one).await.whole() == bytes);
    let file = wait_for_blob(&store, &shared).await;
    assert!(client.get(&two).await.whole() == bytes);
    assert_eq!(hub.count().gets(Kind::Cdn), 1, "one content, however many repositories hold it");

    let mut reader = SlowReader::get(mirror.url(), &one).await;
    let mut read = reader.take(100_000).await;
    for seed in 0..5 {
        pass_through(&hub, &client, seed).await;
        assert!(file.exists(), "it is being read");
    }
    read.extend(reader.rest().await.expect("the rest"));
    assert!(read == bytes);

    let mut seed = 100;
    while file.exists() {
        assert!(seed < 200, "it is never evicted");
        pass_through(&hub, &client, seed).await;
        seed += 1;
    }
    hub.forget();
    assert!(client.get(&two).await.whole() == bytes, "fetched anew");
    wait_for_blob(&store, &shared).await;
    assert!(client.get(&one).await.whole() == bytes, "and there for the other");
    assert_eq!(hub.count().gets(Kind::Cdn), 1, "{}", hub.count().summary());
}

/// Another blob, so large that few have room beside what is read.
async fn pass_through(hub: &Hub, client: &Client, seed: u64) {
    let bytes = noise(1000 + seed, 4 * MIB);
    let digest = hub.put_blob("library/other", bytes.clone());
    assert!(client.get(&format!("/v2/library/other/blobs/{digest}")).await.whole() == bytes);
}

/// As if the file had last been used so long ago.
fn used_before(file: &Path, age: Duration) {
    let opened = std::fs::OpenOptions::new().write(true).open(file).expect("it is stored");
    opened.set_modified(SystemTime::now() - age).expect("the file system keeps times");
}

/// Looks without a pause how much of a file system is taken.
struct Most {
    end: Arc<AtomicBool>,
    watching: JoinHandle<u64>,
}

impl Most {
    fn watch(tmpfs: Tmpfs) -> Self {
        let end = Arc::<AtomicBool>::default();
        let watching = std::thread::spawn({
            let end = end.clone();
            move || {
                let mut most = 0;
                while !end.load(Ordering::Relaxed) {
                    most = most.max(tmpfs.used());
                    std::thread::yield_now();
                }
                most
            }
        });
        Self { end, watching }
    }

    fn end(self) -> u64 {
        self.end.store(true, Ordering::Relaxed);
        self.watching.join().expect("no panic")
    }
}
