//! buildkitd by itself, which reads `buildkitd.toml` when it starts and at no other time: whatever waits for a restart is told, and nobody but the operator restarts it.

use std::fs;

use tempfile::TempDir;
use tests::engine::{Answer, BuildKit, MachineConfig};

use super::{Operator, assert_runs_on, assert_says, mark};
use crate::real_engines::Site;

#[tokio::test(flavor = "multi_thread")]
async fn buildkitd_is_put_behind_the_mirror_by_one_command_and_taken_out_by_one_and_what_waits_for_its_restart_is_told() {
    let Some(site) = Site::start() else { return };
    let Some(mut buildkit) = BuildKit::start_after(MachineConfig::default(), |machine| mark(machine, CONFIG)).await else { return };
    let Some(()) = buildkit.machine().install_tools(["buildkitd", "buildctl", "runc"]).await else { return };
    let runs = buildkit.machine().running("buildkitd");
    let operator = Operator::of(buildkit.machine(), &site);
    let past = format!("pending restart: BuildKit: {CONFIG}: buildkitd reads it when it starts: builds pull past the mirror until then");

    operator.plans(&[&format!("+++ {CONFIG}"), &past]).await;
    operator.applies(&[&format!("{CONFIG} is changed"), &past]).await;
    build(&buildkit).await.expect_failure();
    assert!(!buildkit.machine().take_bypasses().is_empty(), "as it said");
    operator.disproves("BuildKit").await;
    buildkit.machine().take_bypasses();
    assert_says(&operator.has_nothing_left_to_do().await, &[&past]);
    assert_runs_on(buildkit.machine(), "buildkitd", &runs);

    let Operator { before, .. } = operator;
    buildkit.restart().await;
    let runs = buildkit.machine().running("buildkitd");
    let operator = Operator { before, ..Operator::of(buildkit.machine(), &site) };
    assert_eq!(operator.has_nothing_left_to_do().await, "", "nothing waits any more");
    build(&buildkit).await.expect_success();
    operator.proves("BuildKit").await;
    operator.is_well().await;
    site.assert_only_the_mirror_asked();
    assert_eq!(buildkit.machine().take_bypasses(), [""; 0], "nothing went past the mirror");
    let left = buildkit.buildctl(["du", "--verbose"]).await.expect_success();
    assert!(left.contains("acme/secret") && !left.contains("canary"), "{left}");

    let through =
        format!("pending restart: BuildKit: {CONFIG}: buildkitd reads it when it starts: builds pull through the mirror until then");
    operator.undoes(&[&format!("{CONFIG} is changed"), &through]).await;
    buildkit.prune().await.expect_success();
    build(&buildkit).await.expect_success();
    assert_eq!(buildkit.machine().take_bypasses(), [""; 0], "as it said");
    assert_runs_on(buildkit.machine(), "buildkitd", &runs);
    drop(operator);

    buildkit.restart().await;
    buildkit.prune().await.expect_success();
    build(&buildkit).await.expect_failure();
    assert!(!buildkit.machine().take_bypasses().is_empty(), "it asks the Hub itself again");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_buildkitd_that_nobody_restarted_an_undo_says_that_it_goes_on_by_what_it_read() {
    let Some(site) = Site::start() else { return };
    let Some(buildkit) = BuildKit::start(MachineConfig::default()).await else { return };
    let Some(()) = buildkit.machine().install_tools(["buildkitd", "buildctl", "runc"]).await else { return };
    let operator = Operator::of(buildkit.machine(), &site);
    operator.applies(&["pending restart"]).await;
    operator.undoes(&[&format!("{CONFIG} is changed"), "pending restart", "builds go on by what it read before"]).await;
    build(&buildkit).await.expect_failure();
    assert!(!buildkit.machine().take_bypasses().is_empty(), "it never was behind the mirror");
}

/// A build on a private image, by somebody without a login.
async fn build(buildkit: &BuildKit) -> Answer {
    let context = TempDir::with_prefix("chandler-build-").expect("a folder can be made");
    fs::write(context.path().join("Dockerfile"), "FROM acme/secret:1\nRUN [\"/bin/sh\", \"-c\", \"echo built >/result\"]\n")
        .expect("written");
    buildkit.build(context.path(), &context.path().join("out")).await
}

const CONFIG: &str = "/etc/buildkit/buildkitd.toml";
