//! What a file would be, had chandler never been here: what plans are made from, and what `undo` leads to.

use std::path::Path;

use super::{Edit, Editor};
use crate::record::{Record, Standing};

/// That of the file at `path`, which holds `now`, and leads to `real`. `Ok(None)`: it would not be there. The error is the editor's, about an edit that it cannot
/// understand.
pub fn base(record: &Record, editor: &dyn Editor, path: &Path, real: &Path, now: Option<&[u8]>) -> Result<Option<Vec<u8>>, String> {
    let untouched = || Ok(now.map(<[u8]>::to_owned));
    let Some(entry) = record.entry(path) else { return untouched() };
    match record.standing(path, real, now) {
        Standing::Unknown | Standing::Original => untouched(),
        Standing::Ours => Ok(record.original(entry).map(<[u8]>::to_owned)),
        Standing::Edited => match now {
            Some(now) => {
                let (original, ours) = (record.original(entry), record.ours(entry));
                editor.without_ours(&Edit { engine: entry.engine, path, now, original, ours: &ours })
            }
            None => Ok(None), // Whoever removed it meant that.
        },
    }
}
