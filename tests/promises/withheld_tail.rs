//! "No client ever completes a whole body whose digest is wrong: the tail (at least 64 KiB, a small blob whole, so that it gets a true status) is held
//! back until the hash is checked, in ranges that touch the end too."
//!
//! A body that breaks off is not enough: one withheld byte would do that, and what came before it would be unpacked already. So the bytes that came
//! are counted. Over HTTP/2 `http2` does the same.

use std::fs;
use std::os::unix::fs::FileExt as _;

use reqwest::Method;
use tests::client::{Client, Open};
use tests::disk::{blob_file, restarted_after, wait_for_blob};
use tests::hub::{Digest, Fault, Hub, KIB, Kind, MIB, noise, on};
use tests::operator::Operator;
use tests::program::{Builder, Program};

const SIZE: usize = 4 * MIB;
/// What is withheld, at least.
pub(super) const TAIL: usize = 64 * KIB;

/// A Hub whose blob ends with a wrong byte, and the way to it.
struct Wrong {
    digest: Digest,
    hub: Hub,
    path: String,
    size: usize,
}

impl Wrong {
    fn of(size: usize) -> Self {
        let hub = Hub::start();
        let digest = hub.put_blob("library/app", noise(17, size));
        hub.faults().set(Fault::FlipLastByte, on(Kind::Cdn));
        Self { path: format!("/v2/library/app/blobs/{digest}"), digest, hub, size }
    }

    fn mirror(&self) -> Builder {
        Program::of_hub(&self.hub.url())
    }
}

impl Wrong {
    /// The bytes that come to a client of an answer which must break off; what ends before its headers has brought none. The upstream's last byte is
    /// held back until all that may go out before has had its time.
    async fn bytes_of(&self, client: &Client, range: Option<&str>) -> usize {
        self.hub.forget();
        let gate = self.hub.hold_at(self.size as u64 - 1, on(Kind::Cdn));
        let mut request = client.request(Method::GET, &self.path);
        if let Some(range) = range {
            request = request.header("range", range);
        }
        let asked = tokio::spawn({
            let client = client.clone();
            async move { client.begin(request).await }
        });
        self.hub.wait_for(|counts| counts.bytes(on(Kind::Cdn)) == self.size as u64 - 1).await;
        for _ in 0..50 {
            client.get("/v2/").await.whole(); // A clock: whoever serves these has had the time to send what it has.
        }
        gate.release();
        came(asked.await.expect("no panic"), range.unwrap_or("whole")).await
    }
}

