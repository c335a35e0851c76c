//! The container image: one archive that Docker, Podman, containerd and Skopeo load, made without any of them.
//!
//! `elf` says whether a program can run alone and where, `name` what the image is called, `root` packs its files into one layer, `archive`
//! writes the OCI layout around it. The same program gives the same bytes on every run: no time, no user and no order of this machine gets in.
//! Everything is held in memory, some tens of megabytes. Nothing is pushed anywhere: `skopeo copy` and `docker push` do that.

mod archive;
mod elf;
mod name;
mod root;

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

pub(crate) use self::elf::{ElfError, Executable, Needs};
pub(crate) use self::name::ImageName;

/// What is to be made, and where it goes.
pub(crate) struct Order {
    /// The program inside; without one, the program that runs.
    pub(crate) binary: Option<PathBuf>,
    pub(crate) name: ImageName,
    /// Without a file: standard output.
    pub(crate) output: Option<PathBuf>,
}

/// What was made.
pub(crate) struct Made {
    /// `linux/amd64`
    platform: String,
    has_roots: bool,
    digest: mirror::oci::Digest,
    size: usize,
}

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImageError {
    #[error("the program {path} needs shared libraries ({interpreter}), which an image from scratch has not")]
    Dynamic { path: PathBuf, interpreter: String },
    #[error("the program {path} cannot go into an image")]
    Elf { path: PathBuf, source: ElfError },
    #[error("cannot find the program that runs")]
    Itself(#[source] io::Error),
    #[error("cannot read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("the archive is not for a terminal")]
    Terminal,
    #[error("cannot write the archive to {path}")]
    Write { path: PathBuf, source: io::Error },
}

/// Makes the image and writes its archive.
pub(crate) fn make(order: &Order) -> Result<Made, ImageError> {
    if order.output.is_none() && io::stdout().is_terminal() {
        return Err(ImageError::Terminal);
    }
    let path = order.binary.clone().map_or_else(std::env::current_exe, Ok).map_err(ImageError::Itself)?;
    let program = read(&path)?;
    let executable = Executable::parse(&program).map_err(|source| ImageError::Elf { path: path.clone(), source })?;
    if let Some(interpreter) = executable.interpreter {
        return Err(ImageError::Dynamic { path, interpreter });
    }
    let roots = trusted_roots()?;
    let layer = root::pack(&program, roots.as_deref());
    let (archive, digest) = archive::write(&order.name, &executable.platform, &layer);
    let made = Made { platform: executable.platform.to_string(), has_roots: roots.is_some(), digest, size: archive.len() };
    write(&archive, order.output.as_deref())?;
    Ok(made)
}

impl Made {
    /// What the person who made it should know, a line each.
    pub(crate) fn notes(&self, order: &Order) -> Vec<String> {
        let size = self.size.div_ceil(1 << 20);
        let to = order.output.as_ref().map_or_else(String::new, |path| format!("; next: docker load --input {}", path.display()));
        let mut notes = vec![format!("{} for {}, {size} MiB, {}{to}", order.name, self.platform, self.digest)];
        if !self.has_roots {
            notes.push(
                "this machine has no list of trusted roots, so that the image has none: chandler uses its built-in one; mount your own at \
                 /etc/ssl/certs/ca-certificates.crt"
                    .into(),
            );
        }
        notes
    }
}

fn trusted_roots() -> Result<Option<Vec<u8>>, ImageError> {
    for path in ROOTS.map(Path::new) {
        match fs::read(path) {
            Ok(bytes) => return Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(ImageError::Read { path: path.to_owned(), source }),
        }
    }
    Ok(None)
}

fn read(path: &Path) -> Result<Vec<u8>, ImageError> {
    fs::read(path).map_err(|source| ImageError::Read { path: path.to_owned(), source })
}

fn write(archive: &[u8], output: Option<&Path>) -> Result<(), ImageError> {
    let Some(path) = output else {
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(archive).and_then(|()| stdout.flush());
        return written.map_err(|source| ImageError::Write { path: "standard output".into(), source });
    };
    fs::write(path, archive).map_err(|source| ImageError::Write { path: path.to_owned(), source })
}

/// Adds a file, or a folder when the path ends in a slash, of no time and of root's.
fn append(tar: &mut tar::Builder<impl Write>, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(if path.ends_with('/') { tar::EntryType::Directory } else { tar::EntryType::Regular });
    header.set_mode(mode);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(content.len() as u64);
    tar.append_data(&mut header, path, content)
}

/// Where Debian's and Red Hat's families keep them; in the image they are where the first does.
const ROOTS: [&str; 2] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];
