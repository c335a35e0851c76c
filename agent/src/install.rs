//! `chandler install` and `uninstall`: this program put in its place as a service, and taken out again.
//!
//! `units` and `agent_units` write units (pure), `sealed` knows them again, `pieces` puts files and links into a tree; `account` makes the mirror's user, `readable` and `ports` say
//! what would keep it from running, `systemd` speaks with the service manager, `remove` is the way back.
//!
//! What always holds: everything that can be refused is refused before anything is written. A second run changes nothing. What somebody edited stays, and is named. No running service is
//! restarted unless that was asked for.

mod account;
mod agent_settings;
pub(crate) mod agent_units;
mod error;
mod local;
mod pieces;
mod ports;
mod readable;
mod remove;
mod sealed;
mod systemd;
pub(crate) mod units;

use std::cell::RefCell;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use mirror::config::{self, Config, Resolved, Sources};
use serde_json::json;

pub(crate) use self::error::InstallError;
pub(crate) use self::remove::uninstall;

use self::account::Made;
use self::local::LocalPieces;
use self::pieces::{Content, Done, Piece, UNITS};
use self::systemd::Systemd;
use self::units::{MirrorUnits, Needs, SERVICE, SOCKET, STATE, USER};
use crate::cli::install::{Install, InstallAgentArgs, InstallMirrorArgs, TreeArgs};
use crate::host::Root;
use crate::load::LoadError;
use crate::report::Said;

/// What was done; or, by `--check`, what would have been.
#[derive(Debug)]
pub(crate) struct Installed {
    pub(crate) said: Said,
    /// `--check` found something.
    pub(crate) has_changes: bool,
}

/// Puts it in its place, and says line by line what was done.
pub(crate) fn install(what: &Install) -> Result<Installed, InstallError> {
    match what {
        Install::Agent(args) => agent(args),
        Install::Mirror(args) => mirror(args),
    }
}

fn mirror(args: &InstallMirrorArgs) -> Result<Installed, InstallError> {
    let root = tree(&args.tree)?;
    let path = args.config.clone().unwrap_or_else(|| units::CONFIG.into());
    let program = program(&root);
    nameable([&path, &program])?;
    // Once systemd holds the sockets, it goes on.
    let socket = args.socket || pieces::is_there(&root, &unit(SOCKET))?;
    let local = local::pieces(&root, &args.local)?;
    let (resolved, read) = match local.as_ref().and_then(|local| local.config.as_ref()) {
        Some(planned) => planned_for(&root, planned)?,
        None => resolved(&root, &path, args.config.is_some())?,
    };
    let needs = Needs::of(&resolved.config);
    nameable(&needs.writes)?;
    check(&root, &resolved, &needs, &[read, vec![path.clone()]].concat(), socket)?;

    let mut said = Telling::new(&root, &args.tree, args.check);
    let mut changed = said.put(&program_piece(&program)?)?;
    let account = said.user()?;
    let group = account.as_ref().filter(|_| rustix::process::geteuid().is_root()).and_then(|account| account.groups.first().copied());
    if let Some(local) = &local {
        said.put_local(local)?;
    } else if args.config.is_none() {
        let template = Content::Template { text: config::default_file(), group };
        said.configuration(&Piece { path: path.clone(), content: template })?;
    }
    for folder in &needs.writes {
        if said.does_or(|| account::is_missing(&root, folder), || account::own(&root, folder, account.as_ref()))? {
            said.line(format!("made {} for it", folder.display()));
        }
    }
    let way = said.does_or(|| account::closed_way(&root, account.as_ref()), || account::open_way(&root, account.as_ref()))?;
    if let Some(opened) = way {
        said.line(format!("opened {} for passing through to its folders", opened.display()));
    }
    let units = MirrorUnits { program: &program, config: &path, needs: &needs, socket };
    changed |= said.put(&Piece::sealed(unit(SERVICE), &units.service()))?;
    changed |= said.put(&Piece::wanted(SERVICE, "multi-user.target"))?;
    if socket {
        changed |= said.put(&Piece::sealed(unit(SOCKET), &units.socket()))?;
        changed |= said.put(&Piece::wanted(SOCKET, "sockets.target"))?;
    }
    let own: &[&str] = if socket { &[SOCKET, SERVICE] } else { &[SERVICE] };
    changed |= local.as_ref().is_some_and(|local| local.has_moved);
    run_mirror(&mut said, args, own, changed)?;
    if local.is_some() {
        said.note("`chandler apply --local` puts this machine's engines behind it");
    }
    Ok(said.end(&format!("the mirror is installed: {}", addresses(&needs))))
}

