//! `docker build` through the mirror, classic and with `BuildKit`, on a public and on a private base.

use std::fs;

use tempfile::TempDir;
use tests::engine::{Builder, Dockerd, Release};
use tests::hub::{Kind, on};

use super::{ACCOUNT, Site};

#[tokio::test(flavor = "multi_thread")]
async fn docker_20_builds_on_public_and_private_bases_without_a_login() {
    docker_builds_on_public_and_private_bases(Release::V20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_29_builds_on_public_and_private_bases_without_a_login() {
    docker_builds_on_public_and_private_bases(Release::V29).await;
}

async fn docker_builds_on_public_and_private_bases(release: Release) {
    let Some(site) = Site::start() else { return };
    let Some(docker) = Dockerd::start(release, site.machine()).await else { return };
    let context = TempDir::new().expect("a folder can be made");
    for base in ["plain:1", "acme/secret:1"] {
        for builder in [Builder::Classic, Builder::BuildKit] {
            let words = format!("FROM {base}\nRUN [\"/bin/sh\", \"-c\", \"echo built on {base} >/result\"]\n{SHOW}");
            fs::write(context.path().join("Dockerfile"), words).expect("it can be written");
            docker.build(builder, context.path(), "built:1").await.expect_success();
            assert_eq!(docker.run(["built:1"]).await.expect_success(), format!("built on {base}\n"));
            // The next builder has to ask for the base itself.
            docker.rmi("built:1").await.expect_success();
            docker.rmi(base).await;
        }
    }
    site.assert_only_the_mirror_asked();
    let counts = site.hub.count();
    let private = counts.list(on(Kind::Manifest).repo("acme/secret").method("GET"));
    assert!(!private.is_empty() && private.iter().all(|seen| seen.account.as_deref() == Some(ACCOUNT)), "{}", counts.summary());
}

const SHOW: &str = "ENTRYPOINT [\"/bin/sh\", \"-c\", \"read -r line </result; echo $line\"]\n";
