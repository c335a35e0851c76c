//! What an ELF file's headers say: for which machine it is, whether it needs a loader, and (`needs`) what that loader must find.

mod needs;

use std::fmt;

pub(crate) use self::needs::Needs;

/// What an image or a package has to know of a program.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Executable {
    /// The dynamic loader that it asks for; `None` when it runs alone.
    pub(crate) interpreter: Option<String>,
    pub(crate) needs: Needs,
    pub(crate) platform: Platform,
}

/// Linux on a machine, in the words of the image specification.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Platform {
    pub(super) architecture: &'static str,
    pub(super) variant: Option<&'static str>,
}

/// Why a file is no program for an image.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum ElfError {
    #[error("it is for a machine that chandler does not run on (ELF machine {0})")]
    Machine(u16),
    #[error("it is no ELF file")]
    NotElf,
    #[error("its headers are cut or damaged")]
    Cut,
}

impl Executable {
    /// Reads the file's headers.
    pub(crate) fn parse(file: &[u8]) -> Result<Self, ElfError> {
        let file = File::of(file)?;
        let platform = file.platform()?;
        Ok(Self { interpreter: file.interpreter()?, needs: Needs::of(&file)?, platform })
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "linux/{}", self.architecture)?;
        self.variant.map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

/// A part of the file, and where it lies in the running program.
struct Segment {
    address: u64,
    kind: u64,
    place: u64,
    size: u64,
}

struct File<'a> {
    bytes: &'a [u8],
    big_endian: bool,
    wide: bool,
}

impl<'a> File<'a> {
    fn of(bytes: &'a [u8]) -> Result<Self, ElfError> {
        let Some([0x7f, b'E', b'L', b'F', class @ (1 | 2), order @ (1 | 2)]) = bytes.get(..6) else {
            return Err(ElfError::NotElf);
        };
        Ok(Self { bytes, big_endian: *order == 2, wide: *class == 2 })
    }

    fn platform(&self) -> Result<Platform, ElfError> {
        let machine = self.number::<2>(18)? as u16;
        let known = PLATFORMS.iter().find(|(number, wide, big, ..)| (*number, *wide, *big) == (machine, self.wide, self.big_endian));
        known.map(|&(.., architecture, variant)| Platform { architecture, variant }).ok_or(ElfError::Machine(machine))
    }

    /// The text of the segment that names a loader.
    fn interpreter(&self) -> Result<Option<String>, ElfError> {
        let Some(segment) = self.segments()?.into_iter().find(|segment| segment.kind == PT_INTERP) else { return Ok(None) };
        let text = self.slice(segment.place, segment.size)?;
        Ok(Some(String::from_utf8_lossy(text).trim_end_matches('\0').to_owned()))
    }

    fn segments(&self) -> Result<Vec<Segment>, ElfError> {
        let (table, size, count) = if self.wide {
            (self.number::<8>(32)?, self.number::<2>(54)?, self.number::<2>(56)?)
        } else {
            (self.number::<4>(28)?, self.number::<2>(42)?, self.number::<2>(44)?)
        };
        (0..count).map(|index| self.segment(table.checked_add(index * size).ok_or(ElfError::Cut)?)).collect()
    }

    fn segment(&self, header: u64) -> Result<Segment, ElfError> {
        let at = |offset: u64| header.checked_add(offset).ok_or(ElfError::Cut);
        let [place, address, size] = if self.wide { [8, 16, 32] } else { [4, 8, 16] };
        Ok(Segment {
            kind: self.number::<4>(header)?,
            place: self.word(at(place)?)?,
            address: self.word(at(address)?)?,
            size: self.word(at(size)?)?,
        })
    }

    /// Where in the file lies what the program finds at `address`.
    fn place_of(&self, address: u64) -> Result<u64, ElfError> {
        let segments = self.segments()?.into_iter().filter(|segment| segment.kind == PT_LOAD);
        let mut places = segments.filter_map(|segment| {
            let offset = address.checked_sub(segment.address).filter(|offset| *offset < segment.size)?;
            segment.place.checked_add(offset).filter(|place| *place < self.bytes.len() as u64)
        });
        places.next().ok_or(ElfError::Cut)
    }

