//! A machine that gets chandler itself from the mirror at its first boot, by its digest, and is put behind the mirror by it.

use std::fs;

use cloud_init::user_data::{Order, user_data};
use cloud_init::{Engine, Means, Provision};
use tests::engine::{MachineConfig, Podman};
use tests::hub::Digest;
use tests::newborn::Newborn;
use tests::program::program_path;
use tests::tools;

use super::engines::{alone, pulls, site};
use super::{order, valid, wish};

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_fetches_chandler_which_puts_it_behind_the_mirror() {
    if cfg!(not(target_arch = "x86_64")) || tools::require("curl").is_none() {
        return;
    }
    let Some(newborn) = Newborn::conceive(&MachineConfig::default()).await else { return };
    let (_hub, mirror) = site();
    let program = fs::read(program_path()).expect("it was started from there");
    let document = document(mirror.url(), Digest::sha256(&program).as_str());
    valid(&newborn, &document).await;
    let boot = newborn.boot(document.as_bytes()).await;
    assert!(newborn.has("/etc/chandler/first-boot-done"), "{}", boot.output);
    boot.assert_clean();
    assert!(fs::read(newborn.machine().inside("/usr/local/bin/chandler")).expect("fetched") == program);
    fs::remove_file(newborn.machine().inside("/usr/local/bin/chandler")).expect("it is there");
    newborn.boot_again().await.assert_clean();
    assert!(!newborn.has("/usr/local/bin/chandler"), "once done, it is the operator's");

    let Some(podman) = Podman::start_on(newborn.into_machine(), &MachineConfig::default()) else { return };
    pulls(async |image| podman.pull(image).await, &mirror).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_not_the_one_that_was_meant_is_not_run() {
    if cfg!(not(target_arch = "x86_64")) || tools::require("curl").is_none() {
        return;
    }
    let Some(newborn) = Newborn::conceive(&MachineConfig::default()).await else { return };
    let (_hub, mirror) = site();
    let boot = newborn.boot(document(mirror.url(), &"ab".repeat(32)).as_bytes()).await;
    assert!(boot.output.contains("is not the program that was meant: its digest is another"), "{}", boot.output);
    assert!(!newborn.has("/usr/local/bin/chandler") && !newborn.has("/usr/local/bin/.chandler.new"));
}

fn document(mirror: &str, digest: &str) -> String {
    let provision = Provision { means: Means::Agent(digest.parse().expect("a digest")), ..alone("/etc/unused", "") };
    let wish = wish(mirror);
    user_data(&Order { engines: &[Engine::Podman], ..order(&provision, &wish) }).expect("made")
}
