//! "A machine that reaches nothing but the mirror gets chandler from it: `/chandler/bin/OS-ARCH`, with its digest."

use std::fs;

use tests::client::Client;
use tests::hub::{Digest, Hub};
use tests::program::{Program, program_path};

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_gets_the_program_from_the_mirror_whatever_access_says_and_can_run_it() {
    let hub = Hub::start();
    // Images are for others.
    let mirror = Program::of_hub(&hub.url()).config("access: [192.0.2.0/24]").start();
    let name = format!("linux-{}", if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" });
    let client = Client::new(mirror.url());
    let program = client.get(&format!("/chandler/bin/{name}")).await.whole();
    assert!(program == fs::read(program_path()).expect("it was started from there"), "{} bytes", program.len());
    let line = client.get(&format!("/chandler/bin/{name}.sha256")).await.whole();
    let digest = Digest::sha256(&program);
    assert_eq!(String::from_utf8_lossy(&line), format!("{}  {name}\n", digest.as_str().trim_start_matches("sha256:")));
    let other = client.get("/chandler/bin/plan9-vax").await;
    assert_eq!(other.status, 404);
}
