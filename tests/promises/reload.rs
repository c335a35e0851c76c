//! "One upstream download per blob, however many clients ask at once, and whichever of them leave": also when the operator changes the configuration
//! in the middle of it.

use std::fs;

use tests::client::Client;
use tests::hub::{Hub, Kind, MIB, noise, on};
use tests::program::Program;

const SIZE: usize = 4 * MIB;

/// Changes the configuration and waits until it holds.
async fn reload(mirror: &Program, client: &Client, number: usize) {
    let text = fs::read_to_string(mirror.config()).expect("it was written");
    let other = format!("{{name: other{number}.test, url: \"http://127.0.0.{}:9\"}}", 10 + number);
    // Beside what is not downloaded from, all that can change for what is: its window, its patterns.
    let text = text.replacen("}]\nstore", &format!("}}, {other}]\nstore"), 1);
    let text = text.replacen("{name: docker.io,", &format!("{{name: docker.io, tag_window: {}s,", number + 2), usize::from(number == 0));
    fs::write(mirror.config(), text).expect("it is ours");
    mirror.signal("HUP");
    let asked = format!("/v2/x/manifests/1?ns=other{number}.test");
    client.until(&asked, |answer| answer.status.is_server_error()).await; // Until then it is no registry that is mirrored: 404.
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_in_the_middle_of_a_download_ends_nothing_and_starts_nothing_anew() {
    let (hub, bytes) = (Hub::start(), noise(43, SIZE));
    let path = format!("/v2/library/app/blobs/{}", hub.put_blob("library/app", bytes.clone()));
    let mirror = Program::of_hub(&hub.url()).start();
    let client = Client::new(mirror.url());
    let gate = hub.hold_at(MIB as u64, on(Kind::Cdn));
    let mut readers = Vec::new();
    for number in 0..3 {
        let mut reader = client.open(&path).await;
        readers.push((reader.take(MIB - 200_000).await, reader));
        reload(&mirror, &client, number).await;
    }
    // Who comes after the last of them joins, too; and a stop of the old parts must not wait for the download, nor end it.
    let mut late = client.open(&path).await;
    readers.push((late.take(1000).await, late));
    assert_eq!(hub.count().running(on(Kind::Cdn)), 1, "{}", hub.count().summary());
    gate.release();
    for (first, reader) in readers {
        assert!([&first[..], &reader.rest().await.expect("the rest")].concat() == bytes);
    }
    let counts = hub.count();
    assert_eq!((counts.gets(Kind::Cdn), counts.bytes(on(Kind::Cdn))), (1, SIZE as u64), "{}", counts.summary());
    hub.down();
    assert!(client.get(&path).await.whole() == bytes, "and it was stored");
}
