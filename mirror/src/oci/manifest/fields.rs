//! The fields of a JSON object, read so that no two readers can mean different things by them.
//!
//! Readers differ in what they make of a name that is there twice, or in another case: many take the last, and Go's finds `layers` under `Layers` too.
//! Whoever shows one of them to a registry and the other to us must not get anything for it.

use std::borrow::Cow;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// The fields as they stand in the text, twins and all.
#[derive(Debug)]
pub(super) struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

/// Two readers could find two things.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Ambiguous;

impl<'a> Fields<'a> {
    /// Of an object.
    pub(super) fn read(text: &'a [u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(text)
    }

    /// The field `name`, if there is one that every reader finds, or none that any finds.
    pub(super) fn get(&self, name: &str) -> Result<Option<&'a RawValue>, Ambiguous> {
        let mut found = self.0.iter().filter(|(there, _)| is_alike(there, name));
        match (found.next(), found.next()) {
            (None, _) => Ok(None),
            (Some((there, value)), None) if there == name => Ok(Some(value)),
            _ => Err(Ambiguous),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Vec::new();
        while let Some(Name(name)) = map.next_key()? {
            fields.push((name, map.next_value()?));
        }
        Ok(Fields(fields))
    }
}

/// Borrowed where it has no escapes.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// By the widest rule of any reader: letters of any script that are each other's capital.
fn is_alike(one: &str, other: &str) -> bool {
    // The long s has a capital and no small letter, the Kelvin sign a small letter and no capital: each way alone misses one.
    let fold = |text: &str| text.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect::<String>();
    one == other || fold(one) == fold(other)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn get(text: &str, name: &str) -> Result<Option<String>, Ambiguous> {
        let fields = Fields::read(text.as_bytes()).expect("an object");
        fields.get(name).map(|value| value.map(|value| value.get().to_owned()))
    }

    #[test]
    fn a_field_is_found_where_every_reader_finds_it() {
        assert_eq!(get(r#"{"a":1,"k":[{"a":2}]}"#, "a"), Ok(Some("1".into())));
        assert_eq!(get(r#"{"\u0061":1}"#, "a"), Ok(Some("1".into())), "an escape is the letter that it means");
        assert_eq!(get("{}", "a"), Ok(None));
        for text in [r#"{"A":1}"#, r#"{"a":1,"A":2}"#, r#"{"a":1,"a":1}"#] {
            assert_eq!(get(text, "a"), Err(Ambiguous), "{text}");
        }
        assert_eq!(get(r#"{"\u212A":1}"#, "k"), Err(Ambiguous), "the Kelvin sign");
        assert_eq!(get(r#"{"\u017f":1}"#, "s"), Err(Ambiguous), "the long s");
    }

    #[test]
    fn what_is_no_object_has_no_fields() {
        for text in ["", "[]", "1", "{", r#"{"a"}"#, "null"] {
            assert!(Fields::read(text.as_bytes()).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
            let _ = Fields::read(&bytes).map(|fields| fields.get("layers").is_ok());
        }
    }
}
