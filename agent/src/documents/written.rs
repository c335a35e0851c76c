//! Documents as files: with the rights that they need, and no others. A file that was there is what it was, or what it is to be, and at no moment nothing: it may be the one that a service reads.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use cloud_init::Document;

use super::DocumentsFailure;
use crate::host::{Put, Root};

/// One document is the file; of several each has a name in the folder.
pub(super) fn all(path: &Path, documents: &[Document]) -> Result<(), DocumentsFailure> {
    let mode = |one: &Document| if one.program { 0o755 } else { PLAIN } & if one.secret { 0o700 } else { 0o777 };
    if let [one] = documents {
        return bytes(path, one.text.as_bytes(), mode(one));
    }
    fs::create_dir_all(path).map_err(|source| DocumentsFailure::Write { path: path.to_owned(), source })?;
    documents.iter().try_for_each(|one| bytes(&path.join(one.name), one.text.as_bytes(), mode(one)))
}

/// What has a key in it is its owner's alone before it is written.
pub(super) fn bytes(path: &Path, bytes: &[u8], mode: u32) -> Result<(), DocumentsFailure> {
    let failed = |source| DocumentsFailure::Write { path: path.to_owned(), source };
    match fs::metadata(path) {
        // A pipe, or /dev/stdout.
        Ok(found) if !found.is_file() => return fs::write(path, bytes).map_err(failed),
        Ok(_) if mode != PLAIN => fs::set_permissions(path, Permissions::from_mode(mode)).map_err(failed)?,
        _ => {}
    }
    let root = Root::machine();
    let place = root.resolve(&std::path::absolute(path).map_err(failed)?)?;
    let found = root.read_at(place.clone())?;
    let before = found.as_ref().map(|found| found.bytes.as_slice());
    Ok(root.put(&place, &Put { before, after: bytes, nature: None, mode })?)
}

/// Of a document that everybody may read; a file that is there keeps its own then.
const PLAIN: u32 = 0o644;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_with_a_key_is_its_owners_alone_also_where_a_file_was_before() {
        let folder = tempfile::tempdir().expect("a folder");
        let one = folder.path().join("one");
        fs::write(&one, "before, and longer").expect("written");
        let secret = Document::program("key", "is run", "KEY\n".to_owned()).with_secret(true);
        all(&one, std::slice::from_ref(&secret)).expect("written");
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!((fs::read_to_string(&one).expect("there").as_str(), mode(&one)), ("KEY\n", 0o700));
        // In its place, by a link as well: whoever has it open reads what it was, whole.
        let (link, open) = (folder.path().join("link"), fs::File::open(&one).expect("there"));
        std::os::unix::fs::symlink(&one, &link).expect("made");
        bytes(&link, b"new", PLAIN).expect("written");
        assert_eq!((fs::read_to_string(&one).expect("there").as_str(), mode(&one)), ("new", 0o700));
        assert_eq!(std::io::read_to_string(open).expect("still there"), "KEY\n");
        assert!(link.is_symlink());

        let several = folder.path().join("new/folder");
        all(&several, &[secret, Document::new("plain", "is read", "x\n".to_owned())]).expect("written");
        assert_eq!((mode(&several.join("key")), mode(&several.join("plain")) & 0o700), (0o700, 0o600));
    }
}
