//! Documents as files: with the rights that they need, and no others.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use cloud_init::Document;

use super::DocumentsFailure;

/// One document is the file; of several each has a name in the folder.
pub(super) fn all(path: &Path, documents: &[Document]) -> Result<(), DocumentsFailure> {
    let mode = |one: &Document| if one.program { 0o755 } else { 0o644 } & if one.secret { 0o700 } else { 0o777 };
    if let [one] = documents {
        return bytes(path, one.text.as_bytes(), mode(one));
    }
    fs::create_dir_all(path).map_err(|source| DocumentsFailure::Write { path: path.to_owned(), source })?;
    documents.iter().try_for_each(|one| bytes(&path.join(one.name), one.text.as_bytes(), mode(one)))
}

/// What has a key in it is its owner's alone before it is written.
pub(super) fn bytes(path: &Path, bytes: &[u8], mode: u32) -> Result<(), DocumentsFailure> {
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path)?;
        if file.metadata()?.is_file() && mode != 0o644 {
            file.set_permissions(fs::Permissions::from_mode(mode))?;
        }
        file.write_all(bytes)
    };
    write().map_err(|source| DocumentsFailure::Write { path: path.to_owned(), source })
}

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

        let several = folder.path().join("new/folder");
        all(&several, &[secret, Document::new("plain", "is read", "x\n".to_owned())]).expect("written");
        assert_eq!((mode(&several.join("key")), mode(&several.join("plain")) & 0o700), (0o700, 0o600));
    }
}
