//! "kill -9 at any moment loses nothing that was stored and serves nothing that was half stored."
//!
//! The child is this test again, in a process of its own: it stores, evicts and links as fast as it can and says what was published, until it is killed.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use super::*;

#[test]
fn kill_9_at_any_moment_loses_nothing_that_was_stored_and_serves_nothing_that_was_half_stored() {
    if let Some(root) = std::env::var_os(ROOT) {
        churn(Path::new(&root), std::env::var_os(CAPPED).is_some());
    }
    let (endless, tight) = (folder(), folder());
    let mut published = Vec::new();
    for round in 0..ROUNDS {
        let is_capped = round % 4 == 3;
        let root = if is_capped { tight.path() } else { endless.path() };
        // A different moment each time: after so many publications, and whatever the child does by the time the signal arrives.
        let said = run_and_kill(root, is_capped, 1 + round * 5 % 23);
        check(root, is_capped);
        if !is_capped {
            published.extend(said);
        }
    }
    assert!(published.len() > ROUNDS, "the children published something");
    let store = opened(&config(endless.path()));
    for digest in &published {
        assert!(store.blob(digest).is_some() || store.manifest(digest).is_some(), "{digest} was published and is lost");
    }
}

/// Every file has the content that its name says, and no partial file is left.
fn check(root: &Path, is_capped: bool) {
    let store = opened(&limits(root, is_capped));
    for digest in store.disk.index.digests() {
        let stored = store.blob(&digest).expect("scanned");
        assert_eq!(digest_of(&read(&stored)), digest);
    }
    assert_eq!(store.figures().quarantined, 0);
    assert!(files(&root.join("spool")).is_empty());
    assert_eq!(store.figures().allocated, du(root));
    let repository = repository(&store, "a/b");
    for tag in repository.tags() {
        let digest = repository.tag(&tag).expect("listed").digest;
        assert!(repository.record(&digest).is_some(), "a manifest is linked before a tag names it");
        assert!(is_capped || store.manifest(&digest).is_some(), "content comes before the record that names it");
    }
}

/// What the child said that it published, up to the moment of its death.
fn run_and_kill(root: &Path, is_capped: bool, lines: usize) -> Vec<Digest> {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args([
        "--exact",
        "store::tests::crash::kill_9_at_any_moment_loses_nothing_that_was_stored_and_serves_nothing_that_was_half_stored",
    ]);
    command.arg("--nocapture").env(ROOT, root).stdin(Stdio::null()).stdout(Stdio::piped());
    if is_capped {
        command.env(CAPPED, "1");
    }
    let mut child = command.spawn().expect("this program");
    let out = BufReader::new(child.stdout.take().expect("piped"));
    let mut published = Vec::new();
    // What it had written into the pipe before it died is read to the end.
    for line in out.lines() {
        published.extend(line.expect("text").strip_prefix("published ").and_then(|digest| digest.parse().ok()));
        if published.len() == lines {
            child.kill().expect("it runs");
        }
    }
    let status = child.wait().expect("it is ours");
    assert!(std::os::unix::process::ExitStatusExt::signal(&status) == Some(9), "the child ended by itself: {status}");
    published
}

/// Never ends.
fn churn(root: &Path, is_capped: bool) -> ! {
    let store = opened(&limits(root, is_capped));
    let start = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("later").as_nanos() as u64;
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let store = &store;
            scope.spawn(move || {
                let mut seed = start.wrapping_add(thread << 60);
                loop {
                    seed += 1;
                    one(store, seed);
                }
            });
        }
    });
    unreachable!("the threads never end")
}

fn one(store: &Store, seed: u64) {
    let bytes = content(seed, (seed % 7 * 30_000) as usize + 9);
    let digest = digest_of(&bytes);
    let Ok(mut spool) = store.spool(&digest, (!seed.is_multiple_of(3)).then_some(bytes.len() as u64)) else { return };
    for part in bytes.chunks(20_000) {
        if spool.append(part).is_err() {
            return;
        }
    }
    if seed.is_multiple_of(11) {
        return; // A download that was given up.
    }
    let Ok(stored) = spool.publish(ChildKind::Blob) else { return };
    say(&digest);
    let body = format!(r#"{{"layer":"{digest}"}}"#);
    let record = manifest(body.as_bytes(), vec![layer(&digest, stored.size())]);
    let repository = repository(store, "a/b");
    if store.put_manifest(&record.digest, body.as_bytes()).is_ok() && repository.link_manifest(&record).is_ok() {
        say(&record.digest);
        repository.set_tag(&tag(&format!("t{}", seed % 5)), &TagRecord { digest: record.digest, gone_since: None }).unwrap_or_default();
    }
}

/// On a line of its own, at once.
fn say(digest: &Digest) {
    use std::io::Write;
    let line = format!("published {digest}\n");
    std::io::stdout().write_all(line.as_bytes()).expect("the parent listens");
}

fn limits(root: &Path, is_capped: bool) -> StoreConfig {
    if is_capped { capped(root, 4 << 20) } else { config(root) }
}

const ROUNDS: usize = 48;
const ROOT: &str = "CHANDLER_TEST_CRASH_ROOT";
const CAPPED: &str = "CHANDLER_TEST_CRASH_CAPPED";
