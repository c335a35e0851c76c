//! `chandler uninstall`: what `install` put there is taken out, as far as it is still what `install` wrote; what anybody may need again stays, unless `--purge` says otherwise.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use mirror::config;

use super::pieces::{self, Content, Gone, Piece};
use super::systemd::Systemd;
use super::units::{CACHE, CERTS, CONFIG, SERVICE, SOCKET, STATE, USER};
use super::{
    InstallError, Installed, PACKAGED, PROGRAM, Telling, account, agent_pieces, agent_settings, agent_template, agent_units, local,
    program_piece, sysusers_piece, tree, unit,
};
use crate::cli::install::{Uninstall, UninstallWhatArgs};
use crate::host::{HostError, Root};
use crate::machine::{is_behind, undo_engines};
use crate::terminal;

/// Takes it out, and says line by line what was done.
pub(crate) fn uninstall(what: &Uninstall) -> Result<Installed, InstallError> {
    match what {
        Uninstall::Agent(args) => agent(args),
        Uninstall::Mirror(args) => mirror(args),
    }
}

fn mirror(args: &UninstallWhatArgs) -> Result<Installed, InstallError> {
    let root = tree(&args.tree)?;
    sure(args)?;
    let mut said = Telling::new(&root, &args.tree, false);
    // Engines that are behind it would go without their private images.
    if let Some(url) = local::local_url(&root)?
        && is_behind(&root, &url).map_err(|error| InstallError::Engines(Box::new(error)))?
    {
        said.undo_engines()?;
    }
    let systemd = Systemd::of(&root);
    if let Some(systemd) = systemd {
        // The socket first: it would start the service again.
        for name in [SOCKET, SERVICE] {
            if systemd.is_active(name) {
                systemd.stop(name)?;
                said.line(format!("stopped {name}"));
            }
        }
    }
    // The wishes before the units: a unit that is wanted and missing is an error at the next boot.
    said.take_away(&Piece::wanted(SERVICE, "multi-user.target"))?;
    said.take_away(&Piece::wanted(SOCKET, "sockets.target"))?;
    said.take_away(&Piece::sealed(unit(SERVICE), ""))?;
    said.take_away(&Piece::sealed(unit(SOCKET), ""))?;
    said.take_away(&sysusers_piece())?;
    said.take_program(agent_units::SERVICE)?;
    said.take_local()?;
    said.take_template(&Piece { path: CONFIG.into(), content: Content::Template { text: config::default_file(), group: None } })?;
    if let Some(systemd) = systemd {
        systemd.read_again()?;
    }
    if pieces::is_there(&root, &unit(DROP_INS))? {
        said.note(format!("{} is yours (`systemctl edit`), and stays", unit(DROP_INS).display()));
    }
    if args.purge {
        said.purge(&[CACHE, CERTS, CONFIG])?;
        said.note(format!("the user {USER} stays: `userdel {USER}` removes it, when nothing on this machine is its any more; so do folders of the configuration's own outside of {STATE}"));
    } else {
        said.kept(&[CONFIG, CACHE, CERTS])?;
    }
    pieces::tidy(&root, &["/etc/chandler", STATE])?;
    Ok(said.end("the mirror is not installed"))
}

fn agent(args: &UninstallWhatArgs) -> Result<Installed, InstallError> {
    let root = tree(&args.tree)?;
    sure(args)?;
    let mut said = Telling::new(&root, &args.tree, false);
    // First: what is removed afterwards would have kept them there, and with `--purge` the record of what they were.
    said.undo_engines()?;
    let [service, wish, drop_in] = agent_pieces(Path::new(PROGRAM), Path::new(agent_units::CONFIG));
    for piece in [wish, service, drop_in] {
        said.take_away(&piece)?;
    }
    said.take_program(SERVICE)?;
    said.take_away(&agent_settings::ca_piece())?;
    if agent_settings::piece("").take_away(&root)? == Gone::Removed {
        said.line(format!("removed {}", agent_units::CONFIG));
    }
    said.take_template(&agent_template(Path::new(agent_units::CONFIG)))?;
    if let Some(systemd) = Systemd::of(&root) {
        systemd.read_again()?;
    }
    if args.purge {
        said.purge(&[AGENT_STATE, agent_units::CONFIG])?;
    } else {
        said.kept(&[agent_units::CONFIG])?;
    }
    pieces::tidy(&root, &[agent_units::DROP_INS, "/etc/chandler", STATE])?;
    Ok(said.end("the agent is not installed"))
}

