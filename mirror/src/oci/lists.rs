//! Lists as registries send them: tags, referrers, errors. They are looked through where they stand and passed on as they are: a value a piece would take
//! a hundred times the room of the text.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::{RawValue, to_raw_value};

/// The array of strings in the answer to a question for tags; of none where it says `null`.
pub fn tags(body: &[u8]) -> Option<&[u8]> {
    #[derive(Deserialize)]
    struct Tags<'a> {
        #[serde(borrow)]
        tags: &'a RawValue,
    }
    let Tags { tags } = serde_json::from_slice(body).ok()?;
    match tags.get() {
        "null" => Some(b"[]"),
        array => serde_json::from_str(array).ok().map(|ArrayOf::<Text>(_)| array.as_bytes()),
    }
}

/// Whether this is an index: an object with a list of manifests.
pub fn is_index(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Index {
        #[serde(rename = "manifests")]
        _manifests: ArrayOf<IgnoredAny>,
    }
    serde_json::from_slice::<Index>(body).is_ok()
}

/// The index with only those of its manifests that are of the artifact type `kind`; each stays as it is.
pub fn of_kind(index: &[u8], kind: &str) -> Option<Vec<u8>> {
    #[derive(Deserialize)]
    struct Entry {
        #[serde(rename = "artifactType")]
        artifact_type: String,
    }
    let mut fields: BTreeMap<String, &RawValue> = serde_json::from_slice(index).ok()?;
    let mut manifests: Vec<&RawValue> = serde_json::from_str(fields.get("manifests")?.get()).ok()?;
    manifests.retain(|one| serde_json::from_str(one.get()).is_ok_and(|Entry { artifact_type }| artifact_type == kind));
    let manifests = to_raw_value(&manifests).ok()?;
    fields.insert("manifests".to_owned(), &manifests);
    serde_json::to_vec(&fields).ok()
}

/// Whether this is an error in a registry's own words, and not a proxy's or a page.
pub fn is_error(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Answer {
        errors: Vec<Code>,
    }
    #[derive(Deserialize)]
    struct Code {
        #[serde(rename = "code")]
        _code: Text,
    }
    serde_json::from_slice(body).is_ok_and(|Answer { errors }| !errors.is_empty())
}

/// An array of which each piece was read as a `T`, and is forgotten.
struct ArrayOf<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for ArrayOf<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Self(PhantomData))
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for ArrayOf<T> {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut pieces: A) -> Result<Self, A::Error> {
        while pieces.next_element::<T>()?.is_some() {}
        Ok(self)
    }
}

/// A string, which is forgotten.
struct Text;

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Self)
    }
}

impl Visitor<'_> for Text {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn tags_are_the_array_as_it_stands_and_nothing_else_is_a_list_of_them() {
        let read = |text: &'static str| tags(text.as_bytes()).map(|tags| std::str::from_utf8(tags).expect("text"));
        assert_eq!(read(r#"{"name":"x","tags":["a", "\u0062"]}"#), Some(r#"["a", "\u0062"]"#));
        assert_eq!(read(r#" {"tags" : null } "#), Some("[]"));
        for text in ["", "[]", "{}", r#"{"tags":{}}"#, r#"{"tags":[1]}"#, r#"{"tags":[[]]}"#, r#"{"tags":["a"]} x"#, "<html>"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn an_index_is_filtered_by_its_entries_own_types_and_keeps_all_else_as_it_is() {
        let index =
            br#"{"schemaVersion":2,"manifests":[{"artifactType":"a/b","size":1e3},{"artifactType":7},{},[],{"artifactType":"c"}],"x":[ ]}"#;
        assert!(is_index(index));
        let filtered = of_kind(index, "a/b").expect("an index");
        assert_eq!(
            String::from_utf8(filtered).expect("text"),
            r#"{"manifests":[{"artifactType":"a/b","size":1e3}],"schemaVersion":2,"x":[ ]}"#
        );
        for text in ["", "[]", "{}", r#"{"manifests":{}}"#, r#"{"manifests":[}"#] {
            assert!(!is_index(text.as_bytes()) && of_kind(text.as_bytes(), "a").is_none(), "{text}");
        }
    }

    #[test]
    fn only_a_registry_speaks_of_errors_with_codes() {
        assert!(is_error(
            br#"{"errors":[{"code":"NAME_UNKNOWN","message":"repository name not known to registry","detail":{"name":"x"}}]}"#
        ));
        assert!(is_error(br#"{"errors":[{"code":"NOT_FOUND","message":"project x not found"}]}"#));
        for text in ["", "404 page not found\n", "<html>", "{}", r#"{"message":"Not Found"}"#, r#"{"errors":[]}"#, r#"{"errors":["x"]}"#] {
            assert!(!is_error(text.as_bytes()), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_filtered_is_what_a_reader_of_the_whole_would_find(kinds in proptest::collection::vec("[ab]", 0..9)) {
            let manifests: Vec<Value> = kinds.iter().map(|kind| json!({ "artifactType": kind, "size": 1 })).collect();
            let index = json!({ "manifests": manifests, "mediaType": "x/y" });
            let mut expected = index.clone();
            expected["manifests"] = manifests.into_iter().filter(|one| one["artifactType"] == "a").collect();
            let filtered = of_kind(index.to_string().as_bytes(), "a").expect("an index");
            prop_assert_eq!(serde_json::from_slice::<Value>(&filtered).expect("JSON"), expected);
        }

        #[test]
        fn no_bytes_make_a_reader_panic(bytes: Vec<u8>, text in r#"[{}\[\]":,a0 ]{0,40}"#) {
            for bytes in [&bytes[..], text.as_bytes()] {
                let _ = (tags(bytes), is_index(bytes), of_kind(bytes, "a"), is_error(bytes));
            }
        }
    }
}
