use proptest::prelude::*;

use super::*;
use crate::oci::Algorithm;

#[test]
fn an_entry_takes_less_than_a_hundred_bytes() {
    // hashbrown: one control byte a slot, and at 100,000 entries 6250 of 8192 slots of each shard are taken.
    let slot = size_of::<(Digest, Entry)>() + 1;
    assert!(slot * 8192 / 6250 <= 100, "{slot} bytes a slot");
}

#[test]
fn a_clock_that_goes_back_makes_nothing_older() {
    let index = Index::new();
    index.insert(digest(1), new(ChildKind::Blob, 512, 1000));
    assert_eq!(index.touch(&digest(1), 10), Some((ChildKind::Blob, false)));
    assert!(index.unused_since(1000).is_empty());
}

#[test]
fn what_was_used_while_the_clock_was_ahead_ages_like_everything_else() {
    let (index, mut queue) = (Index::new(), Queue::new(2));
    index.insert(digest(1), new(ChildKind::Blob, 512, Seconds::MAX));
    index.insert(digest(2), new(ChildKind::Blob, 512, 100));
    index.insert(digest(3), new(ChildKind::Blob, 512, 200));
    assert_eq!(queue.next(&index, 300), Some(digest(2)), "nothing is older for it");
    index.remove(&digest(2));
    index.insert(digest(4), new(ChildKind::Blob, 512, 400));
    index.touch(&digest(3), 500);
    assert_eq!(queue.next(&index, 600), Some(digest(1)), "it was last used at 300 at the latest");
    assert_eq!(index.unused_since(301), [digest(1)]);
}

#[test]
fn the_file_learns_of_its_use_once_a_minute() {
    let index = Index::new();
    index.insert(digest(1), new(ChildKind::Blob, 512, 1000));
    let due: Vec<bool> = [1030, 1059, 1060, 1061, 1119, 1120, 9000].map(|now| index.touch(&digest(1), now).expect("there").1).into();
    assert_eq!(due, [false, false, true, false, false, true, true]);
}

#[test]
fn a_reader_of_an_old_file_does_not_count_for_the_new_one() {
    let index = Index::new();
    let old = index.insert(digest(1), New { leased: true, ..new(ChildKind::Blob, 512, 1) }).expect("new");
    assert_eq!(index.remove_idle(&digest(1)), None);
    assert_eq!(index.remove(&digest(1)).expect("there").readers, 1);
    let lease = index.insert(digest(1), New { leased: true, ..new(ChildKind::Blob, 512, 1) }).expect("new");
    assert!(!index.release(&digest(1), old.generation));
    assert_eq!(index.remove_idle(&digest(1)), None, "the new one's reader is still there");
    assert!(index.release(&digest(1), lease.generation));
    assert!(index.remove_idle(&digest(1)).is_some());
}

#[derive(Clone, Debug)]
enum Step {
    Evict,
    Insert { id: u8, manifest: bool, blocks: u64, at: Seconds },
    Lease { id: u8, at: Option<Seconds> },
    Release { id: u8 },
    Remove { id: u8 },
    Touch { id: u8, at: Seconds },
}

fn step() -> impl Strategy<Value = Step> {
    let id = 0..24_u8;
    let at = 0..20_u32;
    prop_oneof![
        2 => Just(Step::Evict),
        3 => (id.clone(), any::<bool>(), 0..8_u64, at.clone()).prop_map(|(id, manifest, blocks, at)| Step::Insert { id, manifest, blocks, at }),
        2 => (id.clone(), proptest::option::of(at.clone())).prop_map(|(id, at)| Step::Lease { id, at }),
        2 => id.clone().prop_map(|id| Step::Release { id }),
        1 => id.clone().prop_map(|id| Step::Remove { id }),
        2 => (id, at).prop_map(|(id, at)| Step::Touch { id, at }),
    ]
}

/// The same, as slow and plain as can be.
#[derive(Default)]
struct Model(Vec<Row>);

#[derive(Clone, Copy)]
struct Row {
    id: u8,
    manifest: bool,
    bytes: u64,
    last_use: Seconds,
    generation: u16,
    readers: u16,
}

impl Model {
    fn row(&mut self, id: u8) -> Option<&mut Row> {
        self.0.iter_mut().find(|row| row.id == id)
    }

    fn next(&self) -> Option<u8> {
        let idle = self.0.iter().filter(|row| row.readers == 0);
        idle.min_by_key(|row| (row.manifest, row.last_use, digest(row.id))).map(|row| row.id)
    }

    fn idle(&self) -> u64 {
        self.0.iter().filter(|row| row.readers == 0).map(|row| row.bytes).sum()
    }
}

proptest! {
    #[test]
    fn eviction_takes_the_least_recently_used_layers_first_and_nothing_that_is_read(steps in prop::collection::vec(step(), 0..200), batch in 1..5_usize) {
        let (index, mut queue, mut model) = (Index::new(), Queue::new(batch), Model::default());
        for step in steps {
            match step {
                Step::Evict => {
                    let evicted = queue.next(&index, Seconds::MAX);
                    prop_assert_eq!(evicted.clone(), model.next().map(digest));
                    if let Some(evicted) = evicted {
                        let removed = index.remove_idle(&evicted).expect("it was idle");
                        let id = model.next().expect("the same");
                        prop_assert_eq!(Some(removed.bytes), model.row(id).map(|row| row.bytes));
                        model.0.retain(|row| row.id != id);
                    }
                }
                Step::Insert { id, manifest, blocks, at } => {
                    let kind = if manifest { ChildKind::Manifest } else { ChildKind::Blob };
                    let lease = index.insert(digest(id), new(kind, blocks * BLOCK, at));
                    prop_assert_eq!(lease.is_none(), model.row(id).is_some());
                    if let Some(lease) = lease {
                        model.0.push(Row { id, manifest, bytes: blocks * BLOCK, last_use: at, generation: lease.generation, readers: 0 });
                    }
                }
                Step::Lease { id, at } => {
                    let lease = index.lease(&digest(id), at);
                    prop_assert_eq!(lease.is_some(), model.row(id).is_some());
                    if let Some(row) = model.row(id) {
                        row.readers += 1;
                        row.last_use = row.last_use.max(at.unwrap_or(0));
                    }
                }
                Step::Release { id } => {
                    if let Some(row) = model.row(id).filter(|row| row.readers > 0) {
                        row.readers -= 1;
                        prop_assert!(index.release(&digest(id), row.generation));
                    }
                }
                Step::Remove { id } => {
                    prop_assert_eq!(index.remove(&digest(id)).is_some(), model.row(id).is_some());
                    model.0.retain(|row| row.id != id);
                }
                Step::Touch { id, at } => {
                    index.touch(&digest(id), at);
                    if let Some(row) = model.row(id) {
                        row.last_use = row.last_use.max(at);
                    }
                }
            }
            prop_assert_eq!(index.idle(), model.idle());
            prop_assert_eq!(index.digests().len(), model.0.len());
        }
    }
}

fn digest(id: u8) -> Digest {
    Digest::of(Algorithm::Sha256, &[id])
}

fn new(kind: ChildKind, bytes: u64, last_use: Seconds) -> New {
    New { kind, bytes, last_use, verified: false, leased: false }
}
