//! What the files of a repository hold: small versioned JSON documents.
//!
//! A manifest's record never changes: it lists what the manifest names, with sizes, and so proves that the repository holds it. A document that does
//! not read back is worth nothing: it is logged and removed, and the upstream is asked again. A state that does not counts as closed.

use std::time::{Duration, SystemTime};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::oci::{Child, Digest, MediaType};

/// A manifest that a repository holds.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ManifestRecord {
    /// Of its exact bytes.
    pub digest: Digest,
    /// What it is served as.
    pub media_type: MediaType,
    /// Bytes.
    pub size: u64,
    /// What it names.
    pub children: Vec<Child>,
}

/// Where a tag points.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct TagRecord {
    /// The manifest.
    pub digest: Digest,
    /// Since when the upstream says that there is no such tag, to the second.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "seconds")]
    pub gone_since: Option<SystemTime>,
}

/// What is known of a repository as a whole.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct RepositoryState {
    /// Whether everybody may read it; `None`: not known yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visibility: Option<Visibility>,
    /// Our account lost its access: nothing of it is served until a check succeeds.
    #[serde(default)]
    pub closed: bool,
}

/// Who may read a repository at its upstream.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Visibility {
    /// Whoever has an account with the right.
    Private,
    /// Everybody.
    Public,
}

/// A blob that the upstream itself said the repository holds, though no manifest was seen that names it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct BlobRecord {
    pub(super) size: u64,
}

/// The document of a record.
pub(super) fn write<T: Serialize>(record: &T) -> Vec<u8> {
    serde_json::to_vec(&Versioned { version: RECORD_VERSION, record }).expect("records are plain values with text for keys")
}

/// The record of a document; `None` where it is none, or of another version.
pub(super) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let document: Versioned<T> = serde_json::from_slice(bytes).ok()?;
    (document.version == RECORD_VERSION).then_some(document.record)
}

#[derive(Deserialize, Serialize)]
struct Versioned<T> {
    version: u32,
    #[serde(flatten)]
    record: T,
}

mod seconds {
    use serde::{Deserializer, Serializer};

    use super::{Deserialize, Duration, SystemTime};

    // The signature is serde's.
    #[expect(clippy::ref_option, reason = "serde passes the field by reference")]
    pub(super) fn serialize<S: Serializer>(time: &Option<SystemTime>, serializer: S) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => serializer.serialize_some(&time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SystemTime>, D::Error> {
        let seconds = Option::<u32>::deserialize(deserializer)?; // More would overflow on some systems, and is no time of ours.
        Ok(seconds.map(|seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(u64::from(seconds))))
    }
}

const RECORD_VERSION: u32 = 1;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::oci::{Algorithm, ChildKind};

    #[test]
    fn records_are_documents_that_a_person_can_read() {
        let digest = Digest::of(Algorithm::Sha256, b"");
        let child = Child { digest: digest.clone(), kind: ChildKind::Blob, media_type: MediaType::new("a/b"), size: 3 };
        let manifest = ManifestRecord { digest: digest.clone(), media_type: MediaType::new("c/d"), size: 7, children: vec![child] };
        let gone_since = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(9));
        let state = RepositoryState { visibility: Some(Visibility::Private), closed: true };
        let documents = [write(&manifest), write(&TagRecord { digest, gone_since }), write(&state), write(&BlobRecord { size: 5 })];
        let text = documents.map(|bytes| String::from_utf8(bytes).expect("JSON")).join("\n");
        insta::assert_snapshot!(text, @r#"
        {"version":1,"digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","media_type":"c/d","size":7,"children":[{"digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","kind":"blob","media_type":"a/b","size":3}]}
        {"version":1,"digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","gone_since":9}
        {"version":1,"visibility":"private","closed":true}
        {"version":1,"size":5}
        "#);
        assert_eq!(read::<ManifestRecord>(text.lines().next().expect("a line").as_bytes()), Some(manifest));
    }

    #[test]
    fn a_record_of_another_version_is_none() {
        assert_eq!(read::<BlobRecord>(br#"{"version":1,"size":5}"#), Some(BlobRecord { size: 5 }));
        for text in ["", "{", r#"{"size":5}"#, r#"{"version":2,"size":5}"#, r#"{"version":1}"#, "\0\0\0\0"] {
            assert_eq!(read::<BlobRecord>(text.as_bytes()), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn tags_and_states_read_back_as_themselves(content: Vec<u8>, gone: Option<u32>, private: Option<bool>, closed: bool) {
            let gone_since = gone.map(|seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(u64::from(seconds)));
            let tag = TagRecord { digest: Digest::of(Algorithm::Sha512, &content), gone_since };
            prop_assert_eq!(read::<TagRecord>(&write(&tag)), Some(tag));
            let visibility = private.map(|private| if private { Visibility::Private } else { Visibility::Public });
            let state = RepositoryState { visibility, closed };
            prop_assert_eq!(read::<RepositoryState>(&write(&state)), Some(state));
        }

        #[test]
        fn no_bytes_make_a_reader_panic(bytes: Vec<u8>) {
            let _ = (read::<ManifestRecord>(&bytes), read::<TagRecord>(&bytes), read::<RepositoryState>(&bytes));
        }
    }
}