/// Starts it where that can be done, and restarts it only if somebody wants that. `units` are its own, the socket's first.
fn run_mirror(said: &mut Telling, args: &InstallMirrorArgs, units: &[&str], is_new: bool) -> Result<(), InstallError> {
    let Some(systemd) = Systemd::of(&said.root) else {
        if said.checks {
            return Ok(());
        }
        let config = args.config.as_deref().unwrap_or(Path::new(units::CONFIG)).display();
        said.note(if said.root.is_machine() {
            format!("systemd does not run here, and starts the mirror at a boot where it does; by hand it is `chandler mirror --config {config}`")
        } else {
            "the mirror starts when this tree is booted".into()
        });
        return Ok(());
    };
    if is_new && !said.checks {
        systemd.read_again()?;
    }
    if !systemd.is_active(SERVICE) {
        for unit in units {
            said.does(|| systemd.start(unit))?;
            said.line(format!("started {unit}"));
        }
    } else if is_new || systemd.is_behind(SERVICE, &[program(&said.root), unit(SERVICE)]) {
        if args.restart {
            said.does(|| {
                // systemd opens no socket whose port its own service still has.
                if units.contains(&SOCKET) && !systemd.is_active(SOCKET) {
                    systemd.stop(SERVICE)?;
                    systemd.start(SOCKET)?;
                }
                systemd.restart(SERVICE)
            })?;
            said.line(format!("restarted {SERVICE}"));
        } else {
            said.note("the running mirror is still the one before: the same with --restart, when no pull is under way");
        }
    }
    Ok(())
}

fn agent(args: &InstallAgentArgs) -> Result<Installed, InstallError> {
    let root = tree(&args.tree)?;
    let path = args.config.clone().unwrap_or_else(|| agent_units::CONFIG.into());
    let program = program(&root);
    nameable([&path, &program])?;
    // Before anything is changed: the CA that is named may be none.
    let settings = agent_settings::pieces(&args.settings)?.filter(|_| args.config.is_none());
    let mut said = Telling::new(&root, &args.tree, args.check);
    said.put(&program_piece(&program)?)?;
    if let Some(pieces) = settings {
        for piece in pieces {
            said.agent_configuration(&piece)?;
        }
    } else if args.config.is_none() && said.configuration(&agent_template(&path))? {
        said.note(format!("name the mirror in {} (`mirrors`), or nothing is put behind it", path.display()));
    }
    let mut changed = false;
    for piece in agent_pieces(&program, &path) {
        changed |= said.put(&piece)?;
    }
    if let Some(systemd) = Systemd::of(&root).filter(|_| changed && !said.checks) {
        systemd.read_again()?;
    }
    if root.is_machine() && !said.checks {
        said.note("no engine was changed: `chandler plan` shows what would be, `chandler apply` does it now".to_owned());
    }
    Ok(said.end("the agent is installed: before each start of Docker, and at each boot, the engines are put behind the mirror"))
}

fn agent_template(path: &Path) -> Piece {
    Piece { path: path.to_owned(), content: Content::Template { text: agent_units::TEMPLATE.to_owned(), group: None } }
}

fn agent_pieces(program: &Path, config: &Path) -> [Piece; 3] {
    let drop_in = Path::new(agent_units::DROP_INS).join(agent_units::DROP_IN);
    [
        Piece::sealed(unit(agent_units::SERVICE), &agent_units::service(program, config)),
        Piece::wanted(agent_units::SERVICE, "multi-user.target"),
        Piece::sealed(drop_in, &agent_units::drop_in(program, config)),
    ]
}

/// Everything that would keep the mirror from running as it is to run.
fn check(root: &Root, resolved: &Resolved, needs: &Needs, read: &[PathBuf], socket: bool) -> Result<(), InstallError> {
    if root.is_machine() {
        ::mirror::check_files(resolved).map_err(LoadError::Wrong)?;
    }
    let barred = readable::barred(root, &readable::named(&resolved.config, read), account::find(root)?.as_ref())?;
    if !barred.is_empty() {
        return Err(InstallError::Barred(barred));
    }
    let held = if root.is_machine() { ports::held(needs.addresses(), socket) } else { Vec::new() };
    if held.is_empty() { Ok(()) } else { Err(InstallError::Ports(held)) }
}

/// The configuration as the service will have it: no variable of this shell, root's folders. Also the files that were read for it.
fn resolved(root: &Root, path: &Path, is_named: bool) -> Result<(Resolved, Vec<PathBuf>), InstallError> {
    let read = |source| LoadError::Read { named: is_named.then_some("--config"), path: path.to_owned(), source };
    let file = match root.read(path)? {
        Some(found) => String::from_utf8(found.bytes).map_err(|error| {
            let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            LoadError::NotText { path: path.to_owned(), line: before.split(|byte| *byte == b'\n').count() }
        })?,
        None if is_named => return Err(read(io::ErrorKind::NotFound.into()).into()),
        None => config::default_file(),
    };
    resolved_text(root, path, file)
}

