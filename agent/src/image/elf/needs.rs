//! What a dynamically linked program asks of the machine that runs it: the libraries it names, and how new a glibc its symbols are of.
//!
//! Read where the loader reads it, from the program's dynamic segment, so that a stripped file tells it as well. A file that lies about its own size is cut, never read past.

use super::{ElfError, File};

/// What the loader must find.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Needs {
    /// The newest glibc that a symbol is of, as `[2, 17]`; `None` where none is named.
    pub(crate) glibc: Option<Vec<u32>>,
    /// As `libc.so.6`, in the program's order.
    pub(crate) libraries: Vec<String>,
}

impl Needs {
    /// Of a file without a dynamic segment: nothing.
    pub(super) fn of(file: &File<'_>) -> Result<Self, ElfError> {
        let Some(segment) = file.segments()?.into_iter().find(|segment| segment.kind == PT_DYNAMIC) else { return Ok(Self::default()) };
        let tags = tags(file, segment.place, segment.size)?;
        let value = |wanted: u64| tags.iter().find(|(tag, _)| *tag == wanted).map(|(_, value)| *value);
        let Some(texts) = value(DT_STRTAB) else { return Ok(Self::default()) };
        let texts = file.place_of(texts)?;
        let names = tags.iter().filter(|(tag, _)| *tag == DT_NEEDED);
        let libraries = names.map(|(_, name)| file.text(texts, *name)).collect::<Result<_, _>>()?;
        let versions = match (value(DT_VERNEED), value(DT_VERNEEDNUM)) {
            (Some(first), Some(count)) => versions(file, file.place_of(first)?, count, texts)?,
            _ => Vec::new(),
        };
        Ok(Self { glibc: versions.iter().filter_map(|version| glibc(version)).max(), libraries })
    }
}

fn tags(file: &File<'_>, place: u64, size: u64) -> Result<Vec<(u64, u64)>, ElfError> {
    let word = if file.wide { 8 } else { 4 };
    file.slice(place, size)?; // So that a count below is one of bytes that are there.
    let mut tags = Vec::new();
    for at in (place..place + size / (2 * word) * (2 * word)).step_by(2 * word as usize) {
        let (tag, value) = (file.word(at)?, file.word(at + word)?);
        if tag == DT_NULL {
            break;
        }
        tags.push((tag, value));
    }
    Ok(tags)
}

/// The names of all versions that symbols are of: for each library a list of them.
fn versions(file: &File<'_>, first: u64, libraries: u64, texts: u64) -> Result<Vec<String>, ElfError> {
    let mut names = Vec::new();
    let mut library = first;
    for _ in 0..libraries.min(MOST_LIBRARIES) {
        let (count, list, next) = (file.number::<2>(library + 2)?, file.number::<4>(library + 8)?, file.number::<4>(library + 12)?);
        let mut version = library + list;
        for _ in 0..count.min(MOST_VERSIONS) {
            names.push(file.text(texts, file.number::<4>(version + 8)?)?);
            match file.number::<4>(version + 12)? {
                0 => break,
                next => version += next,
            }
        }
        if next == 0 {
            break;
        }
        library += next;
    }
    Ok(names)
}

/// `GLIBC_2.2.5`. A few are named after what they bring.
fn glibc(version: &str) -> Option<Vec<u32>> {
    match version.strip_prefix("GLIBC_")? {
        "ABI_DT_RELR" => Some(vec![2, 36]),
        numbers => numbers.split('.').map(|number| number.parse().ok()).collect(),
    }
}

const PT_DYNAMIC: u64 = 2;
const DT_NULL: u64 = 0;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
const DT_VERNEED: u64 = 0x6fff_fffe;
const DT_VERNEEDNUM: u64 = 0x6fff_ffff;
/// More than any program has, and few enough that a damaged one is read in no time.
const MOST_LIBRARIES: u64 = 256;
/// Of one library; the same.
const MOST_VERSIONS: u64 = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_their_numbers() {
        assert!(glibc("GLIBC_2.17") > glibc("GLIBC_2.4") && glibc("GLIBC_2.2.5") < glibc("GLIBC_2.3"));
        assert_eq!([glibc("GLIBC_PRIVATE"), glibc("GCC_3.0")], [None, None]);
        assert!(glibc("GLIBC_ABI_DT_RELR") > glibc("GLIBC_2.35"));
    }

    #[test]
    fn the_test_program_itself_needs_a_c_library_and_says_how_new() {
        let bytes = std::fs::read(std::env::current_exe().expect("it runs")).expect("it can be read");
        let needs = Needs::of(&File::of(&bytes).expect("a program")).expect("whole");
        let is_static = File::of(&bytes).expect("a program").interpreter().expect("whole").is_none();
        assert!(is_static || (needs.libraries.contains(&"libc.so.6".into()) && needs.glibc.is_some_and(|glibc| glibc >= vec![2, 2])));
    }
}
