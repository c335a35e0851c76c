//! The Debian package, made without any of Debian's programs: an `ar` archive of what the package is and does, and of its files.
//!
//! It starts nothing: one package serves mirrors and the machines behind them, and `chandler install` says which a machine is. What the program inside asks of a release is read from the program
//! itself and is what the package depends on, so that dpkg refuses it where it would not run. A static program is refused: glibc loads the modules of a machine's name service into it, which are of
//! another glibc, and crashes. The same program gives the same bytes on every run.

mod ar;

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use flate2::{Compression, GzBuilder};
use mirror::config;

use crate::image::{ElfError, Executable, Needs};
use crate::install::{PACKAGED, agent_units, units};

/// What is to be made, and where it goes.
pub(crate) struct Order {
    /// The program inside; without one, the program that runs.
    pub(crate) binary: Option<PathBuf>,
    /// Without a file: standard output.
    pub(crate) output: Option<PathBuf>,
}

/// Why there is no package.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DebianError {
    #[error("the program {} cannot go into a package", path.display())]
    Elf { path: PathBuf, source: ElfError },
    #[error("cannot find the program that runs")]
    Itself(#[source] io::Error),
    #[error("the program {} needs {library}, and no package is known that has it", path.display())]
    Library { path: PathBuf, library: String },
    #[error("Debian has no name for the architecture {0}")]
    Platform(String),
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error(
        "the program {} is linked statically: where /etc/nsswitch.conf names a module that is not glibc's own, it ends with the first name that it looks up",
        path.display()
    )]
    Static { path: PathBuf },
    #[error("the package is not for a terminal")]
    Terminal,
    #[error("cannot write the package to {}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

/// Makes the package and writes it. Gives what a person should know.
pub(crate) fn make(order: &Order) -> Result<String, DebianError> {
    if order.output.is_none() && io::stdout().is_terminal() {
        return Err(DebianError::Terminal);
    }
    let path = order.binary.clone().map_or_else(std::env::current_exe, Ok).map_err(DebianError::Itself)?;
    let program = fs::read(&path).map_err(|source| DebianError::Read { path: path.clone(), source })?;
    let executable = Executable::parse(&program).map_err(|source| DebianError::Elf { path: path.clone(), source })?;
    if executable.interpreter.is_none() {
        return Err(DebianError::Static { path });
    }
    let architecture = architecture(&executable.platform.to_string())?;
    let depends = depends(&executable.needs).map_err(|library| DebianError::Library { path, library })?;
    let package = package(architecture, &depends, &program);
    write(&package, order.output.as_deref())?;
    let to = order.output.as_ref().map_or_else(String::new, |path| format!("; next: apt install {}", Path::new(".").join(path).display()));
    Ok(format!("chandler {VERSION} for {architecture}, depends on {depends}; {} MiB{to}", package.len().div_ceil(1 << 20)))
}

/// The packages without which the program does not run, or the library for which none is known.
fn depends(needs: &Needs) -> Result<String, String> {
    let mut packages = Vec::new();
    for library in &needs.libraries {
        let name = library.split(".so").next().unwrap_or(library);
        let package = match name {
            "libc" | "libdl" | "libm" | "libpthread" | "libresolv" | "librt" | "libutil" => c_library(needs),
            loader if loader.starts_with("ld-linux") || loader == "ld64" => c_library(needs),
            "libgcc_s" => "libgcc-s1 | libgcc1".into(), // As it is called now, and was until Debian 10 and Ubuntu 19.10.
            _ => return Err(library.clone()),
        };
        packages.push(package);
    }
    packages.push("passwd".into()); // Its postinst adds the mirror's user.
    packages.sort_unstable();
    packages.dedup();
    Ok(packages.join(", "))
}

fn c_library(needs: &Needs) -> String {
    let numbers = |version: &Vec<u32>| version.iter().map(u32::to_string).collect::<Vec<_>>().join(".");
    needs.glibc.as_ref().map_or("libc6".into(), |version| format!("libc6 (>= {})", numbers(version)))
}

