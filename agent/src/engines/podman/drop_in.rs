//! Our drop-in of `registries.conf.d` among those of others. Pure.
//!
//! Of two entries with one prefix the later file's replaces the earlier one's, mirrors and all. So ours comes after every other with such an entry,
//! and takes over what that one says ([`registries::render`]).

use toml_edit::{DocumentMut, Item};

use crate::edit::Misread;
use crate::edit::registries::{self, Registry};

/// Whether a file of the folder is ours.
pub fn is_ours(bytes: &[u8]) -> bool {
    bytes.starts_with(MARK)
}

/// Ours with somebody's changes in it, without what we wrote: entries that are as we wrote them go, of others the mirrors that are ours, and the head that says whose file it is. `None`: nothing is
/// left. What somebody added stays to the letter, but for comments of entries that go.
pub fn without_ours(now: &str, ours: &[&str]) -> Result<Option<String>, Misread> {
    let written: Vec<Registry> = ours.iter().filter_map(|text| registries::entries(text).ok()).flatten().collect();
    // One that Podman would not read is nobody's to take apart.
    let entries = registries::entries(now)?;
    let is_whole = |entry: &Registry| written.iter().any(|known| same(known, entry));
    let is_mirror = |prefix: &str, location: &str| {
        let mut known = written.iter().filter(|known| known.prefix == prefix).flat_map(|known| &known.mirrors);
        known.any(|mirror| mirror.location == location)
    };
    taken_apart(now, &entries, is_whole, is_mirror)
}

/// Without any mirror, whoever named it.
pub fn without_mirrors(now: &str) -> Result<Option<String>, Misread> {
    taken_apart(now, &registries::entries(now)?, |_| false, |_, _| true)
}

fn taken_apart(
    now: &str,
    entries: &[Registry],
    is_whole: impl Fn(&Registry) -> bool,
    is_mirror: impl Fn(&str, &str) -> bool,
) -> Result<Option<String>, Misread> {
    let bare: String = now.split_inclusive('\n').filter(|line| !HEAD.iter().any(|head| line.starts_with(head))).collect();
    let mut document: DocumentMut = bare.parse().map_err(|_| Misread { line: 1, column: 1, what: "not TOML".to_owned() })?;
    if let Some(tables) = document.get_mut("registry").and_then(Item::as_array_of_tables_mut) {
        let mut kept = entries.iter().map(|entry| {
            let left = entry.mirrors.iter().filter(|mirror| !is_mirror(&entry.prefix, &mirror.location)).count();
            let says_more = entry.insecure || entry.blocked || entry.location != entry.prefix || left > 0;
            (entry, !is_whole(entry) && (says_more || entry.mirrors.is_empty()))
        });
        tables.retain(|_| kept.next().is_none_or(|(_, keeps)| keeps));
        for table in tables.iter_mut() {
            let prefix = ["prefix", "location"].iter().find_map(|key| table.get(key)?.as_str()).unwrap_or_default().to_owned();
            if let Some(mirrors) = table.get_mut("mirror").and_then(Item::as_array_of_tables_mut) {
                mirrors.retain(|mirror| !mirror.get("location").and_then(Item::as_str).is_some_and(|at| is_mirror(&prefix, at)));
            }
        }
        if tables.is_empty() {
            document.remove("registry");
        }
    }
    let left = document.to_string();
    Ok((!left.trim().is_empty()).then_some(left))
}

/// Wherever in its file.
fn same(one: &Registry, other: &Registry) -> bool {
    Registry { line: 0, column: 0, ..one.clone() } == Registry { line: 0, column: 0, ..other.clone() }
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
/// The beginnings of the lines that say so.
const HEAD: [&str; 2] = ["# Written by `chandler apply`", "# in files that are read before it; what they said is taken over below."];
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

    const OURS_WHOLE: &str = "# Written by `chandler apply`, taken away by `chandler undo`. An entry here replaces those with the same prefix\n# in files that are read before it; what they said is taken over below.\n\n[[registry]]\nprefix = \"docker.io\"\nlocation = \"docker.io\"\n\n[[registry.mirror]]\nlocation = \"ours:5000/docker.io\"\ninsecure = true\n";

    #[test]
    fn what_somebody_added_to_ours_stays_and_ours_goes() {
        let added = "\n[[registry]]\nprefix = \"quay.io\" # theirs\nlocation = \"quay.corp\"\n";
        let mirror = "\n[[registry.mirror]]\nlocation = \"theirs\"\n";
        for (now, left) in [
            (OURS_WHOLE.to_owned(), None),
            (format!("{OURS_WHOLE}# a note\n"), Some("# a note\n")),
            (
                format!("unqualified-search-registries = [\"docker.io\"]\n{OURS_WHOLE}"),
                Some("unqualified-search-registries = [\"docker.io\"]\n"),
            ),
            (format!("{OURS_WHOLE}{added}"), Some(added)),
        ] {
            let without = without_ours(&now, &[OURS_WHOLE]).expect("it can be read");
            assert_eq!(without.as_deref().map(str::trim), left.map(str::trim), "{now}");
        }
        let without = without_ours(&format!("{OURS_WHOLE}{mirror}"), &[OURS_WHOLE]).expect("it can be read").expect("theirs stays");
        let entries = registries::entries(&without).expect("valid");
        assert_eq!((entries.len(), entries[0].mirrors.len(), entries[0].mirrors[0].location.as_str()), (1, 1, "theirs"));
        assert!(!is_ours(without.as_bytes()));
        assert_eq!(without_mirrors(&without).expect("it can be read"), None);
        assert!(without_ours(&format!("{OURS_WHOLE}[[registry]\n"), &[OURS_WHOLE]).is_err());
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
