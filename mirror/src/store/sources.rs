//! Which upstreams sent the bytes of what is stored.
//!
//! Content lies here once, whoever sent it. But it is given out only for an upstream that sent it: that another one names a digest, or says that it has it,
//! is no proof that it has the bytes, and they may be somebody's private ones.
//!
//! Most content is of one upstream, the *first*: the only one when the store first asked. Of that nothing is written. What others send has a record a
//! digest in their own folder, and content that has records is of those upstreams alone. A record is on the disk before its content has its name
//! (`Spool::publish`), so a crash leaves no content without. A store that several upstreams had filled before there were records has no first one: what has no
//! record there is everybody's, as it was.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::cleanup::is_older;
use super::disk::{Disk, locked};
use super::error::StoreError;
use super::layout::{Layout, file_name, parse_file_name};
use super::records;
use crate::config::UpstreamName;
use crate::oci::Digest;

/// Who sent what.
#[derive(Debug)]
pub(super) struct Sources {
    known: RwLock<Known>,
    /// One writer at a time, and whoever comes meanwhile waits for what it came for.
    writes: Mutex<()>,
}

#[derive(Debug, Default)]
struct Known {
    /// Whose all is that has no record.
    first: Option<UpstreamName>,
    /// It is on the disk whose all that is.
    is_first_saved: bool,
    sent: HashMap<UpstreamName, HashMap<Digest, Record>>,
    unsaved: HashSet<(UpstreamName, Digest)>,
    /// Those that have a folder, and so may have content without a record.
    upstreams: Vec<UpstreamName>,
}

#[derive(Clone, Copy, Debug)]
struct Record {
    /// Learned, or confirmed, by this process: its content may be on its way.
    fresh: bool,
    saved: bool,
}

/// A record says all with its name.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
struct Document {}

impl Sources {
    /// As earlier runs left it.
    pub(super) fn open(layout: &Layout) -> io::Result<Self> {
        let mut known = Known::default();
        for entry in fs::read_dir(layout.repos())? {
            let entry = entry?;
            let Some(Ok(upstream)) = entry.file_name().to_str().map(str::parse::<UpstreamName>) else { continue };
            if layout.first(&upstream).try_exists()? {
                (known.first, known.is_first_saved) = (Some(upstream.clone()), true);
            }
            let sent = names(&layout.sent(&upstream))?;
            if !sent.is_empty() {
                known.sent.insert(upstream.clone(), sent);
            }
            known.upstreams.push(upstream);
        }
        Ok(Self { known: RwLock::new(known), writes: Mutex::default() })
    }

    /// Settles whose all is that has no record, where it is not settled: the only upstream's that has filled this store, or, where it is empty, that of
    /// `upstream`. Where this cannot be written, nothing that another upstream sends is kept until it is.
    pub(super) fn claim(&self, disk: &Disk, upstream: &UpstreamName) -> Result<(), StoreError> {
        let _writing = locked(&self.writes);
        let Some(first) = self.read().only(upstream) else { return Ok(()) };
        self.change().first = Some(first);
        self.save_first(disk)
    }

    /// Without asking for room: it is one block, and without it all that is here would be everybody's at the next start.
    fn save_first(&self, disk: &Disk) -> Result<(), StoreError> {
        let Some(first) = Some(self.read()).filter(|known| !known.is_first_saved).and_then(|known| known.first.clone()) else {
            return Ok(());
        };
        let path = disk.layout.first(&first);
        disk.tree.write_always(disk, &path, &records::write(&Document {})).map_err(|source| StoreError::Io {
            doing: "write",
            path,
            source,
        })?;
        self.change().is_first_saved = true;
        Ok(())
    }

    /// Whether `upstream` sent `digest`, so far as it is here.
    pub(super) fn has_sent(&self, upstream: &UpstreamName, digest: &Digest) -> bool {
        let known = self.read();
        let mut senders = known.senders(digest).peekable();
        match senders.peek() {
            Some(_) => senders.any(|sender| sender == upstream),
            None => known.first.as_ref().is_none_or(|first| first == upstream),
        }
    }

    /// Learns that `upstream` sent `digest`, whose hash was checked. It is to be saved before the content is.
    pub(super) fn learn(&self, disk: &Disk, upstream: &UpstreamName, digest: &Digest) {
        let mut known = self.change();
        if let Some(record) = known.sent.get_mut(upstream).and_then(|sent| sent.get_mut(digest)) {
            record.fresh = true;
            return;
        }
        let has_record = known.senders(digest).next().is_some();
        match known.first.clone() {
            Some(first) if first == *upstream && !has_record => return,
            // What is here without a record stays the first one's as well, and everybody's where there is none. What the scan has not come to is not
            // known to be here: then its first owner fetches it once more, and nobody waits for the disk.
            Some(first) if !has_record && disk.index.contains(digest) => known.insert(&first, digest),
            None if !has_record && disk.index.contains(digest) => return,
            _ => {}
        }
        known.insert(upstream, digest);
    }