/// The image specification's words in Debian's.
fn architecture(platform: &str) -> Result<&'static str, DebianError> {
    Ok(match platform {
        "linux/386" => "i386",
        "linux/amd64" => "amd64",
        "linux/arm/v7" => "armhf",
        "linux/arm64" | "linux/arm64/v8" => "arm64",
        "linux/ppc64le" => "ppc64el",
        "linux/riscv64" => "riscv64",
        "linux/s390x" => "s390x",
        other => return Err(DebianError::Platform(other.to_owned())),
    })
}

/// All of it.
fn package(architecture: &str, depends: &str, program: &[u8]) -> Vec<u8> {
    let files = files(program);
    let size: usize = files.iter().map(|(_, _, content)| content.len().div_ceil(1024)).sum();
    let conffiles = files.iter().map(|(path, ..)| path.as_str()).filter(|path| path.starts_with("etc/"));
    let conffiles: String = conffiles
        .flat_map(|path| {
            [
                "/", path, "
",
            ]
        })
        .collect();
    let about = vec![
        ("conffiles".into(), 0o644, conffiles.into_bytes()),
        ("control".into(), 0o644, control(architecture, depends, size).into_bytes()),
        ("postinst".into(), 0o755, include_bytes!("debian/postinst").to_vec()),
        ("postrm".into(), 0o755, include_bytes!("debian/postrm").to_vec()),
        ("prerm".into(), 0o755, include_bytes!("debian/prerm").to_vec()),
    ];
    ar::archive(&[("debian-binary", b"2.0\n"), ("control.tar.gz", &tar_gz(about)), ("data.tar.gz", &tar_gz(files))])
}

/// A path without its leading slash, permissions, bytes.
type File = (String, u32, Vec<u8>);

fn files(program: &[u8]) -> Vec<File> {
    let path = Path::new(PACKAGED);
    let text = |path: &str, text: String| (path.to_owned(), 0o644, text.into_bytes());
    vec![
        text("etc/chandler/agent.yaml", agent_units::TEMPLATE.to_owned()),
        text("etc/chandler/mirror.yaml", config::default_file()),
        ("usr/bin/chandler".into(), 0o755, program.to_vec()),
        text("usr/lib/systemd/system/chandler-agent.service", agent_units::service(path, Path::new(agent_units::CONFIG))),
        text("usr/lib/systemd/system/chandler-mirror.service", units::packaged(path)),
        text("usr/lib/sysusers.d/chandler.conf", units::sysusers()),
        ("usr/share/doc/chandler/changelog.gz".into(), 0o644, gz(include_bytes!("../CHANGELOG.md"))),
        text("usr/share/doc/chandler/copyright", copyright()),
    ]
}

fn control(architecture: &str, depends: &str, kibibytes: usize) -> String {
    format!(
        "\
Package: chandler
Version: {VERSION}
Architecture: {architecture}
Maintainer: The chandler authors <chandler@localhost.localdomain>
Installed-Size: {kibibytes}
Depends: {depends}
Recommends: ca-certificates
Section: net
Priority: optional
Description: container images next to the machines that pull them
 A pull-through mirror of Docker Hub and other registries, which obtains and
 renews its own certificates, and an agent that puts a machine's container
 engines behind such a mirror and takes them out again.
 .
 Nothing is started by itself: `chandler install mirror` makes a machine a
 mirror, `chandler install agent` and `chandler apply` put it behind one.
"
    )
}

fn copyright() -> String {
    let mit: String =
        include_str!("../../LICENSE-MIT").lines().map(|line| if line.is_empty() { " .\n".into() } else { format!(" {line}\n") }).collect();
    format!(
        "\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: chandler

Files: *
Copyright: The chandler authors
License: MIT or Apache-2.0

License: MIT
{mit}
License: Apache-2.0
 On Debian systems the whole text is in /usr/share/common-licenses/Apache-2.0.
"
    )
}

