//! TXT records outlive the process that wrote them: each is written down with the order before it is written, and taken away by whoever goes on with the
//! order, or finds that it came to nothing. What cannot be taken away is no longer the order's, which is soon forgotten, but the certificate's
//! ([`Left`](crate::store::Left)), and is tried again.

use super::{Errand, OrderError, unpresented};
use crate::solve::Proof;
use crate::store::{Pending, Record, StoreError};

impl Errand<'_> {
    /// Before it is there.
    pub(super) async fn note_record(&self, pending: &mut Pending, proof: &Proof) -> Result<(), OrderError> {
        let noted = self.solvers.record(proof).await;
        let noted = noted.map_err(|error| unpresented(proof.identifier.clone(), &error))?;
        if let Some(record) = noted.filter(|record| !pending.records.contains(record)) {
            pending.records.push(record);
            self.folder.save_pending(pending)?;
        }
        Ok(())
    }

    /// These are not the order's any more.
    pub(super) fn forget_records(&self, pending: &mut Pending, values: &[String]) -> Result<(), StoreError> {
        let before = pending.records.len();
        pending.records.retain(|record| !values.contains(&record.value));
        if pending.records.len() == before { Ok(()) } else { self.folder.save_pending(pending) }
    }

    /// Takes away what is left of others.
    pub(super) async fn withdraw_records(&self, pending: &mut Pending) -> Result<(), StoreError> {
        if pending.records.is_empty() {
            return Ok(());
        }
        let (mut gone, mut left) = (Vec::new(), Vec::new());
        for record in pending.records.clone() {
            let value = record.value.clone();
            if self.solvers.withdraw_record(record).await { &mut gone } else { &mut left }.push(value);
        }
        self.forget_records(pending, &gone)?;
        self.leave_records(pending, &left)
    }

    /// These could not be taken away.
    pub(super) fn leave_records(&self, pending: &mut Pending, values: &[String]) -> Result<(), StoreError> {
        let left: Vec<Record> = pending.records.iter().filter(|record| values.contains(&record.value)).cloned().collect();
        if left.is_empty() {
            return Ok(());
        }
        self.folder.leave(left, self.clock.now())?; // First: a crash between the two leaves it noted twice.
        self.forget_records(pending, values)
    }

    /// The order under way is of no use: forgets it, and takes away what it left.
    pub async fn give_up(&self) -> Result<(), StoreError> {
        if let Ok(Some(mut pending)) = self.folder.pending() {
            self.withdraw_records(&mut pending).await?;
        }
        self.folder.clear_pending()
    }
}
