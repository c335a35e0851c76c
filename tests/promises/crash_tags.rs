//! "kill -9 at any moment loses nothing that was stored and serves nothing that was half stored": so it is with tags.
//!
//! Tags move all the time while clients pull by them. After each kill the Hub is down: every tag whose record had reached the disk is still served,
//! as something that it was, and whole.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

use reqwest::{Method, StatusCode};
use tests::client::Client;
use tests::dice::Dice;
use tests::hub::{Digest, Hub, ImageInfo, Kind, on};
use tests::program::Program;
use tokio::task::JoinSet;

const REPOS: u64 = 4;
const ROUNDS: u64 = 12;

/// Each repository with all that its tag ever was, in order.
type History = HashMap<String, Vec<ImageInfo>>;

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_whose_record_was_on_the_disk_is_served_after_kill_9_with_the_hub_down() {
    let (hub, mut dice, mut history) = (Hub::start(), Dice::new(), History::new());
    hub.quota(None, None);
    let mut mirror = Program::of_hub(&hub.url()).hub(", tag_window: 0s").store(", scrub_rate: off").start();
    let mut looked_at = 0;
    for round in 0..ROUNDS {
        hub.forget();
        let load = load(&mirror);
        move_tags(&hub, &mut dice, round, &mut history).await;
        let recorded: Vec<String> = history.keys().filter(|repo| record(&mirror, repo).is_file()).cloned().collect();
        mirror = killed(mirror, load).await;

        hub.down();
        let client = Client::new(mirror.url());
        for repo in &recorded {
            let answer = client.get(&format!("/v2/{repo}/manifests/latest")).await;
            assert_eq!(answer.status, StatusCode::OK, "round {round}: {repo} was recorded: {:?}", answer.body);
            assert!(answer.header("warning").starts_with("299 "), "{:?}", answer.headers);
            let digest = Digest::parse(answer.header("docker-content-digest")).expect("a digest");
            let was = history[repo].iter().find(|image| image.digest == digest);
            assert_eq!(Some(&answer.whole()), was.map(|image| &image.manifest), "round {round}: {repo} is something that it never was");
            looked_at += 1;
        }
        hub.up();
    }
    assert!(looked_at > 10, "{looked_at} tags survived kills");
    let client = Client::new(mirror.url());
    for (repo, images) in &history {
        let last = images.last().expect("each has one");
        let is_last = |answer: &tests::client::Answer| answer.header("docker-content-digest") == last.digest.as_str();
        client.until(&format!("/v2/{repo}/manifests/latest"), is_last).await;
    }
}

/// Moves each tag some times, while clients pull by them; ends at a random moment.
async fn move_tags(hub: &Hub, dice: &mut Dice, round: u64, history: &mut History) {
    for step in 0..dice.roll(1..5) {
        let repo = dice.roll(0..REPOS);
        let name = format!("library/moving{repo}");
        let image = hub.image(&name).tag("latest").seed(1 + round * 100 + step * 10 + repo).layers([4096]).push();
        history.entry(name).or_default().push(image);
        let answered = hub.count().of(on(Kind::Manifest));
        let more = dice.roll(1..20);
        hub.wait_for(|counts| counts.of(on(Kind::Manifest)) >= answered + more).await;
    }
}

/// Clients that ask for every tag without a pause; they end when the mirror does.
fn load(mirror: &Program) -> JoinSet<()> {
    let mut load = JoinSet::new();
    for repo in (0..REPOS).chain(0..REPOS) {
        let (client, path) = (Client::new(mirror.url()), format!("/v2/library/moving{repo}/manifests/latest"));
        load.spawn(async move {
            while let Ok(answer) = client.request(Method::GET, &path).send().await {
                let digest = answer.headers().get("docker-content-digest").and_then(|value| value.to_str().ok()).and_then(Digest::parse);
                let (status, Ok(bytes)) = (answer.status(), answer.bytes().await) else { return };
                assert!(!status.is_success() || Some(Digest::sha256(&bytes)) == digest, "a whole manifest that is another");
            }
        });
    }
    load
}

/// Where the store keeps what a tag points to.
fn record(mirror: &Program, repo: &str) -> PathBuf {
    mirror.store().join("repos/docker.io").join(repo).join("_tags/latest")
}

async fn killed(mirror: Program, mut load: JoinSet<()>) -> Program {
    let mirror = mirror.crash_and_restart();
    while let Some(ended) = load.join_next().await {
        ended.expect("no client had a wrong manifest");
    }
    let half = fs::read_dir(mirror.store().join("repos/docker.io/library")).into_iter().flatten().flatten();
    let half = half.filter_map(|repo| fs::read_dir(repo.path().join("_tags")).ok()).flatten().flatten();
    assert!(half.into_iter().all(|file| file.file_name() == "latest"), "a record that was half written is in the way");
    mirror
}
