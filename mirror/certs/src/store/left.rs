//! TXT records that could not be taken away when their order ended: a name server was away, or a script failed. They are written down beside the
//! certificate, and tried again, ever more rarely, until they are gone.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{CertFolder, Record, StoreError, files};
use crate::Moment;

/// What is left in DNS.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Left {
    /// The records.
    pub records: Vec<Record>,
    /// How often that was tried in vain since the last one came.
    pub tried: u32,
    /// Not before.
    pub until: Moment,
}

impl Left {
    /// Whether it is to be tried again. What is beyond the longest pause was noted by a clock that was ahead.
    pub fn is_due(&self, now: Moment) -> bool {
        self.until <= now || self.until > now + LONGEST
    }

    /// What is left after one more try.
    pub fn after(self, records: Vec<Record>, now: Moment) -> Self {
        let tried = self.tried.saturating_add(1);
        Self { records, tried, until: now + pause(tried) }
    }
}

impl CertFolder {
    /// What is left in DNS of orders that are over.
    pub fn left(&self) -> Result<Option<Left>, StoreError> {
        self.explained(files::read(&self.folder.join(LEFT)))
    }

    /// Adds to it.
    pub fn leave(&self, records: Vec<Record>, now: Moment) -> Result<(), StoreError> {
        let mut all = self.left()?.map(|left| left.records).unwrap_or_default();
        all.extend(records.into_iter().filter(|record| !all.contains(record)).collect::<Vec<_>>());
        self.save_left(&Left { records: all, tried: 0, until: now + pause(0) })
    }

    /// Remembers it; nothing, where nothing is left.
    pub fn save_left(&self, left: &Left) -> Result<(), StoreError> {
        let path = self.folder.join(LEFT);
        self.explained(if left.records.is_empty() { files::remove(&path) } else { files::write(&path, left) })
    }
}

fn pause(tried: u32) -> Duration {
    FIRST.saturating_mul(2_u32.saturating_pow(tried)).min(LONGEST)
}

const LEFT: &str = "left.json";
const FIRST: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(6 * 3600);

#[cfg(test)]
mod tests {
    use super::super::Store;
    use super::*;

    fn record(value: &str) -> Record {
        Record { identifier: "a.test".parse().expect("a name"), place: None, token: "t".into(), value: value.into() }
    }

    #[test]
    fn what_is_left_is_tried_ever_more_rarely_and_forgotten_once_it_is_gone() {
        let folder = tempfile::tempdir().expect("a folder");
        let certificate = Store::new(folder.path()).certificate(&"a.test".parse().expect("a name"));
        let mut now = Moment::from_unix(1_800_000_000);
        for values in [["one"], ["two"], ["one"]] {
            certificate.leave(values.map(record).into(), now).expect("written");
        }
        let mut pauses = Vec::new();
        for _ in 0..12 {
            let left = certificate.left().expect("read").expect("there");
            assert_eq!(left.records, ["one", "two"].map(record));
            assert!(!left.is_due(now) && left.is_due(left.until) && left.is_due(Moment::from_unix(0)));
            pauses.push(left.until.since(now).as_secs() / 60);
            now = left.until;
            let records = left.records.clone();
            certificate.save_left(&left.after(records, now)).expect("written");
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 360, 360, 360]);
        let left = certificate.left().expect("read").expect("there");
        certificate.save_left(&left.after(Vec::new(), now)).expect("written");
        assert_eq!(certificate.left().expect("read"), None);
    }
}
