//! "kill -9 at any moment loses nothing that was stored and serves nothing that was half stored."

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use reqwest::Method;
use tests::client::Client;
use tests::dice::Dice;
use tests::disk::{allocated, published, wait_for_empty_spool};
use tests::hub::{Digest, Hub, ImageInfo, KIB, Kind, MIB, on};
use tests::operator::Operator;
use tests::program::Program;
use tokio::task::JoinSet;

/// Images whose manifest a client has had whole.
type Served = Arc<Mutex<HashSet<Digest>>>;

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random_moments_it_keeps_what_it_published_and_serves_nothing_half() {
    const ROUNDS: u64 = 15;
    let (hub, mut dice, served) = (Hub::start(), Dice::new(), Served::default());
    hub.quota(None, None);
    let mut mirror = Program::of_hub(&hub.url()).store(", scrub_rate: off").start();
    let (mut images, mut looked_at) = (Vec::new(), 0);
    for round in 0..ROUNDS {
        let fresh = push(&hub, &mut dice, round, 4);
        images.extend(fresh.iter().cloned());
        hub.forget();
        let load = load(&mirror, &mut dice, &fresh, &images, &served);
        sent(&hub, &mut dice, &fresh).await;
        let kept: HashSet<String> = published(&mirror.store()).into_iter().collect();
        mirror = killed(mirror, load).await;

        let now: HashSet<String> = published(&mirror.store()).into_iter().collect();
        assert!(kept.is_subset(&now), "round {round} lost {:?}", kept.difference(&now));
        hub.forget();
        let client = Client::new(mirror.url());
        let known = served.lock().expect("no panic").clone();
        for image in images.iter().filter(|image| known.contains(&image.digest) && kept.contains(image.digest.hex())) {
            let manifest = client.get(&format!("/v2/{}/manifests/{}", image.repository, image.digest)).await.whole();
            assert!(manifest == image.manifest);
            for blob in image.blobs().filter(|blob| now.contains(blob.digest.hex())) {
                let bytes = client.get(&format!("/v2/{}/blobs/{}", image.repository, blob.digest)).await.whole();
                assert_eq!(Digest::sha256(&bytes), blob.digest, "round {round}");
                looked_at += 1;
            }
        }
        let counts = hub.count();
        let fetched = counts.gets(Kind::Cdn) + counts.gets(Kind::Manifest);
        assert_eq!(fetched, 0, "what is stored needs no Hub: {}", counts.summary());
    }
    assert!(looked_at > 100, "{looked_at} blobs survived kills");
    pull_all(&mirror, &images).await;
    hub.forget();
    pull_all(&mirror, &images).await;
    assert_eq!(hub.count().gets(Kind::Cdn), 0, "{}", hub.count().summary());
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_it_evicts_it_is_within_its_cap_after_and_serves_every_image_right() {
    const ROUNDS: u64 = 8;
    const CAP: u64 = 8 * MIB as u64;
    let (hub, mut dice, served) = (Hub::start(), Dice::new(), Served::default());
    hub.quota(None, None);
    let mut mirror = Program::of_hub(&hub.url()).store(", scrub_rate: off, max_size: 8MiB").start();
    let mut images = Vec::new();
    for round in 0..ROUNDS {
        let fresh = push(&hub, &mut dice, round, 6);
        images.extend(fresh.iter().cloned());
        hub.forget();
        let load = load(&mirror, &mut dice, &fresh, &images, &served);
        sent(&hub, &mut dice, &fresh).await;
        mirror = killed(mirror, load).await;
        Operator::of(&mirror).wait_for_metric("chandler_store_scanned", 1).await;
        let taken = allocated(&mirror.store());
        assert!(taken <= CAP, "round {round}: {taken} bytes with a cap of {CAP}");
    }
    pull_all(&mirror, &images).await;
}

/// New images of random sizes, small blobs and large ones.
fn push(hub: &Hub, dice: &mut Dice, round: u64, count: u64) -> Vec<ImageInfo> {
    let one = |number| {
        let layers = [KIB..10 * KIB, 60 * KIB..400 * KIB, MIB..2 * MIB].map(|size| dice.roll(size.start as u64..size.end as u64) as usize);
        hub.image(&format!("library/r{round}-{number}")).tag("1").seed(1000 * round + number + 1).layers(layers).push()
    };
    (0..count).map(one).collect()
}

/// Two clients for each new image, and some for old ones; they end when the mirror does.
fn load(mirror: &Program, dice: &mut Dice, fresh: &[ImageInfo], all: &[ImageInfo], served: &Served) -> JoinSet<()> {
    let old = (0..fresh.len()).map(|_| dice.pick(all).clone()).collect::<Vec<_>>();
    let mut load = JoinSet::new();
    for image in fresh.iter().chain(fresh).chain(&old) {
        let (client, image, served) = (Client::new(mirror.url()), image.clone(), served.clone());
        load.spawn(async move { while pulled(&client, &image, &served).await {} });
    }
    load
}

/// Pulls until something breaks. What comes whole must be right, at every moment.
async fn pulled(client: &Client, image: &ImageInfo, served: &Served) -> bool {
    let manifest = format!("/v2/{}/manifests/{}", image.repository, image.digest);
    if !is_whole(client, &manifest, &image.digest).await {
        return false;
    }
    served.lock().expect("no panic").insert(image.digest.clone());
    for blob in image.blobs() {
        if !is_whole(client, &format!("/v2/{}/blobs/{}", image.repository, blob.digest), &blob.digest).await {
            return false;
        }
    }
    true
}

async fn is_whole(client: &Client, path: &str, digest: &Digest) -> bool {
    let Ok(answer) = client.request(Method::GET, path).send().await else { return false };
    let status = answer.status();
    let Ok(bytes) = answer.bytes().await else { return false };
    assert!(!status.is_success() || Digest::sha256(&bytes) == *digest, "a whole body of {path} is wrong");
    status.is_success()
}

/// Waits until the Hub has sent a random share of the new images: any moment of a download, of the last commits too.
async fn sent(hub: &Hub, dice: &mut Dice, fresh: &[ImageInfo]) {
    let total: u64 = fresh.iter().flat_map(ImageInfo::blobs).map(|blob| blob.size).sum();
    let moment = dice.roll(1..total + 1);
    hub.wait_for(|counts| counts.bytes(on(Kind::Cdn)) >= moment).await;
}

/// kill -9 and a new start; the clients end with the old process, none of them with a wrong body.
async fn killed(mirror: Program, mut load: JoinSet<()>) -> Program {
    let mirror = mirror.crash_and_restart();
    while let Some(ended) = load.join_next().await {
        ended.expect("no client had a wrong body");
    }
    wait_for_empty_spool(&mirror.store()).await;
    mirror
}

async fn pull_all(mirror: &Program, images: &[ImageInfo]) {
    let client = Client::new(mirror.url());
    for image in images {
        assert_eq!(client.pull(&image.repository, image.digest.as_str()).await.len(), image.blobs().count());
    }
}
