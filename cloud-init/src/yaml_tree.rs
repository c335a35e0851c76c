//! YAML as a tree: keys in the order in which they are written, texts quoted by the serializer and nothing by hand.

pub use serde_yaml::Value;

/// A mapping.
pub fn map<const N: usize>(pairs: [(&str, Value); N]) -> Value {
    Value::Mapping(pairs.into_iter().map(|(key, value)| (Value::from(key), value)).collect())
}

/// The mapping with one more key, where there is something to say.
#[must_use]
pub fn with(mut mapping: Value, key: &str, value: Option<Value>) -> Value {
    if let (Value::Mapping(pairs), Some(value)) = (&mut mapping, value) {
        pairs.insert(Value::from(key), value);
    }
    mapping
}

/// A list.
pub fn list<V: Into<Value>>(items: impl IntoIterator<Item = V>) -> Value {
    Value::Sequence(items.into_iter().map(Into::into).collect())
}

/// Documents of one file, below a comment.
pub fn text(comment: &str, documents: &[Value]) -> String {
    let body = |document| serde_yaml::to_string(document).expect("keys are strings");
    self::comment(comment) + &documents.iter().map(body).collect::<Vec<_>>().join("---\n")
}

/// Lines that mean nothing, in YAML and in TOML.
pub fn comment(text: &str) -> String {
    text.lines().flat_map(|line| ["# ", line, "\n"]).collect()
}
