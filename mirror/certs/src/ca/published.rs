//! What a server needs to know of a CA to admit its clients: who issues, and what was taken back.
//!
//! Read without the lock, since its operator may be at work: each file is replaced as a whole.

use std::path::{Path, PathBuf};

use rustls_pki_types::CertificateDer;

use super::folder::Folder;
use super::{Authority, CaError, Revocations, is_revoked};
use crate::Moment;

/// A CA as the ones who check its certificates see it.
#[derive(Clone, Debug)]
pub struct Published {
    issuers: Vec<Vec<Authority>>,
    revocations: Revocations,
}

impl Published {
    /// Of the CA in `folder`.
    pub fn read(folder: &Path) -> Result<Self, CaError> {
        let folder = Folder::new(folder);
        let document = folder.load()?.ok_or_else(|| CaError::Missing(folder.path().to_owned()))?;
        if document.issuers.is_empty() {
            return Err(CaError::NotSigned);
        }
        let issuers = document.issuers.iter().map(super::folder::Signer::chain).collect::<Result<_, _>>()?;
        Ok(Self { issuers, revocations: folder.revocations()? })
    }

    /// Its roots, as they lie in `ca.pem`: public, and what a token knows it by.
    pub fn roots(folder: &Path, now: Moment) -> Result<String, CaError> {
        let document = Folder::new(folder).load()?.ok_or_else(|| CaError::Missing(folder.to_owned()))?;
        Ok(document.anchors(now)?.iter().map(Authority::pem).collect())
    }

    /// The files that change when it does.
    pub fn files(folder: &Path) -> [PathBuf; 2] {
        Folder::new(folder).published()
    }

    /// Those that sign leaves and did, without what has ended or was taken back. Not the roots above: a company's root signs more than this CA does.
    pub fn issuers(&self, now: Moment) -> impl Iterator<Item = &Authority> {
        let is_good = move |chain: &&Vec<Authority>| {
            let certificates: Vec<CertificateDer<'_>> = chain.iter().map(|one| one.certificate().clone()).collect();
            chain[0].not_after() > now && !is_revoked(&self.revocations, &certificates)
        };
        self.issuers.iter().filter(is_good).map(|chain| &chain[0])
    }

    /// The one that signs now, whatever its state.
    pub fn newest(&self) -> Option<&Authority> {
        self.issuers.last()?.first()
    }

    /// What was taken back.
    pub fn revocations(&self) -> &Revocations {
        &self.revocations
    }
}