    /// Writes what only memory knows. When this returns, all that was learned before is on the disk.
    pub(super) fn save(&self, disk: &Disk) -> Result<(), StoreError> {
        let _writing = locked(&self.writes);
        let unsaved = self.read().unsaved();
        if !unsaved.is_empty() {
            self.save_first(disk)?;
        }
        for (upstream, digests) in unsaved {
            let folder = disk.layout.sent(&upstream);
            let files: Vec<_> = digests.iter().map(|digest| (folder.join(file_name(digest)), records::write(&Document {}))).collect();
            let (written, outcome) = disk.tree.write_all(disk, &files);
            let mut known = self.change();
            digests.iter().zip(written).filter(|(_, written)| *written).for_each(|(digest, _)| known.saved(&upstream, digest));
            outcome?;
        }
        Ok(())
    }

    /// Forgets records of content that is gone and that were written before `oldest`; how many.
    pub(super) fn forget_gone(&self, disk: &Disk, oldest: SystemTime) -> usize {
        let _writing = locked(&self.writes);
        let gone = self.read().gone(|digest| !disk.index.contains(digest));
        let path = |upstream: &UpstreamName, digest: &Digest| disk.layout.sent(upstream).join(file_name(digest));
        let mut forgotten = 0;
        for (upstream, digest) in gone.into_iter().filter(|(upstream, digest)| is_older(&path(upstream, digest), oldest)) {
            if self.change().forget(&upstream, &digest) {
                disk.tree.remove(disk, &path(&upstream, &digest));
                forgotten += 1;
            }
        }
        forgotten
    }

    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// The only upstream that there is or will be, where there can be one only and it is not settled which.
    fn only(&self, will_be: &UpstreamName) -> Option<UpstreamName> {
        let is_open = self.first.is_none() && self.sent.is_empty() && self.upstreams.len() < 2;
        is_open.then(|| self.upstreams.first().unwrap_or(will_be).clone())
    }

    fn senders<'a>(&'a self, digest: &'a Digest) -> impl Iterator<Item = &'a UpstreamName> {
        self.sent.iter().filter(move |(_, sent)| sent.contains_key(digest)).map(|(upstream, _)| upstream)
    }

    fn insert(&mut self, upstream: &UpstreamName, digest: &Digest) {
        self.unsaved.insert((upstream.clone(), digest.clone()));
        self.sent.entry(upstream.clone()).or_default().insert(digest.clone(), Record { fresh: true, saved: false });
    }

    fn saved(&mut self, upstream: &UpstreamName, digest: &Digest) {
        if let Some(record) = self.sent.get_mut(upstream).and_then(|sent| sent.get_mut(digest)).filter(|record| !record.saved) {
            record.saved = true;
            self.unsaved.remove(&(upstream.clone(), digest.clone()));
        }
    }

    /// The first one's before the others': a crash in between must not take from it what is its own.
    fn unsaved(&self) -> Vec<(UpstreamName, Vec<Digest>)> {
        let mut of: HashMap<&UpstreamName, Vec<Digest>> = HashMap::new();
        for (upstream, digest) in &self.unsaved {
            of.entry(upstream).or_default().push(digest.clone());
        }
        let mut all: Vec<(UpstreamName, Vec<Digest>)> = of.into_iter().map(|(upstream, digests)| (upstream.clone(), digests)).collect();
        all.sort_by_key(|(upstream, _)| Some(upstream) != self.first.as_ref());
        all
    }

    fn gone(&self, is_gone: impl Fn(&Digest) -> bool) -> Vec<(UpstreamName, Digest)> {
        let all = self.sent.iter().flat_map(|(upstream, sent)| sent.iter().map(move |(digest, record)| (upstream, digest, record)));
        let gone = all.filter(|(_, digest, record)| !record.fresh && is_gone(digest));
        gone.map(|(upstream, digest, _)| (upstream.clone(), digest.clone())).collect()
    }

    /// Unless it is fresh by now.
    fn forget(&mut self, upstream: &UpstreamName, digest: &Digest) -> bool {
        let Some(sent) = self.sent.get_mut(upstream) else { return false };
        let is_stale = sent.get(digest).is_some_and(|record| !record.fresh);
        if is_stale {
            sent.remove(digest);
            self.unsaved.remove(&(upstream.clone(), digest.clone()));
        }
        is_stale
    }
}

fn names(folder: &Path) -> io::Result<HashMap<Digest, Record>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(HashMap::new()),
        entries => entries?,
    };
    let mut names = HashMap::new();
    for entry in entries {
        if let Some(digest) = entry?.file_name().to_str().and_then(parse_file_name) {
            names.insert(digest, Record { fresh: false, saved: true });
        }
    }
    Ok(names)
}
