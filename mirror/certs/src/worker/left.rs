//! Takes TXT records away that could not be taken away when their order ended.

use super::Worker;
use crate::store::{CertFolder, StoreError};

impl Worker {
    /// Tries again, where it is time; nobody else works on the certificate meanwhile.
    pub(super) async fn take_left_away(&self, folder: &CertFolder) -> Result<(), StoreError> {
        for place in [folder.clone(), folder.rehearsal()] {
            if !place.left()?.is_some_and(|left| left.is_due(self.clock.now())) {
                continue;
            }
            let _lock = match folder.lock() {
                Err(StoreError::Locked(_)) => return Ok(()), // It is for whoever has it, or for the next look.
                lock => lock?,
            };
            let Some(left) = place.left()? else { continue };
            // What an order under way has in the same place, a CA may be looking for right now.
            let needed = place.pending()?.map(|pending| pending.records).unwrap_or_default();
            let mut still_there = Vec::new();
            for record in left.records.clone() {
                if needed.contains(&record) || !self.solvers.withdraw_record(record.clone()).await {
                    still_there.push(record);
                }
            }
            place.save_left(&left.after(still_there, self.clock.now()))?;
        }
        Ok(())
    }
}
