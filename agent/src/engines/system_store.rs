//! The system's store of CAs, by which `curl`, git and most language runtimes know a server: one file of ours a CA in the folder that is the operator's, and the system's own tool, which makes
//! the bundle that programs read of all such files.
//!
//! What the tool makes is no file of ours, and not in the record: `undo` removes our files and runs the tool again, which makes the bundle of what is left. So a bundle into which
//! somebody wrote by hand is not touched at all: the tool would forget it.

mod look;
mod plan;
#[cfg(test)]
mod tests;
mod tool;

pub use self::look::{Facts, Family, Store, look};
pub use self::plan::{plan, rebuilt_without};
pub use self::tool::run;

use std::collections::BTreeSet;

/// The certificates of a PEM text, each by its base64 without white space.
pub fn bodies(text: &[u8]) -> BTreeSet<String> {
    let text = String::from_utf8_lossy(text);
    let one = |rest: &str| rest.split_once(END).map(|(body, _)| body.split_ascii_whitespace().collect::<String>());
    text.split(BEGIN).skip(1).filter_map(one).collect()
}

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";
