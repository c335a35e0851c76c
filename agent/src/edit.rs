//! Editors for the files that tell engines of their mirrors: text in, text out, and nothing read or written on the way.
//!
//! Each format has an editor that finds where in the text a setting stands, and cuts or pastes there and nowhere else: what others wrote, their order, their white space and their
//! comments stay to the byte. A text that its engine would not read, or that has a form in which an edit could go wrong, is a [`Misread`] that says where and why, and is not changed.
//!
//! [`daemon`] is Docker's `daemon.json` on top of [`json`]; [`registries`] is Podman's `registries.conf`; [`hosts`] is `hosts.toml` of containerd and Docker,
//! [`buildkitd`] is `buildkitd.toml`, both on top of `toml`; [`k3s`] is `registries.yaml` on top of `yaml`; [`diff`] shows a change.

pub mod buildkitd;
pub mod daemon;
pub mod diff;
pub mod hosts;
pub mod json;
pub mod k3s;
pub mod registries;
mod text;
mod toml;
mod yaml;

use std::str;

use self::text::place;
use crate::engines::MirrorUrl;

/// Why a text is not edited: where, and what is wrong with it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("line {line}, column {column}: {what}")]
pub struct Misread {
    /// The first is 1.
    pub line: usize,
    /// In characters; the first is 1.
    pub column: usize,
    /// For a person: what stands there, why it cannot stay, and what to write.
    pub what: String,
}

impl Misread {
    /// At a byte of `text`.
    fn at(text: &str, offset: usize, what: impl Into<String>) -> Self {
        let (line, column) = place(text, offset);
        Self { line, column, what: what.into() }
    }
}

/// The text of a file, which all editors want as UTF-8.
pub fn utf8(bytes: &[u8]) -> Result<&str, Misread> {
    str::from_utf8(bytes).map_err(|error| {
        let valid = &bytes[..error.valid_up_to()];
        let text = String::from_utf8_lossy(valid);
        Misread::at(&text, text.len(), format!("the byte 0x{:02x} is no UTF-8; save the file as UTF-8", bytes[error.valid_up_to()]))
    })
}

/// Whether two texts name one mirror: letters' case in scheme and host, the scheme's own port and a slash at the end make no difference.
pub fn same_mirror(one: &str, other: &str) -> bool {
    normal(one) == normal(other)
}

/// Whether a text names one of our mirrors.
fn is_ours(text: &str, ours: &[MirrorUrl]) -> bool {
    let wanted = normal(text);
    ours.iter().any(|mirror| normal(&mirror.to_string()) == wanted)
}

fn normal(text: &str) -> String {
    match url::Url::parse(text.trim()) {
        Ok(url) => url.as_str().trim_end_matches('/').to_owned(),
        Err(_) => text.trim().trim_end_matches('/').to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_mirror_has_many_spellings() {
        for (one, other, same) in [
            ("http://m:5000", "http://m:5000/", true),
            ("http://M.Example", "HTTP://m.example:80/", true),
            ("https://m:443", "https://m", true),
            ("https://m:5000", "http://m:5000", false),
            ("http://m/a", "http://m/a/", true),
            ("http://m/a", "http://m/A", false),
            ("http://m", "http://m:5000", false),
            ("m:5000", "M:5000/", true),
        ] {
            assert_eq!(same_mirror(one, other), same, "{one} {other}");
        }
    }

    #[test]
    fn what_is_no_utf_8_is_found_by_line_and_column() {
        assert_eq!(utf8("{}ä".as_bytes()), Ok("{}ä"));
        let error = utf8(b"{\n \"\xc3\xa4\xff\"").expect_err("no UTF-8");
        assert_eq!((error.line, error.column), (2, 4));
        insta::assert_snapshot!(error, @"line 2, column 4: the byte 0xff is no UTF-8; save the file as UTF-8");
    }
}
