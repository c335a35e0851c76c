//! A machine with one engine, whose files are lines: `mirror NAME` is a mirror, `mirror -` says that there is none. Like Docker it keeps its mirrors where the file
//! says nothing of them. Its own state is a file as well, so that it outlives whoever told it.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::XattrFlags;

use crate::apply::*;
use crate::engines::{Change, Daemon, Engine, Plan, Reload, Step};
use crate::host::Root;
use crate::record::{Held, Record, STATE};

pub(super) const DAEMON: &str = "/etc/docker/daemon.json";
pub(super) const CA: &str = "/etc/docker/certs.d/mirror/ca.crt";

/// What no file may hold.
pub(super) const NONSENSE: &str = "}{\n";

/// How the engine's file is there before us.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Shape {
    /// Neither it nor its folder.
    Absent,
    /// With a mirror of somebody's, odd permissions and an attribute.
    File,
    /// With no mirror.
    Bare,
    /// A link to one.
    Link,
    /// A link to nothing.
    Dangling,
}

impl Shape {
    pub(super) const ALL: [Self; 5] = [Self::Absent, Self::File, Self::Bare, Self::Link, Self::Dangling];
}

pub(super) struct Machine {
    folder: PathBuf,
    _owned: Option<tempfile::TempDir>,
    pub(super) root: Root,
    runs: bool,
}

/// All of a file but its inode and times.
pub(super) type Files = BTreeMap<PathBuf, String>;

impl Machine {
    pub(super) fn new(shape: Shape) -> Self {
        let owned = scratch();
        fs::create_dir_all(owned.path().join("root/var/lib/chandler/agent")).expect("made");
        let machine = Self { _owned: None, ..Self::at(owned.path()) };
        machine.lay(shape);
        Self { _owned: Some(owned), ..machine }
    }