/// With every folder on the way, once.
fn tar_gz(files: Vec<File>) -> Vec<u8> {
    let mut tar = tar::Builder::new(GzBuilder::new().mtime(0).write(Vec::new(), Compression::default()));
    let mut made = std::collections::BTreeSet::new();
    for (path, mode, content) in files {
        let mut folders: Vec<&Path> = Path::new(&path).ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty()).collect();
        folders.reverse();
        for folder in folders {
            if made.insert(folder.to_owned()) {
                append(&mut tar, &format!("{}/", folder.display()), 0o755, b"");
            }
        }
        append(&mut tar, &path, mode, &content);
    }
    let gzip = tar.into_inner().and_then(flate2::write::GzEncoder::finish);
    gzip.expect("writing to memory cannot fail")
}

fn append(tar: &mut tar::Builder<impl Write>, path: &str, mode: u32, content: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(if path.ends_with('/') { tar::EntryType::Directory } else { tar::EntryType::Regular });
    header.set_mode(mode);
    header.set_mtime(LONG_AGO);
    header.set_uid(0);
    header.set_gid(0);
    header.set_username("root").expect("it is short");
    header.set_groupname("root").expect("it is short");
    header.set_size(content.len() as u64);
    tar.append_data(&mut header, path, content).expect("writing to memory cannot fail");
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    gzip.write_all(bytes).and_then(|()| gzip.finish()).expect("writing to memory cannot fail")
}

fn write(package: &[u8], output: Option<&Path>) -> Result<(), DebianError> {
    let Some(path) = output else {
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(package).and_then(|()| stdout.flush());
        return written.map_err(|source| DebianError::Write { path: "standard output".into(), source });
    };
    fs::write(path, package).map_err(|source| DebianError::Write { path: path.to_owned(), source })
}

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// 2020-01-01: the time of all files, so that no build differs from another; dpkg wonders at 1970.
const LONG_AGO: u64 = 1_577_836_800;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_program_gives_the_same_package() {
        assert!(package("amd64", "passwd", b"program") == package("amd64", "passwd", b"program"));
    }

    #[test]
    fn what_the_package_says_of_itself() {
        insta::assert_snapshot!(control("amd64", "libc6 (>= 2.17), passwd", 40_000), @r#"
        Package: chandler
        Version: 0.1.0
        Architecture: amd64
        Maintainer: The chandler authors <chandler@localhost.localdomain>
        Installed-Size: 40000
        Depends: libc6 (>= 2.17), passwd
        Recommends: ca-certificates
        Section: net
        Priority: optional
        Description: container images next to the machines that pull them
         A pull-through mirror of Docker Hub and other registries, which obtains and
         renews its own certificates, and an agent that puts a machine's container
         engines behind such a mirror and takes them out again.
         .
         Nothing is started by itself: `chandler install mirror` makes a machine a
         mirror, `chandler install agent` and `chandler apply` put it behind one.
        "#);
    }

    #[test]
    fn what_the_program_asks_of_a_release_is_what_the_package_depends_on() {
        let needs = |glibc: &[u32], libraries: &[&str]| Needs {
            glibc: (!glibc.is_empty()).then(|| glibc.to_vec()),
            libraries: libraries.iter().map(|&library| library.to_owned()).collect(),
        };
        assert_eq!(
            depends(&needs(&[2, 17], &["libpthread.so.0", "libc.so.6", "ld-linux-x86-64.so.2"])),
            Ok("libc6 (>= 2.17), passwd".into())
        );
        assert_eq!(depends(&needs(&[2, 34], &["libgcc_s.so.1", "libc.so.6"])), Ok("libc6 (>= 2.34), libgcc-s1 | libgcc1, passwd".into()));
        assert_eq!(depends(&needs(&[], &["libc.so.6", "libssl.so.3"])), Err("libssl.so.3".into()));
    }

    #[test]
    fn an_architecture_has_debians_name() {
        assert_eq!(
            ["linux/amd64", "linux/arm64/v8", "linux/arm/v7"].map(|platform| architecture(platform).expect("known")),
            ["amd64", "arm64", "armhf"]
        );
        assert!(architecture("linux/vax").is_err());
    }
}