    /// A text of a table of them, which ends where a zero is.
    fn text(&self, table: u64, offset: u64) -> Result<String, ElfError> {
        let start = table.checked_add(offset).ok_or(ElfError::Cut)?;
        let rest = self.bytes.get(start as usize..).ok_or(ElfError::Cut)?;
        let end = rest.iter().position(|byte| *byte == 0).ok_or(ElfError::Cut)?;
        Ok(String::from_utf8_lossy(&rest[..end]).into_owned())
    }

    /// A number as wide as the program's addresses.
    fn word(&self, place: u64) -> Result<u64, ElfError> {
        if self.wide { self.number::<8>(place) } else { self.number::<4>(place) }
    }

    fn number<const N: usize>(&self, place: u64) -> Result<u64, ElfError> {
        let bytes = self.slice(place, N as u64)?.iter();
        let add = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        Ok(if self.big_endian { bytes.fold(0, add) } else { bytes.rev().fold(0, add) })
    }

    fn slice(&self, place: u64, size: u64) -> Result<&'a [u8], ElfError> {
        let end = place.checked_add(size).ok_or(ElfError::Cut)?;
        self.bytes.get(place as usize..end as usize).ok_or(ElfError::Cut)
    }
}

const PT_LOAD: u64 = 1;
const PT_INTERP: u64 = 3;
/// ELF's number of the machine, whether it is of 64 bits, whether it is big-endian; and the image specification's words for it.
const PLATFORMS: [(u16, bool, bool, &str, Option<&str>); 7] = [
    (3, false, false, "386", None),
    (21, true, false, "ppc64le", None),
    (22, true, true, "s390x", None),
    (40, false, false, "arm", Some("v7")),
    (62, true, false, "amd64", None),
    (183, true, false, "arm64", Some("v8")),
    (243, true, false, "riscv64", None),
];

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The headers of a little-endian file of 64 bits, with a loader or without.
    pub(in crate::image) fn elf(machine: u16, interpreter: Option<&str>) -> Vec<u8> {
        let mut file = vec![0; 64];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[18..20].copy_from_slice(&machine.to_le_bytes());
        file[32..40].copy_from_slice(&64_u64.to_le_bytes());
        file[54..56].copy_from_slice(&56_u16.to_le_bytes());
        file[56..58].copy_from_slice(&u16::from(interpreter.is_some()).to_le_bytes());
        if let Some(text) = interpreter {
            file.resize(64 + 56, 0);
            file[64] = 3;
            file[72..80].copy_from_slice(&120_u64.to_le_bytes());
            file[96..104].copy_from_slice(&(text.len() as u64 + 1).to_le_bytes());
            file.extend(text.bytes().chain([0]));
        }
        file
    }

    #[test]
    fn a_program_says_its_machine_and_its_loader() {
        let read = |file: &[u8]| Executable::parse(file).map(|found| (found.platform.to_string(), found.interpreter));
        assert_eq!(read(&elf(62, None)), Ok(("linux/amd64".into(), None)));
        assert_eq!(read(&elf(183, None)), Ok(("linux/arm64/v8".into(), None)));
        assert_eq!(
            read(&elf(62, Some("/lib64/ld-linux-x86-64.so.2"))),
            Ok(("linux/amd64".into(), Some("/lib64/ld-linux-x86-64.so.2".into())))
        );
        assert_eq!(read(&elf(8, None)), Err(ElfError::Machine(8)));
        assert_eq!(read(b"#!/bin/sh\n"), Err(ElfError::NotElf));
        assert_eq!(read(&elf(62, None)[..40]), Err(ElfError::Cut));
    }

    #[test]
    fn the_test_program_itself_needs_the_loader_that_runs_it() {
        let file = std::fs::read(std::env::current_exe().expect("it runs")).expect("it can be read");
        let found = Executable::parse(&file).expect("it runs here");
        assert!(found.interpreter.is_none_or(|loader| std::path::Path::new(&loader).exists()));
    }

    proptest! {
        #[test]
        fn no_file_makes_the_reader_panic(rest: Vec<u8>, wide: bool, big: bool) {
            let mut file = vec![0x7f, b'E', b'L', b'F', 1 + u8::from(wide), 1 + u8::from(big)];
            file.extend(rest);
            let _ = Executable::parse(&file);
            let mut damaged = elf(62, Some("/lib/ld.so"));
            damaged.truncate(file.len());
            for (byte, noise) in damaged.iter_mut().skip(20).zip(&file) {
                *byte ^= noise;
            }
            let _ = Executable::parse(&damaged);
        }
    }
}
