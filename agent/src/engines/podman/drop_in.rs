//! Our drop-in of `registries.conf.d` among those of others. Pure.
//!
//! Of two entries with one prefix the later file's replaces the earlier one's, mirrors and all. So ours comes after every other with such an entry,
//! and takes over what that one says ([`registries::render`](crate::edit::registries::render)).

/// Whether a file of the folder is ours.
pub fn is_ours(bytes: &[u8]) -> bool {
    bytes.starts_with(MARK)
}

/// A name that comes after all of `rivals`, and is none of `taken`.
pub fn name(rivals: &[&str], taken: &[&str]) -> String {
    let last = rivals.iter().max().copied().unwrap_or_default();
    let stem = last.strip_suffix(".conf").unwrap_or(last);
    // `z` is behind the dot of `.conf`, so that a longer name comes later.
    let longer = (1..).map(|count| format!("{stem}{}-{OURS}", "z".repeat(count)));
    let mut names = ["50", "99", "zz"].into_iter().map(|head| format!("{head}-{OURS}")).chain(longer);
    names.find(|name| name.as_str() > last && !taken.contains(&name.as_str())).expect("the names have no end")
}

const MARK: &[u8] = b"# Written by `chandler apply`";
const OURS: &str = "chandler-mirror.conf";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ours_is_read_after_every_file_with_an_entry_for_the_same_registry() {
        for (rivals, taken, ours) in [
            (&[][..], &["shortnames.conf"][..], "50-chandler-mirror.conf"),
            (&["10-corp.conf"], &[], "50-chandler-mirror.conf"),
            (&["10-corp.conf", "90-corp.conf"], &[], "99-chandler-mirror.conf"),
            (&["corp.conf"], &[], "zz-chandler-mirror.conf"),
            (&["zzz.conf"], &[], "zzzz-chandler-mirror.conf"),
            (&["~.conf"], &[], "~z-chandler-mirror.conf"),
            (&[], &["50-chandler-mirror.conf"], "99-chandler-mirror.conf"),
        ] {
            assert_eq!(name(rivals, taken), ours, "{rivals:?} {taken:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_the_others_are_called_ours_is_behind_them_and_nobody_elses(others in prop::collection::vec("[ -.0-~]{0,12}\\.conf", 0..5)) {
            let others: Vec<&str> = others.iter().map(String::as_str).collect();
            let ours = name(&others, &others);
            prop_assert!(others.iter().all(|other| *other < ours.as_str()));
            prop_assert!(ours.strip_suffix(".conf").is_some());
        }
    }
}
