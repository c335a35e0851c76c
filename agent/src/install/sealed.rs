//! Files that are known as ours by their first line, which holds the sum of all that follows: a unit that somebody edited is told from one that an older version wrote, with
//! no list of what was installed. Pure.

use mirror::oci::{Algorithm, Digest};

/// `body` below its sum.
pub(crate) fn seal(body: &str) -> String {
    format!("{HEAD}{}\n{body}", Digest::of(Algorithm::Sha256, body.as_bytes()))
}

/// Whether a file holds what some version of us wrote, and nothing else.
pub(crate) fn is_untouched(file: &[u8]) -> bool {
    let parts = file.strip_prefix(HEAD.as_bytes()).and_then(|rest| {
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        Some((&rest[..end], &rest[end + 1..]))
    });
    parts.is_some_and(|(sum, body)| sum == Digest::of(Algorithm::Sha256, body).to_string().as_bytes())
}

const HEAD: &str = "# By `chandler install`, which replaces and removes it only while the rest of it has this sum: ";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_file_of_ours_is_known_until_somebody_changes_a_byte() {
        let file = seal("[Service]\nUser=chandler\n");
        assert!(is_untouched(file.as_bytes()));
        for edited in [format!("{file}Nice=5\n"), file.replace("User=chandler", "User=root"), file.replacen("# By", "#By", 1)] {
            assert!(!is_untouched(edited.as_bytes()), "{edited}");
        }
        for foreign in ["", "[Service]\n", HEAD, &file[..file.len() - 1]] {
            assert!(!is_untouched(foreign.as_bytes()), "{foreign}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_sealed_is_ours_and_whatever_is_not_is_nobodys(body in "\\PC{0,60}\n?", noise: Vec<u8>) {
            prop_assert!(is_untouched(seal(&body).as_bytes()));
            prop_assert!(!is_untouched(&noise));
        }
    }
}
