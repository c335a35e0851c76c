//! "No client ever completes a whole body whose digest is wrong: the tail (at least 64 KiB, a small blob whole, so that it gets a true status) is held
//! back until the hash is checked, in ranges that touch the end too; nothing unverified is stored; a stored blob is hashed again at its first full
//! read after a start, and by a slow scrub."
//!
//! Here: what an upstream sends wrong. Damage on our own disk is `damaged_store`'s subject.

use reqwest::Method;
use tests::client::Client;
use tests::disk::{published, wait_for_empty_spool};
use tests::hub::{Digest, Fault, Hub, KIB, Kind, MIB, noise, on};
use tests::operator::Operator;
use tests::program::Program;

/// A Hub with one blob, a mirror of it, and the blob's path.
struct Setting {
    bytes: bytes::Bytes,
    client: Client,
    hub: Hub,
    mirror: Program,
    path: String,
}

impl Setting {
    fn of_blob(size: usize) -> Self {
        let (hub, bytes) = (Hub::start(), noise(11, size));
        let path = format!("/v2/library/app/blobs/{}", hub.put_blob("library/app", bytes.clone()));
        let mirror = Program::of_hub(&hub.url()).start();
        Self { bytes, client: Client::new(mirror.url()), hub, mirror, path }
    }

    /// A large blob's body breaks off and nothing stays; mended, the next request has it all.
    async fn breaks_off_with(size: usize, fault: Fault) {
        let setting = Self::of_blob(size);
        let rule = setting.hub.faults().set(fault.clone(), on(Kind::Cdn));
        // What breaks before much was sent may take the headers with it.
        if let Ok(answer) = setting.client.request(Method::GET, &setting.path).send().await {
            let status = answer.status();
            assert!(answer.bytes().await.is_err() || status.is_server_error(), "{fault:?}: {status} with a whole body");
        }
        setting.recovers_after(|hub| hub.faults().remove(rule)).await;
    }

    /// A request for it is refused as it should be, before a byte of it is sent.
    async fn is_refused_with(size: usize, fault: Fault) {
        let setting = Self::of_blob(size);
        let rule = setting.hub.faults().set(fault.clone(), on(Kind::Cdn));
        let answer = setting.client.get(&setting.path).await;
        assert_eq!(answer.status, 502, "{fault:?}");
        assert_eq!(answer.code(), "UNAVAILABLE", "{fault:?}");
        setting.recovers_after(|hub| hub.faults().remove(rule)).await;
    }

    async fn recovers_after(self, mend: impl FnOnce(&Hub)) {
        wait_for_empty_spool(&self.mirror.store()).await;
        assert_eq!(published(&self.mirror.store()), Vec::<String>::new(), "nothing unverified is stored");
        mend(&self.hub);
        self.hub.forget();
        assert!(self.client.get(&self.path).await.whole() == self.bytes);
        let counts = self.hub.count();
        assert_eq!(counts.gets(Kind::Cdn), 1, "{}", counts.summary());
    }

