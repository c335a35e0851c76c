//! `BuildKit` by itself behind the mirror, by `buildkitd.toml`: builds on public and private bases, by tag and by digest, again while the Hub is down,
//! and with the mirror's own CA.

use std::fs;

use tempfile::TempDir;
use tests::engine::BuildKit;
use tests::hub::{Kind, on};

use super::{ACCOUNT, Site};

/// Images with a shell, and one of every other shape of manifest.
const RUNNABLE: [&str; 2] = ["library/plain", "acme/secret"];
const OTHERS: [&str; 4] = ["library/docker", "library/multi", "library/list", "library/attested"];

#[tokio::test(flavor = "multi_thread")]
async fn buildkitd_builds_on_every_kind_of_base_and_again_while_the_hub_is_down() {
    let Some(site) = Site::start() else { return };
    let Some(buildkit) = BuildKit::start(site.machine()).await else { return };
    for repository in RUNNABLE {
        for reference in references(&site, repository) {
            builds_on(&buildkit, &reference).await;
        }
    }
    for repository in OTHERS {
        for reference in references(&site, repository) {
            copies_from(&buildkit, &reference).await;
        }
    }
    site.assert_only_the_mirror_asked();
    site.assert_one_download_of(&RUNNABLE);
    let counts = site.hub.count();
    let private = counts.list(on(Kind::Manifest).repo("acme/secret").method("GET"));
    assert!(!private.is_empty() && private.iter().all(|seen| seen.account.as_deref() == Some(ACCOUNT)), "{}", counts.summary());

    buildkit.prune().await.expect_success();
    site.hub.forget();
    site.hub.down();
    for repository in RUNNABLE {
        builds_on(&buildkit, &format!("{repository}:1")).await;
    }
    for repository in OTHERS {
        copies_from(&buildkit, &format!("{repository}:1")).await;
    }
    assert_eq!(site.hub.count().all().len(), 0);
    site.tap.assert_all_proper();

    // "'The mirror is used' is proved by a pull that only the mirror can answer, never assumed."
    let nonce = site.nonce();
    copies_from(&buildkit, &format!("chandler-canary/{nonce}:latest")).await;
    let receipt = site.receipt(&nonce).await;
    assert!(["manifest", "config", "layer"].iter().all(|what| receipt.contains(what)), "{receipt}");
}

/// The image by its tag and by its digest.
fn references(site: &Site, repository: &str) -> [String; 2] {
    let image = site.images.iter().find(|image| image.repository == repository).expect("it is in stock");
    [format!("{repository}:1"), format!("{repository}@{}", image.digest)]
}

/// Runs a program of the base.
async fn builds_on(buildkit: &BuildKit, base: &str) {
    let step = "RUN [\"/bin/sh\", \"-c\", \"echo built >/result\"]";
    let built = build(buildkit, &format!("FROM {base} AS build\n{step}\nFROM scratch\nCOPY --from=build /result /\n")).await;
    assert_eq!(fs::read_to_string(built.path().join("out/result")).expect("it was built"), "built\n", "{base}");
}

/// Takes all files of the base, which need not be able to run.
pub(super) async fn copies_from(buildkit: &BuildKit, base: &str) {
    let built = build(buildkit, &format!("FROM {base}\n")).await;
    assert!(fs::read_dir(built.path().join("out")).expect("it was built").count() > 0, "{base} has files");
}

async fn build(buildkit: &BuildKit, dockerfile: &str) -> TempDir {
    let context = TempDir::with_prefix("chandler-build-").expect("a folder can be made");
    fs::write(context.path().join("Dockerfile"), dockerfile).expect("it can be written");
    buildkit.build(context.path(), &context.path().join("out")).await.expect_success();
    context
}
