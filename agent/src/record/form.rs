//! The record as it lies on the disk: JSON of a known version, and the contents that it names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ::mirror::oci::Digest;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Entry, Original, RecordError, digest};
use crate::engines::Engine;
use crate::host::{Nature, Root};

/// The record's own file.
pub(super) const FILE: &str = "record.json";
/// The folder of bytes.
pub(super) const CONTENTS: &str = "contents";
/// The only one so far.
pub(super) const VERSION: u64 = 1;

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Form {
    version: u64,
    entries: Vec<EntryForm>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct EntryForm {
    path: PathBuf,
    real: PathBuf,
    engine: String,
    secret: bool,
    original: OriginalForm,
    ours: Vec<Option<Digest>>,
    earlier: Vec<Option<Digest>>,
    folders: Vec<PathBuf>,
}

/// Said in a word, so that a line that is missing is not taken for a file that was.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "lowercase")]
enum OriginalForm {
    Absent,
    File { digest: Digest, mode: String, owner: u32, group: u32, attributes: BTreeMap<String, String> },
}

/// Entries, and all contents that they name.
type Parts = (Vec<Entry>, BTreeMap<Digest, Vec<u8>>);

/// All of it; nothing where there is no record.
pub(super) fn read(root: &Root, folder: &Path) -> Result<Parts, RecordError> {
    let path = folder.join(FILE);
    let Some(found) = root.read(&path)? else {
        let names = root.list(&folder.join(CONTENTS))?.unwrap_or_default();
        let left = names.iter().any(|name| is_content(&name.to_string_lossy()));
        let why = "it is gone, while the contents that it names are there";
        return if left { Err(RecordError::damaged(&path, &why)) } else { Ok((Vec::new(), BTreeMap::new())) };
    };
    let entries = parse(&path, &found.bytes)?;
    let mut contents = BTreeMap::new();
    for digest in entries.iter().flat_map(Entry::needs) {
        contents.insert(digest.clone(), read_content(root, folder, digest)?);
    }
    Ok((entries, contents))
}

/// As it is written.
pub(super) fn text(entries: &[Entry]) -> Result<String, serde_json::Error> {
    let form = Form { version: VERSION, entries: entries.iter().map(EntryForm::from).collect() };
    serde_json::to_string_pretty(&form).map(|text| text + "\n")
}

/// The file of one content.
pub(super) fn content_path(folder: &Path, digest: &Digest) -> PathBuf {
    folder.join(CONTENTS).join(digest.hex())
}

/// Whether a name in the folder of contents is one of ours.
pub(super) fn is_content(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Vec<Entry>, RecordError> {
    let damaged = |error: serde_json::Error| RecordError::damaged(path, &error);
    // By itself, before the rest: what a newer version holds is not damage.
    let value: Value = serde_json::from_slice(bytes).map_err(damaged)?;
    match value.get("version").and_then(Value::as_u64) {
        Some(VERSION) => {}
        Some(version) if version > VERSION => return Err(RecordError::Newer { path: path.to_owned(), version }),
        _ => return Err(RecordError::damaged(path, &"it does not say its version")),
    }
    let form: Form = serde_json::from_slice(bytes).map_err(damaged)?;
    form.entries.into_iter().map(|entry| entry.entry().map_err(|why| RecordError::damaged(path, &why))).collect()
}

fn read_content(root: &Root, folder: &Path, wanted: &Digest) -> Result<Vec<u8>, RecordError> {
    let path = content_path(folder, wanted);
    let found = root.read(&path)?.ok_or_else(|| RecordError::damaged(&path, &"it is gone"))?;
    if digest(&found.bytes) == *wanted {
        Ok(found.bytes)
    } else {
        Err(RecordError::damaged(&path, &"its bytes are not those that it is named after"))
    }
}

impl From<&Entry> for EntryForm {
    fn from(entry: &Entry) -> Self {
        let original = match &entry.original {
            Original::Absent => OriginalForm::Absent,
            Original::File { digest, nature } => OriginalForm::File {
                digest: digest.clone(),
                mode: format!("{:04o}", nature.mode),
                owner: nature.owner,
                group: nature.group,
                attributes: nature.attributes.iter().map(|(name, value)| (name.clone(), hex::encode(value))).collect(),
            },
        };
        Self {
            path: entry.path.clone(),
            real: entry.real.clone(),
            engine: entry.engine.word().to_owned(),
            secret: entry.secret,
            original,
            ours: entry.ours.clone(),
            earlier: entry.earlier.clone(),
            folders: entry.folders.clone(),
        }
    }
}

impl EntryForm {
    fn entry(self) -> Result<Entry, String> {
        let engine = Engine::RECORDED.into_iter().find(|engine| engine.word() == self.engine);
        let engine = engine.ok_or_else(|| format!("`{}` is no engine", self.engine))?;
        let original = match self.original {
            OriginalForm::Absent => Original::Absent,
            OriginalForm::File { digest, mode, owner, group, attributes } => {
                let mode = u32::from_str_radix(&mode, 8).map_err(|error| format!("`{mode}` is no mode: {error}"))?;
                let bytes =
                    |(name, value): (String, String)| hex::decode(&value).map(|value| (name, value)).map_err(|error| error.to_string());
                let attributes = attributes.into_iter().map(bytes).collect::<Result<_, _>>()?;
                Original::File { digest, nature: Nature { mode, owner, group, attributes } }
            }
        };
        Ok(Entry {
            path: self.path,
            real: self.real,
            engine,
            secret: self.secret,
            original,
            ours: self.ours,
            earlier: self.earlier,
            folders: self.folders,
        })
    }
}