    /// A fault that a client need not notice.
    async fn does_not_matter(size: usize, fault: Fault) {
        let setting = Self::of_blob(size);
        setting.hub.faults().set(fault.clone(), on(Kind::Cdn));
        assert!(setting.client.get(&setting.path).await.whole() == setting.bytes, "{fault:?}");
        assert_eq!(setting.hub.count().gets(Kind::Cdn), 1, "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_always_cuts_at_the_same_byte_breaks_the_body_and_leaves_nothing() {
    let setting = Setting::of_blob(4 * MIB);
    let first = setting.hub.faults().set(Fault::CutAt(MIB as u64), on(Kind::Cdn).times(1));
    let rest = setting.hub.faults().set(Fault::Drop, on(Kind::Cdn).skip(1));
    let mut reader = setting.client.open(&setting.path).await;
    assert_eq!(reader.status(), 200);
    reader.take(MIB - 100_000).await;
    assert!(reader.rest().await.is_err(), "the connection ends short of Content-Length");
    setting
        .recovers_after(|hub| {
            hub.faults().remove(first);
            hub.faults().remove(rest);
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_closes_without_a_word_is_a_bad_gateway() {
    Setting::is_refused_with(4 * MIB, Fault::Drop).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_ends_short_and_clean_is_no_blob() {
    Setting::breaks_off_with(4 * MIB, Fault::EndChunkedAt(0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_end_in_the_middle_of_a_blob_whose_size_nobody_knows_does_not_make_it_whole() {
    // No manifest names it and no header says its size: the clean end looks like the end, and only the hash tells.
    let setting = Setting::of_blob(4 * MIB);
    let rule = setting.hub.faults().set(Fault::EndChunkedAt(MIB as u64), on(Kind::Cdn));
    let answer = setting.client.get(&setting.path).await;
    assert!(answer.status.is_server_error() || answer.body.is_err(), "{} with a whole body", answer.status);
    setting.recovers_after(|hub| hub.faults().remove(rule)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_cuts_each_answer_still_brings_the_blob_part_by_part() {
    let setting = Setting::of_blob(4 * MIB);
    setting.hub.faults().set(Fault::CutAt(MIB as u64), on(Kind::Cdn));
    assert!(setting.client.get(&setting.path).await.whole() == setting.bytes);
    let counts = setting.hub.count();
    assert_eq!((counts.gets(Kind::Cdn), counts.bytes(on(Kind::Cdn))), (4, 4 * MIB as u64), "{}", counts.summary());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_byte_in_the_middle_breaks_the_body_and_leaves_nothing_and_is_counted() {
    let setting = Setting::of_blob(4 * MIB);
    let rule = setting.hub.faults().set(Fault::FlipByte(2 * MIB as u64), on(Kind::Cdn));
    assert!(setting.client.get(&setting.path).await.body.is_err());
    let failures = Operator::of(&setting.mirror).metric("chandler_flight_failures_total").await;
    assert!(failures >= 1, "{failures}");
    setting.recovers_after(|hub| hub.faults().remove(rule)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_blob_that_is_wrong_has_a_true_status_and_not_a_byte() {
    for size in [1, 3000, 64 * KIB] {
        Setting::is_refused_with(size, Fault::FlipLastByte).await;
    }
    Setting::breaks_off_with(64 * KIB + 1, Fault::FlipLastByte).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_page_is_no_blob() {
    for size in [3000, 4 * MIB] {
        Setting::is_refused_with(size, Fault::Html).await;
        Setting::is_refused_with(size, Fault::ContentType("text/html; charset=utf-8")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_answer_is_refused_since_its_bytes_are_not_the_blobs() {
    Setting::is_refused_with(4 * MIB, Fault::Gzip).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_content_type_or_a_missing_header_does_not_matter_where_the_digest_is_right() {
    for size in [3000, 4 * MIB] {
        for fault in
            [Fault::ContentType("text/plain; charset=utf-8"), Fault::ContentType(""), Fault::NoDigestHeader, Fault::NoContentLength]
        {
            Setting::does_not_matter(size, fault).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_with_wrong_bytes_reaches_nobody() {
    let hub = Hub::start();
    let image = hub.image("library/app").tag("1").push();
    let rule = hub.faults().set(Fault::FlipByte(10), on(Kind::Manifest));
    let mirror = Program::of_hub(&hub.url()).hub(", tag_window: 0s").start();
    let client = Client::new(mirror.url());
    for reference in ["1", image.digest.as_str()] {
        let answer = client.get(&format!("/v2/library/app/manifests/{reference}")).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (502, "UNAVAILABLE"), "{reference}");
    }
    wait_for_empty_spool(&mirror.store()).await;
    assert_eq!(published(&mirror.store()), Vec::<String>::new());
    hub.faults().remove(rule);
    assert!(client.get("/v2/library/app/manifests/1").await.whole() == image.manifest);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_page_is_no_manifest() {
    let hub = Hub::start();
    let image = hub.image("library/app").tag("1").push();
    let rule = hub.faults().set(Fault::Html, on(Kind::Manifest));
    let mirror = Program::of_hub(&hub.url()).hub(", tag_window: 0s").start();
    let client = Client::new(mirror.url());
    for reference in ["1", image.digest.as_str()] {
        let answer = client.get(&format!("/v2/library/app/manifests/{reference}")).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (502, "UNAVAILABLE"), "{reference}");
    }
    hub.faults().remove(rule);
    assert_eq!(Digest::sha256(&client.get("/v2/library/app/manifests/1").await.whole()), image.digest);
}
