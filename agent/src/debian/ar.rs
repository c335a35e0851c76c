//! The `ar` archive that a Debian package is: a line, then each member behind a header of sixty characters. Pure.

/// An archive of `members`, in their order. A name has at most sixteen characters.
pub(super) fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    for (name, content) in members {
        let header = format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", super::LONG_AGO, 0, 0, "100644", content.len());
        debug_assert_eq!(header.len(), HEADER, "{name}");
        out.extend(header.bytes());
        out.extend(*content);
        if content.len() % 2 == 1 {
            out.push(b'\n'); // Each member begins at an even place.
        }
    }
    out
}

const MAGIC: &[u8] = b"!<arch>\n";
const HEADER: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_stand_one_behind_the_other_at_even_places() {
        let archive = archive(&[("debian-binary", b"2.0\n"), ("odd", b"abc"), ("last", b"")]);
        insta::assert_snapshot!(String::from_utf8(archive).expect("text").replace('\n', "$\n"), @r"
        !<arch>$
        debian-binary   1577836800  0     0     100644  4         `$
        2.0$
        odd             1577836800  0     0     100644  3         `$
        abc$
        last            1577836800  0     0     100644  0         `$
        ");
    }
}