/// Before what cannot be taken back.
fn sure(args: &UninstallWhatArgs) -> Result<(), InstallError> {
    if !args.purge || args.yes {
        return Ok(());
    }
    if !terminal::can_ask() {
        return Err(InstallError::Sure);
    }
    let is_sure = terminal::says_yes("--purge removes keys, certificates, cached images and configuration for good. Go on?");
    if is_sure { Ok(()) } else { Err(InstallError::No) }
}

impl Telling {
    /// What was put there for this machine's engines.
    fn undo_engines(&mut self) -> Result<(), InstallError> {
        for line in undo_engines(&self.root).map_err(|error| InstallError::Engines(Box::new(error)))?.lines() {
            self.line(line);
        }
        Ok(())
    }

    fn take_away(&mut self, piece: &Piece) -> Result<(), InstallError> {
        let path = piece.path.display();
        match piece.take_away(&self.root)? {
            Gone::Absent => {}
            Gone::Foreign => self.note(format!("{path} is not as chandler wrote it, and stays")),
            Gone::Removed => self.line(format!("removed {path}")),
        }
        Ok(())
    }

    /// Not one that `other` still runs, and not one that a package brought.
    fn take_program(&mut self, other: &str) -> Result<(), InstallError> {
        if pieces::is_there(&self.root, &unit(other))? {
            self.note(format!("{PROGRAM} stays: {other} runs it"));
            return Ok(());
        }
        let program = program_piece(Path::new(PROGRAM))?;
        match program.take_away(&self.root)? {
            Gone::Absent if pieces::is_there(&self.root, Path::new(PACKAGED))? => {
                self.note(format!("{PACKAGED} stays: it is a package's to remove"));
            }
            Gone::Absent => {}
            Gone::Foreign => self.note(format!("{PROGRAM} is another version than this program, and stays")),
            Gone::Removed => self.line(format!("removed {PROGRAM}")),
        }
        Ok(())
    }

    /// What nobody wrote anything into is nobody's configuration.
    fn take_template(&mut self, piece: &Piece) -> Result<(), InstallError> {
        let is_packaged = pieces::is_there(&self.root, Path::new(PACKAGED))?; // Then it is dpkg's.
        if !is_packaged && piece.take_away(&self.root)? == Gone::Removed {
            self.line(format!("removed {}, which had comments alone", piece.path.display()));
        }
        Ok(())
    }

    /// The configuration that `--local` wrote, and its CA. Where a package brought the file, it has its own again.
    fn take_local(&mut self) -> Result<(), InstallError> {
        let config = Piece { path: CONFIG.into(), content: local::configuration_of("") };
        if config.take_away(&self.root)? == Gone::Removed {
            self.line(format!("removed {CONFIG}, which `--local` wrote"));
            if pieces::is_there(&self.root, Path::new(PACKAGED))? {
                let group = account::find(&self.root)?.and_then(|account| account.groups.first().copied());
                Piece { path: CONFIG.into(), content: Content::Template { text: config::default_file(), group } }.put(&self.root)?;
            }
            self.take_away(&local::ca_piece())?;
        }
        Ok(())
    }

    fn kept(&mut self, paths: &[&str]) -> Result<(), InstallError> {
        let mut there = Vec::new();
        for path in paths {
            if pieces::is_there(&self.root, Path::new(path))? {
                there.push(*path);
            }
        }
        if !there.is_empty() {
            self.note(format!("what was kept stays, and goes with --purge: {}", there.join(", ")));
        }
        Ok(())
    }

    fn purge(&mut self, paths: &[&str]) -> Result<(), InstallError> {
        for path in paths {
            if remove_all(&self.root, Path::new(path))? {
                self.line(format!("removed {path}"));
            }
        }
        Ok(())
    }
}

/// A file, a folder with all that is in it, or a link, but never what a link leads to.
fn remove_all(root: &Root, path: &Path) -> Result<bool, InstallError> {
    let folder: PathBuf = root.resolve(path.parent().unwrap_or(Path::new("/")))?.real;
    let disk = root.on_disk(&folder.join(path.file_name().unwrap_or_default()));
    let removed = match fs::symlink_metadata(&disk) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => Err(error),
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(&disk),
        Ok(_) => fs::remove_file(&disk),
    };
    removed.map_err(|source| HostError::io("remove", path, source))?;
    Ok(true)
}

/// What `systemctl edit` makes, among the units.
const DROP_INS: &str = "chandler-mirror.service.d";
/// The agent's record of what the engines were.
const AGENT_STATE: &str = "/var/lib/chandler/agent";