/// What a piece that is not there yet would say. Files that it names may be missing as well.
fn planned_for(root: &Root, piece: &Piece) -> Result<(Resolved, Vec<PathBuf>), InstallError> {
    let Content::Configuration { text, .. } = &piece.content else { unreachable!("it is a configuration") };
    let (mut resolved, read) = resolved_text(root, &piece.path, text.clone())?;
    resolved.config.upstreams.iter_mut().for_each(|upstream| upstream.ca = None);
    Ok((resolved, read))
}

/// That of the mirror on this machine, if it has one.
pub(crate) fn configuration(root: &Root) -> Result<Option<Config>, InstallError> {
    let path = Path::new(units::CONFIG);
    if !pieces::is_there(root, path)? {
        return Ok(None);
    }
    Ok(Some(resolved(root, path, true)?.0.config))
}

fn resolved_text(root: &Root, path: &Path, file: String) -> Result<(Resolved, Vec<PathBuf>), InstallError> {
    // The unit's own environment may hold a password: it is looked for by nobody here.
    let sources = Sources { accounts: false, file: Some((path.to_owned(), file)), read: read_in_tree, ..Sources::default() };
    READING.replace(Some((root.clone(), Vec::new())));
    let resolved = config::resolve(&sources).map_err(LoadError::Wrong);
    let (_, files) = READING.take().expect("put there above");
    Ok((resolved?, files))
}

/// A file that the configuration names, in the tree that is installed to; noted, since the mirror's user must read it too.
fn read_in_tree(path: &Path) -> io::Result<String> {
    READING.with_borrow_mut(|reading| {
        let (root, files) = reading.as_mut().ok_or(io::ErrorKind::NotFound)?;
        files.push(path.to_owned());
        let place = root.resolve(path).map_err(|error| io::Error::other(::mirror::chain(&error)))?;
        fs::read_to_string(root.on_disk(&place.real))
    })
}

thread_local! {
    /// For whom [`read_in_tree`] reads: a configuration takes a plain function.
    static READING: RefCell<Option<(Root, Vec<PathBuf>)>> = const { RefCell::new(None) };
}

/// The tree, if it is this user's to change.
fn tree(args: &TreeArgs) -> Result<Root, InstallError> {
    let root = Root::below(&args.root)?;
    if root.is_machine() && !rustix::process::geteuid().is_root() { Err(InstallError::NotRoot) } else { Ok(root) }
}

/// Where the program is to be: where a package has put it, it stays there.
fn program(root: &Root) -> PathBuf {
    let is_packaged = root.is_machine() && std::env::current_exe().is_ok_and(|path| path == Path::new(PACKAGED));
    if is_packaged { PACKAGED.into() } else { PROGRAM.into() }
}

fn program_piece(path: &Path) -> Result<Piece, InstallError> {
    let bytes = fs::read("/proc/self/exe").or_else(|_| fs::read(std::env::current_exe()?)).map_err(InstallError::Itself)?;
    Ok(Piece { path: path.to_owned(), content: Content::Program(bytes) })
}

fn unit(name: &str) -> PathBuf {
    Path::new(UNITS).join(name)
}

fn sysusers_piece() -> Piece {
    Piece::sealed(Path::new("/etc/sysusers.d").join(SYSUSERS), &units::sysusers())
}

fn nameable<'a>(paths: impl IntoIterator<Item = &'a PathBuf>) -> Result<(), InstallError> {
    let is_fit = |path: &Path| {
        path.components().next() == Some(Component::RootDir) && path.to_str().is_some_and(|text| !text.chars().any(char::is_control))
    };
    paths.into_iter().find(|path| !is_fit(path)).map_or(Ok(()), |path| Err(InstallError::Unnameable(path.clone())))
}