    /// One that is there already.
    pub(super) fn at(folder: &Path) -> Self {
        let root = Root::below(&folder.join("root")).expect("there");
        Self { folder: folder.to_owned(), _owned: None, root, runs: true }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Nothing runs in it.
    pub(super) fn unbooted(self) -> Self {
        Self { runs: false, ..self }
    }

    fn lay(&self, shape: Shape) {
        let disk = |path: &str| self.root.on_disk(Path::new(path));
        if shape == Shape::Absent {
            return;
        }
        fs::create_dir_all(disk("/etc/docker")).expect("made");
        let real = match shape {
            Shape::Link | Shape::Dangling => {
                symlink("/srv/daemon.json", disk(DAEMON)).expect("linked");
                disk("/srv/daemon.json")
            }
            _ => disk(DAEMON),
        };
        if shape == Shape::Dangling {
            return;
        }
        fs::create_dir_all(real.parent().expect("one")).expect("made");
        fs::write(&real, if shape == Shape::Bare { "key 1" } else { "key 1\nmirror theirs\n" }).expect("written");
        // Only root can give it away.
        let _ = chown(&real, Some(4711), Some(4712));
        fs::set_permissions(&real, Permissions::from_mode(0o640)).expect("set");
        rustix::fs::setxattr(&real, "user.note", b"by hand", XattrFlags::empty()).expect("set");
        self.engines().restart();
    }

    pub(super) fn all() -> Undo {
        Undo { engines: Engine::ALL.to_vec(), keep_edits: false, clean: false }
    }

    pub(super) fn open(&self) -> Held {
        Held::open(&self.root, Path::new(STATE)).expect("free and whole")
    }

    pub(super) fn engines(&self) -> FakeEngines {
        FakeEngines {
            root: self.root.clone(),
            state: self.folder.join("engine"),
            reloads: self.folder.join("reloads"),
            refuses: None,
            deaf: false,
        }
    }

    pub(super) fn editor(&self) -> FakeEditor {
        FakeEditor { reported: self.runs.then(|| self.reported()) }
    }

    /// As the command would.
    pub(super) fn apply(&self, mirror: &str) -> Report {
        self.apply_with(mirror, &mut self.engines())
    }

    pub(super) fn apply_with(&self, mirror: &str, engines: &mut FakeEngines) -> Report {
        let mut held = self.open();
        let editor = self.editor();
        let plan = self.plan(&held, &editor, mirror);
        Executor::new(&mut held, engines, &editor).apply(&plan)
    }

    pub(super) fn undo(&self, undo: &Undo) -> Report {
        self.undo_with(undo, &mut self.engines())
    }

    pub(super) fn undo_with(&self, undo: &Undo, engines: &mut FakeEngines) -> Report {
        let mut held = self.open();
        let editor = self.editor();
        let undoing = undo_plan(&held, &editor, undo).expect("readable");
        Executor::new(&mut held, engines, &editor).undo(&undoing)
    }

    pub(super) fn undo_plan(&self, undo: &Undo) -> Undoing {
        let record = Record::read(&self.root, Path::new(STATE)).expect("whole");
        undo_plan(&record, &self.editor(), undo).expect("readable")
    }

    pub(super) fn plan(&self, record: &Record, editor: &FakeEditor, mirror: &str) -> Plan {
        let change = |path: &str, after: &dyn Fn(&str) -> String| {
            let real = self.root.resolve(Path::new(path)).expect("resolved").real;
            let before = self.root.read(Path::new(path)).expect("read").map(|found| found.bytes);
            let base = base(record, editor, Path::new(path), &real, before.as_deref()).expect("lines are always understood");
            let after = Some(after(&text(base.as_deref())).into_bytes());
            Step::Write(Change { engine: Engine::Docker, path: path.into(), before, after, mode: 0o644, secret: false })
        };
        let ca = change(CA, &|base| format!("the CA of {mirror}\n{base}"));
        let daemon = change(DAEMON, &|base| format!("mirror {mirror}\n{}", base.replace("mirror -\n", "")));
        let mirrors = mirrors(&text(daemon.change().expect("one").after.as_deref()));
        let reload = Reload { engine: Engine::Docker, daemon: process(), mirrors: mirrors.expect("ours"), insecure: Vec::new() };
        let reload = self.runs.then_some(Step::Reload(reload));
        Plan { steps: [ca, daemon].into_iter().chain(reload).collect(), findings: Vec::new() }
    }

    pub(super) fn text(&self, path: &str) -> Option<String> {
        let found = self.root.read(Path::new(path)).expect("read")?;
        Some(String::from_utf8(found.bytes).expect("text"))
    }

    /// As somebody would, in place.
    pub(super) fn edit(&self, edit: impl FnOnce(String) -> String) {
        self.edit_file(DAEMON, edit);
    }

    pub(super) fn edit_file(&self, path: &str, edit: impl FnOnce(String) -> String) {
        let real = self.root.resolve(Path::new(path)).expect("resolved").real;
        let disk = self.root.on_disk(&real);
        fs::create_dir_all(disk.parent().expect("one")).expect("made");
        fs::write(&disk, edit(fs::read_to_string(&disk).unwrap_or_default())).expect("written");
    }

    pub(super) fn remove(&self) {
        let real = self.root.resolve(Path::new(DAEMON)).expect("resolved").real;
        let _ = fs::remove_file(self.root.on_disk(&real));
    }

    pub(super) fn file_mirrors(&self) -> Vec<String> {
        mirrors(&self.text(DAEMON).unwrap_or_default()).unwrap_or_default()
    }

    pub(super) fn reported(&self) -> Vec<String> {
        lines(&self.folder.join("engine"))
    }

    pub(super) fn reloads(&self) -> usize {
        lines(&self.folder.join("reloads")).len()
    }

    /// Every file, link and folder of the machine, but those of the record.
    pub(super) fn files(&self) -> Files {
        let mut files = Files::new();
        self.walk(Path::new("/"), &mut files);
        files
    }

    /// What the record's folder holds.
    pub(super) fn state(&self) -> Vec<String> {
        let names = self.root.list(Path::new(STATE)).expect("listed").unwrap_or_default();
        let mut state: Vec<String> = names.iter().map(|name| name.to_string_lossy().into_owned()).collect();
        state.extend(self.text(&format!("{STATE}/record.json")));
        state
    }

    fn walk(&self, folder: &Path, files: &mut Files) {
        for name in self.root.list(folder).expect("listed").expect("a folder") {
            let path = folder.join(name);
            if path == Path::new(STATE) {
                continue;
            }
            let disk = self.root.on_disk(&path);
            let meta = fs::symlink_metadata(&disk).expect("there");
            let held = match meta.file_type() {
                kind if kind.is_symlink() => format!("-> {}", fs::read_link(&disk).expect("a link").display()),
                kind if kind.is_dir() => {
                    self.walk(&path, files);
                    format!("folder {:o} {}", meta.mode(), meta.uid())
                }
                _ => {
                    let found = self.root.read(&path).expect("read").expect("there");
                    format!("{:?} {:?}", String::from_utf8_lossy(&found.bytes), found.nature)
                }
            };
            files.insert(path, held);
        }
    }
}

pub(super) struct FakeEngines {
    root: Root,
    state: PathBuf,
    reloads: PathBuf,
    /// The mirror that it never takes.
    pub(super) refuses: Option<String>,
    /// It answers nothing.
    pub(super) deaf: bool,
}

impl FakeEngines {
    /// It forgets all, and reads its file.
    pub(super) fn restart(&mut self) {
        fs::write(&self.state, "").expect("written");
        self.read();
    }