async fn came(answer: Result<Open, reqwest::Error>, about: &str) -> usize {
    let Ok(answer) = answer else { return 0 };
    assert!(answer.status().is_success() || answer.status().is_server_error(), "{about}: {}", answer.status());
    if answer.status().is_server_error() {
        return 0;
    }
    answer.before_the_break().await.unwrap_or_else(|| panic!("{about}: a whole body whose digest is wrong"))
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_wrong_blob_all_but_the_tail_comes_and_of_the_tail_nothing() {
    let wrong = Wrong::of(SIZE);
    let gate = wrong.hub.hold_at(SIZE as u64 - 1, on(Kind::Cdn));
    let mirror = wrong.mirror().start();
    let mut reader = Client::new(mirror.url()).open(&wrong.path).await;
    // All but the last byte is there: what goes out before the hash is known goes out now.
    let came = reader.take(SIZE - 2 * TAIL).await.len();
    wrong.hub.wait_for(|counts| counts.bytes(on(Kind::Cdn)) == SIZE as u64 - 1).await;
    gate.release();
    let came = came + reader.before_the_break().await.expect("a wrong blob breaks off");
    assert!(came <= SIZE - TAIL, "{came} bytes of {SIZE} came");
    let mismatches = Operator::of(&mirror).metric("chandler_flight_failures_total{cause=\"digest_mismatch\"}").await;
    assert_eq!(mismatches, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_that_touches_the_end_of_a_wrong_blob_has_nothing_of_its_tail() {
    let wrong = Wrong::of(SIZE);
    let mirror = wrong.mirror().start();
    let client = Client::new(mirror.url());
    for start in [SIZE - 1, SIZE - 500, SIZE - TAIL, SIZE - TAIL - 1000, MIB, 1] {
        for range in [format!("bytes={start}-"), format!("bytes=-{}", SIZE - start), format!("bytes={start}-{}", SIZE - 1)] {
            let came = wrong.bytes_of(&client, Some(&range)).await;
            assert!(came <= (SIZE - TAIL).saturating_sub(start), "{came} bytes of {range}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_within_the_tail_of_a_wrong_blob_has_not_a_byte() {
    let wrong = Wrong::of(SIZE);
    let mirror = wrong.mirror().start();
    let client = Client::new(mirror.url());
    for range in [format!("bytes={}-{}", SIZE - TAIL, SIZE - 2), format!("bytes={}-{}", SIZE - 500, SIZE - 400)] {
        assert_eq!(wrong.bytes_of(&client, Some(&range)).await, 0, "{range}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_is_little_longer_than_its_tail_gives_no_more_than_that_little() {
    for longer in [1, 1000, TAIL] {
        let wrong = Wrong::of(TAIL + longer);
        let mirror = wrong.mirror().start();
        let came = wrong.bytes_of(&Client::new(mirror.url()), None).await;
        assert!(came <= longer, "{came} bytes, where the tail leaves {longer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tail_is_withheld_where_nobody_knows_the_size() {
    let wrong = Wrong::of(SIZE);
    wrong.hub.faults().set(Fault::NoContentLength, on(Kind::Cdn));
    let mirror = wrong.mirror().start();
    let came = wrong.bytes_of(&Client::new(mirror.url()), None).await;
    assert!(came <= SIZE - TAIL, "{came} bytes of {SIZE} came");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tail_is_withheld_where_the_disk_has_no_room_for_the_blob() {
    const LARGE: usize = 12 * MIB;
    let wrong = Wrong::of(LARGE);
    let mirror = wrong.mirror().store(", max_size: 4MiB").start();
    let client = Client::new(mirror.url());
    for (range, most) in [("bytes=0-", LARGE - TAIL), ("bytes=-500", 0), ("bytes=1000-", LARGE - TAIL - 1000)] {
        // Nothing is held back here: what is passed through waits for its readers.
        let came = came(client.begin(client.request(Method::GET, &wrong.path).header("range", range)).await, range).await;
        assert!(came <= most, "{range}: {came} bytes of {LARGE} came");
    }
    mirror.wait_for_log("it is passed through");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tail_of_a_damaged_stored_blob_is_withheld_after_a_start_from_the_whole_and_from_parts() {
    for (range, start) in [("bytes=0-", 0), ("bytes=1000-", 1000), ("bytes=-500", SIZE - 500)] {
        let wrong = Wrong::of(SIZE);
        wrong.hub.faults().clear();
        let mirror = wrong.mirror().store(", scrub_rate: off").start();
        Client::new(mirror.url()).get(&wrong.path).await.whole();
        wait_for_blob(&mirror.store(), &wrong.digest).await;
        let mirror = restarted_after(mirror, |store| {
            let file = fs::OpenOptions::new().write(true).open(blob_file(store, &wrong.digest)).expect("it is stored");
            file.write_all_at(b"damage", MIB as u64).expect("it can be written");
        });
        wrong.hub.down(); // A mirror that has the right bytes by the end could give them.
        let client = Client::new(mirror.url());
        let mut request = client.request(Method::GET, &wrong.path);
        if start > 0 {
            request = request.header("range", range);
        }
        let came = came(client.begin(request).await, range).await;
        assert!(came <= (SIZE - TAIL).saturating_sub(start), "{range}: {came} bytes of {SIZE} came");
    }
}
