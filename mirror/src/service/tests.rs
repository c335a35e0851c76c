//! A whole mirror in this process: how it starts, changes and ends. Its upstream is never there.

use std::time::Duration;

use tempfile::TempDir;
use tokio::time::timeout;

use super::*;
use crate::config::{Sources, resolve};

/// A configuration in a folder of its own, with these lines in it.
fn config(folder: &TempDir, lines: &str) -> Config {
    let store = folder.path().display();
    let text = format!(
        "upstreams: [{{name: docker.io, url: \"http://127.0.0.1:1\"}}]\nstore: {{path: \"{store}\", min_free: 1MiB}}\n\
         log: {{access: false}}\n{lines}"
    );
    resolve(&Sources::yaml(&text)).unwrap_or_else(|problems| panic!("{text}\n{problems}")).config
}

fn folder() -> TempDir {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    TempDir::with_prefix("chandler-service-").expect("a folder")
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_whatever_hangs() {
    let folder = folder();
    let config = config(&folder, "listeners: [\"127.0.0.1:0\"]\nadmin: {address: \"127.0.0.1:0\"}");
    let running = Mirror::bind(&config, Vec::new()).expect("bound").spawn();
    let Parts { admin, background, listening, .. } = &running.parts;
    for tasks in [listening, background, admin] {
        tasks.tracker.spawn(std::future::pending::<()>());
    }
    timeout(Duration::from_hours(1), running.drain()).await.expect("it ends");
}