    fn read(&mut self) {
        let found = self.root.read(Path::new(DAEMON)).expect("read");
        let named = mirrors(&text(found.as_ref().map(|found| found.bytes.as_slice())));
        if let Some(named) = named.filter(|named| !self.refuses.as_ref().is_some_and(|refused| named.contains(refused))) {
            fs::write(&self.state, named.join("\n")).expect("written");
        }
    }
}

impl Engines for FakeEngines {
    fn reported(&mut self, _: Engine, _: &Daemon) -> Result<Reported, Fault> {
        if self.deaf { Err("nobody answers".into()) } else { Ok(Reported { mirrors: lines(&self.state), insecure: Vec::new() }) }
    }

    fn reload(&mut self, reload: &Reload) -> Result<Reported, Fault> {
        self.read();
        let log = lines(&self.reloads).join("\n") + "\nreload";
        fs::write(&self.reloads, log.trim_start()).expect("written");
        if self.deaf {
            return Err("nobody answers".into());
        }
        self.reported(reload.engine, &reload.daemon)
    }
}

pub(super) struct FakeEditor {
    /// What the engine said before; `None`: none runs.
    reported: Option<Vec<String>>,
}

impl Editor for FakeEditor {
    fn without_ours(&self, edit: &Edit<'_>) -> Result<Option<Vec<u8>>, String> {
        if let Some(at) = text(Some(edit.now)).lines().position(|line| NONSENSE.starts_with(line) && !line.is_empty()) {
            return Err(format!("line {} is nonsense", at + 1));
        }
        let original = text(edit.original);
        let ours: Vec<String> = edit.ours.iter().map(|bytes| text(Some(bytes))).collect();
        let is_ours =
            |line: &&str| ours.iter().any(|text| text.lines().any(|other| other == *line)) && !original.lines().any(|other| other == *line);
        let left: String = text(Some(edit.now)).lines().filter(|line| !is_ours(line)).flat_map(|line| [line, "\n"]).collect();
        Ok((edit.original.is_some() || !left.is_empty()).then(|| left.into_bytes()))
    }

    fn without_mirrors(&self, _: Engine, _: &Path, bytes: &[u8]) -> Result<Option<Vec<u8>>, String> {
        let text = text(Some(bytes));
        let left: String = text.lines().filter(|line| !line.starts_with("mirror ")).flat_map(|line| [line, "\n"]).collect();
        Ok(Some(left.into_bytes()))
    }

    fn mirrors(&self, _: Engine, _: &Path, bytes: &[u8]) -> Vec<String> {
        mirrors(&text(Some(bytes))).unwrap_or_default()
    }

    fn emptied(&self, _: Engine, path: &Path, last: Option<&[u8]>) -> Option<Vec<u8>> {
        let text = text(last);
        let kept = path == Path::new(DAEMON) && mirrors(&text).is_none();
        kept.then(|| format!("mirror -\n{text}").into_bytes())
    }

    fn reload(&self, engine: Engine, path: &Path, bytes: Option<&[u8]>) -> Option<Reload> {
        let mirrors = mirrors(&text(bytes)).unwrap_or_default();
        let needed = path == Path::new(DAEMON) && self.reported.as_ref().is_some_and(|reported| *reported != mirrors);
        needed.then(|| Reload { engine, daemon: process(), mirrors, insecure: Vec::new() })
    }
}

/// In memory, where files have attributes there: tests sync by the thousand.
fn scratch() -> tempfile::TempDir {
    let memory = tempfile::tempdir_in("/dev/shm").ok();
    let noted = memory.filter(|folder| rustix::fs::setxattr(folder.path(), "user.note", b"", XattrFlags::empty()).is_ok());
    noted.unwrap_or_else(|| tempfile::tempdir().expect("a folder"))
}

/// What a file names; `None`: it says nothing of mirrors.
fn mirrors(text: &str) -> Option<Vec<String>> {
    let named: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("mirror ")).collect();
    let mirrors = named.iter().filter(|name| **name != "-").map(|name| (*name).to_owned()).collect();
    (!named.is_empty()).then_some(mirrors)
}

fn process() -> Daemon {
    Daemon { pid: 1, socket: "/run/docker.sock".into() }
}

fn text(bytes: Option<&[u8]>) -> String {
    String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned()
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}