fn addresses(needs: &Needs) -> String {
    needs.listeners.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// What is done to a tree, told line by line; or what would be, where nothing is to be done.
struct Telling {
    root: Root,
    said: Said,
    as_json: bool,
    /// Nothing is changed.
    checks: bool,
}

impl Telling {
    fn new(root: &Root, args: &TreeArgs, checks: bool) -> Self {
        Self { root: root.clone(), said: Said::default(), as_json: args.json, checks }
    }

    /// One that was done.
    fn line(&mut self, text: impl AsRef<str>) {
        let word = if self.checks { "would have " } else { "" };
        self.said.data.extend([word, text.as_ref(), "\n"]);
    }

    /// Does it, if anything is done.
    fn does(&self, act: impl FnOnce() -> Result<(), InstallError>) -> Result<(), InstallError> {
        if self.checks { Ok(()) } else { act() }
    }

    /// The same where it is to be known what it did.
    fn does_or<T>(
        &self,
        look: impl FnOnce() -> Result<T, InstallError>,
        act: impl FnOnce() -> Result<T, InstallError>,
    ) -> Result<T, InstallError> {
        if self.checks { look() } else { act() }
    }

    fn note(&mut self, text: impl Into<String>) {
        self.said.notes.push(text.into());
    }

    /// Whether anything changed.
    fn put(&mut self, piece: &Piece) -> Result<bool, InstallError> {
        let path = piece.path.display();
        let done = self.does_or(|| piece.would(&self.root), || piece.put(&self.root))?;
        match done {
            Done::Added => self.line(format!("added {path}")),
            Done::Renewed => self.line(format!("renewed {path}")),
            Done::Same => {}
            Done::Foreign => self.note(format!("{path} is not as chandler wrote it, and stays; settings of your own belong in `systemctl edit`; where it is moved away, the next run writes it")),
        }
        Ok(matches!(done, Done::Added | Done::Renewed))
    }

    /// The agent's, with what was named for it.
    fn agent_configuration(&mut self, piece: &Piece) -> Result<(), InstallError> {
        let path = piece.path.display();
        match self.does_or(|| piece.would(&self.root), || piece.put(&self.root))? {
            Done::Added => self.line(format!("added {path}")),
            Done::Renewed => self.line(format!("renewed {path}")),
            Done::Same => {}
            Done::Foreign => self.note(format!("{path} is yours, and stays: what was named here is not written into it")),
        }
        Ok(())
    }

    /// One that is there is the operator's, of which nothing needs to be said.
    fn configuration(&mut self, piece: &Piece) -> Result<bool, InstallError> {
        let is_new = self.does_or(|| piece.would(&self.root), || piece.put(&self.root))? == Done::Added;
        if is_new {
            self.line(format!("added {}, with comments alone", piece.path.display()));
        }
        Ok(is_new)
    }

    /// The configuration after what it names. A mirror that runs reads it again, and drops no connection.
    fn put_local(&mut self, local: &LocalPieces) -> Result<(), InstallError> {
        let mut is_new = false;
        for piece in local.ca.iter().chain(&local.config) {
            is_new |= self.put(piece)?;
        }
        if let Some(systemd) = Systemd::of(&self.root).filter(|systemd| is_new && systemd.is_active(SERVICE)) {
            self.does(|| systemd.reload(SERVICE))?;
            self.line(format!("{SERVICE} has read it again"));
        }
        Ok(())
    }

    fn user(&mut self) -> Result<Option<account::Account>, InstallError> {
        let file = sysusers_piece();
        if !pieces::is_there(&self.root, Path::new(PACKAGED_USER))? {
            self.put(&file)?;
        }
        if self.checks {
            let account = account::find(&self.root)?;
            if account.is_none() {
                self.line(format!("made the user {USER}"));
            }
            return Ok(account);
        }
        match account::make(&self.root, SYSUSERS)? {
            Made::Known => {}
            Made::By(program) => self.line(format!("made the user {USER} ({program})")),
            Made::AtBoot => self.note(format!("the user {USER} is made by systemd-sysusers when this tree is booted; `chroot DIR useradd --system --home-dir {STATE} {USER}` makes it now")),
        }
        account::find(&self.root)
    }

    /// With what is so now, unless that is still to be done.
    fn end(mut self, last: &str) -> Installed {
        let is_changed = !self.said.data.is_empty();
        let has_changes = self.checks && is_changed;
        if self.as_json {
            let lines: Vec<&str> = self.said.data.lines().collect();
            let notes = std::mem::take(&mut self.said.notes);
            let all = json!({ "changed": is_changed && !self.checks, "would_change": has_changes, "lines": lines, "notes": notes });
            self.said.data = format!("{all:#}\n");
        } else if !has_changes {
            if !is_changed {
                self.said.data.push_str("nothing to do\n");
            }
            self.said.data.extend([last, "\n"]);
        }
        Installed { said: self.said, has_changes }
    }
}

/// Where `install` puts the program.
const PROGRAM: &str = "/usr/local/bin/chandler";
/// Where a package does.
pub(crate) const PACKAGED: &str = "/usr/bin/chandler";
const SYSUSERS: &str = "chandler.conf";
const PACKAGED_USER: &str = "/usr/lib/sysusers.d/chandler.conf";
