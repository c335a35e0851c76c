//! One order, from the wish to the chain. Each step is written down before it is taken, so that a crash loses no certificate that the CA has
//! counted: key and request before the order, the order's URL before its proofs.
//!
//! Whatever state an order is in, [`carry`] goes on from there: the CA's word for it decides, not our memory. [`rehearse`] is the same for trial.

mod records;
mod rehearsal;
mod words;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use instant_acme::{Account, AuthorizationState, AuthorizationStatus, ChallengeHandle, NewOrder, Order, OrderStatus};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::error::{ORDERING, with_causes};
use super::{CaError, Courier, Remedy, has_other_key, legible};
use crate::solve::{PresentError, Proof, Solvers, Way};
use crate::store::{AccountFolder, CertFolder, Pending, Proofs, StoreError};
use crate::{Bundle, Clock, Identifier, KeyKind, Wish};

pub use rehearsal::{End, Proved, Rehearsed, rehearse};
use words::{list, name_of, to_acme, type_of, way_of};

/// What an order needs.
#[derive(Clone, Copy)]
pub struct Errand<'a> {
    /// Who orders.
    pub account: &'a Account,
    /// Where the account is saved: somebody may give it another key meanwhile.
    pub accounts: &'a AccountFolder,
    /// Failed attempts before this one: each tries the next way of proof.
    pub attempt: u32,
    /// The time, by which what comes is judged.
    pub clock: &'a dyn Clock,
    /// Counts an order, just before it is placed: what a crash loop orders counts like anything else.
    pub count: &'a (dyn Fn() -> Result<(), StoreError> + Send + Sync),
    /// The account's own client.
    pub courier: &'a Courier,
    /// At which CA.
    pub directory: &'a str,
    /// Where it is written down.
    pub folder: &'a CertFolder,
    /// The certificate that it replaces (ARI).
    pub replaces: Option<&'a str>,
    /// How names can be proved.
    pub solvers: &'a Solvers,
    /// Whoever waits for it goes away: proofs are taken away again, but for those that a CA may be looking at, and the order goes on another time.
    pub stop: &'a CancellationToken,
    /// What is wanted.
    pub wish: &'a Wish,
}

/// How an order failed.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// At the CA.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// The order under way came to nothing meanwhile, and is forgotten: the next one is another, and counts.
    #[error("the order under way came to nothing")]
    Over(#[source] Option<CaError>),
    /// The key or the request could not be made.
    #[error("cannot make a key and a request for it")]
    Request(#[from] rcgen::Error),
    /// It was told to stop, which says nothing about the order: the next attempt goes on with it.
    #[error("it was told to stop")]
    Stopped,
    /// In our own files.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A certificate that came.
#[derive(Clone, Debug)]
pub struct Carried {
    /// Key and chain.
    pub bundle: Bundle,
    /// The CA knows that it replaces the one before.
    pub replaced: bool,
}

/// Brings the certificate: a new order, or the one under way. What is under way is forgotten once its end is stored by the caller, or it has failed; not
/// where what the CA refuses may be the key that the account had before: such an order is as good as before.
pub async fn carry(errand: &Errand<'_>) -> Result<Carried, OrderError> {
    let (mut pending, mut order) = match errand.resume().await? {
        Some(under_way) => under_way,
        None => errand.place().await?,
    };
    let outcome = errand.drive(&mut order, &mut pending).await;
    if let Err(OrderError::Ca(error)) = &outcome
        && !errand.is_passing(error)
        && !has_other_key(errand.accounts, errand.account, error)?
    {
        errand.give_up().await?;
    }
    outcome
}

impl Errand<'_> {
    /// The order is as good as before: the next attempt goes on with it. A chain that cannot be used may have come broken, and the CA has counted it:
    /// it is downloaded some more times before another is ordered.
    fn is_passing(&self, error: &CaError) -> bool {
        match error {
            // What the CA refuses for its content, such as our request, it refuses again.
            CaError::Exchange { .. } => !error.is_lost_order() && !error.is_for_a_person(),
            CaError::Late { .. } => true,
            CaError::Present { passes, .. } | CaError::Settle { passes, .. } => *passes,
            CaError::Unusable { .. } => self.attempt < DOWNLOADS,
            _ => false,
        }
    }

    /// The order under way, if it is for what is wanted now and the CA still has it.
    async fn resume(&self) -> Result<Option<(Pending, Order)>, OrderError> {
        let Some(pending) = self.folder.pending()? else { return Ok(None) };
        let fits = pending.directory == self.directory
            && pending.account == self.account.id()
            && pending.identifiers == self.wish.identifiers
            && pending.kind == self.wish.key
            && pending.profile == self.wish.profile;
        let Some(url) = pending.order.clone() else {
            self.folder.clear_pending()?; // It was never placed, as far as we know.
            return Ok(None);
        };
        let why = if fits {
            match self.account.order(url).await.map_err(|source| self.failed("looking at the order under way", source)) {
                Ok(mut order) => {
                    if order.state().status != OrderStatus::Invalid {
                        return Ok(Some((pending, order)));
                    }
                    Some(self.unproved(&mut order).await)
                }
                Err(error) if error.is_lost_order() => None,
                Err(error) => return Err(error.into()),
            }
        } else {
            None
        };
        self.give_up().await?;
        Err(OrderError::Over(why))
    }

    async fn place(&self) -> Result<(Pending, Order), OrderError> {
        let (key, csr) = request(self.wish)?;
        let mut pending = Pending {
            account: self.account.id().to_owned(),
            csr: hex::encode(csr),
            directory: self.directory.to_owned(),
            identifiers: self.wish.identifiers.clone(),
            key,
            kind: self.wish.key,
            order: None,
            profile: self.wish.profile.clone(),
            proofs: Proofs::default(),
            records: Vec::new(),
            replaces: self.replaces.map(str::to_owned),
        };
        self.folder.save_pending(&pending)?;
        (self.count)()?;
        let order = match self.order(pending.replaces.as_deref()).await {
            Err(error) if pending.replaces.is_some() && self.is_better_without_replaces(&error) => {
                pending.replaces = None;
                self.order(None).await
            }
            order => order,
        };
        let order = order?;
        pending.order = Some(order.url().to_owned());
        self.folder.save_pending(&pending)?;
        Ok((pending, order))
    }

    /// Whatever a CA says against such an order, it does not say for ever: without a word about the one before, it is an order like any other.
    fn is_better_without_replaces(&self, error: &CaError) -> bool {
        error.remedy() == Some(Remedy::WithoutReplaces) || (self.attempt >= WITH_REPLACES && error.is_refusal())
    }

    async fn order(&self, replaces: Option<&str>) -> Result<Order, CaError> {
        let identifiers: Vec<_> = self.wish.identifiers.iter().map(to_acme).collect();
        let mut new = NewOrder::new(&identifiers);
        if let Some((authority, serial)) = replaces.and_then(|id| id.split_once('.')) {
            new = new.replaces(instant_acme::CertificateIdentifier { authority_key_identifier: authority.into(), serial: serial.into() });
        }
        if let Some(profile) = self.wish.profile.as_ref().filter(|profile| self.offers(profile)) {
            new = new.profile(profile);
        }
        self.account.new_order(&new).await.map_err(|source| self.failed(ORDERING, source))
    }

    /// Of several CAs some do not know each other's profiles. A CA that is the only one is asked in any case, and says what is wrong with it.
    fn offers(&self, profile: &str) -> bool {
        self.wish.directories.len() == 1 || self.account.profiles().any(|offered| offered.name == profile)
    }

    /// From any state to the chain.
    async fn drive(&self, order: &mut Order, pending: &mut Pending) -> Result<Carried, OrderError> {
        if order.state().status == OrderStatus::Pending {
            self.prove(order, pending).await?;
        }
        self.withdraw_records(pending).await?; // Those of a process that died once its proofs had done their work.
        if order.state().status == OrderStatus::Ready {
            let csr = hex::decode(&pending.csr).unwrap_or_default();
            order.finalize_csr(&csr).await.map_err(|source| self.failed("finalizing the order", source))?;
        }
        self.until(order, "issue the certificate", |status| matches!(status, OrderStatus::Valid | OrderStatus::Invalid)).await?;
        if order.state().status == OrderStatus::Invalid {
            return Err(self.unproved(order).await.into());
        }
        let chain = order.certificate().await.map_err(|source| self.failed("downloading the certificate", source))?;
        let unusable = |source| CaError::Unusable { directory: self.directory.to_owned(), source };
        let bundle = Bundle::join(&pending.key, &chain.unwrap_or_default()).map_err(unusable)?;
        bundle.check(&self.wish.identifiers, self.clock.now()).map_err(unusable)?;
        Ok(Carried { bundle, replaced: pending.replaces.is_some() })
    }

    /// Puts a proof for each name in place, and takes all of them away again, however it ends. But where it is told to stop while the CA looks, TXT records
    /// stay: one that goes away under its eyes is a failed proof, which it counts. They are noted, and the next start goes on with the order.
    async fn prove(&self, order: &mut Order, pending: &mut Pending) -> Result<(), OrderError> {
        let (mut presented, is_told) = (Vec::new(), AtomicBool::new(false));
        let work = async {
            self.present(order, pending, &mut presented).await?;
            is_told.store(true, Ordering::Relaxed);
            self.tell(order, &presented).await?;
            Ok(self.until(order, "check the proofs", |status| status != OrderStatus::Pending).await?)
        };
        let outcome = tokio::select! {
            outcome = work => outcome,
            () = self.stop.cancelled() => Err(OrderError::Stopped),
        };
        let stay = is_told.into_inner() && matches!(outcome, Err(OrderError::Stopped));
        presented.retain(|proof| !(stay && proof.way == Way::Dns));
        let (mut gone, mut left) = (Vec::new(), Vec::new());
        for proof in presented {
            let value = proof.dns_value.clone();
            if self.solvers.withdraw(proof).await { &mut gone } else { &mut left }.push(value);
        }
        let noted = self.forget_records(pending, &gone).and_then(|()| self.leave_records(pending, &left));
        outcome?;
        noted?;
        if order.state().status == OrderStatus::Invalid { Err(self.unproved(order).await.into()) } else { Ok(()) }
    }

    /// All proofs are in place before the CA is told of the first: a wildcard and its own name share a place in DNS, and who has looked there keeps what
    /// was seen for a while.
    async fn present(&self, order: &mut Order, pending: &mut Pending, presented: &mut Vec<Proof>) -> Result<(), OrderError> {
        pending.proofs = Proofs::default();
        let mut is_new = false;
        let mut ordered = BTreeSet::new();
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.map_err(|source| self.failed("reading an authorization", source))?;
            let written = authorization.identifier().to_string();
            let identifier: Identifier = written.parse().map_err(|_| self.other_names(&written))?;
            if !self.wish.identifiers.contains(&identifier) {
                return Err(self.other_names(&written).into());
            }
            ordered.insert(identifier.clone());
            if authorization.status != AuthorizationStatus::Pending {
                continue;
            }
            let way = match self.way(&authorization, &identifier) {
                Ok(way) => way,
                Err(offered) => return Err(CaError::NoChallenge { directory: self.directory.to_owned(), identifier, offered }.into()),
            };
            let Some(challenge) = authorization.challenge(type_of(way)) else { continue };
            let proof = proof(&challenge, &identifier, way);
            self.note_record(pending, &proof).await?;
            presented.push(proof.clone()); // Before it is there: half of it is taken away as well.
            self.solvers.present(&proof).await.map_err(|error| unpresented(identifier, &error))?;
            is_new |= pending.proofs.add(&proof);
        }
        if ordered != self.wish.identifiers {
            return Err(self.other_names(&list(&ordered)).into());
        }
        if is_new {
            self.folder.save_pending(pending)?; // Before the CA looks: it may meet another process than this one.
        }
        let settled = self.solvers.settle(presented).await;
        let unsettled = |error: PresentError| {
            let (directory, passes) = (self.directory.to_owned(), error.passes());
            CaError::Settle { directory, passes, reason: with_causes(&error) }
        };
        Ok(settled.map_err(unsettled)?)
    }

    /// How `identifier` is proved, among the ways that the CA offers; else those.
    fn way(&self, authorization: &AuthorizationState, identifier: &Identifier) -> Result<Way, String> {
        let offered: Vec<Way> = authorization.challenges.iter().filter_map(|challenge| way_of(&challenge.r#type)).collect();
        let names = || authorization.challenges.iter().map(|challenge| name_of(&challenge.r#type)).collect::<Vec<_>>().join(", ");
        self.solvers.choose(identifier, &offered, self.attempt).ok_or_else(|| legible(&names()))
    }

    /// That all proofs are in place. What was read of an authorization is not read again.
    async fn tell(&self, order: &mut Order, presented: &[Proof]) -> Result<(), CaError> {
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.map_err(|source| self.failed("reading an authorization", source))?;
            let written = authorization.identifier().to_string();
            let of = |proof: &&Proof| written.parse().is_ok_and(|identifier: Identifier| identifier == proof.identifier);
            let Some(proof) = presented.iter().find(of) else { continue };
            let Some(mut challenge) = authorization.challenge(type_of(proof.way)) else { continue };
            challenge.set_ready().await.map_err(|source| self.failed("telling that a proof is in place", source))?;
        }
        Ok(())
    }

    /// Looks at the order until `is_done`, as often as the CA wants.
    async fn until(&self, order: &mut Order, doing: &'static str, is_done: impl Fn(OrderStatus) -> bool) -> Result<(), CaError> {
        let (began, mut pause) = (Instant::now(), FIRST_PAUSE);
        while !is_done(order.state().status) {
            if began.elapsed() > PATIENCE {
                return Err(CaError::Late { directory: self.directory.to_owned(), doing, waited: PATIENCE });
            }
            let asked = self.courier.seen().retry_after.unwrap_or(pause);
            tokio::time::sleep(asked.clamp(FIRST_PAUSE, LONGEST_PAUSE)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            order.refresh().await.map_err(|source| self.failed("looking at the order", source))?;
        }
        Ok(())
    }

    /// What the CA says of each name: the order itself says at most that something failed.
    async fn unproved(&self, order: &mut Order) -> CaError {
        let _ = order.refresh().await; // The states of authorizations are read anew after it.
        let mut failed = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(Ok(authorization)) = authorizations.next().await {
            let problems = authorization.challenges.iter().filter_map(|challenge| {
                let problem = challenge.error.as_ref()?;
                Some(format!("{}: {}", name_of(&challenge.r#type), problem.detail.as_deref().unwrap_or("no detail")))
            });
            let said: Vec<String> = problems.collect();
            if let Ok(identifier) = authorization.identifier().to_string().parse()
                && !said.is_empty()
            {
                failed.push((identifier, legible(&said.join(", "))));
            }
        }
        CaError::Unproved { directory: self.directory.to_owned(), failed }
    }

    fn failed(&self, doing: &'static str, source: instant_acme::Error) -> CaError {
        CaError::Exchange { directory: self.directory.to_owned(), doing, seen: self.courier.seen(), source }
    }

    fn other_names(&self, got: &str) -> CaError {
        CaError::Identifiers { directory: self.directory.to_owned(), got: legible(got) }
    }
}

fn unpresented(identifier: Identifier, error: &PresentError) -> CaError {
    CaError::Present { identifier, passes: error.passes(), reason: with_causes(error) }
}

fn proof(challenge: &ChallengeHandle<'_>, identifier: &Identifier, way: Way) -> Proof {
    let key_authorization = challenge.key_authorization();
    Proof {
        digest: key_authorization.digest().as_ref().to_vec(),
        dns_value: key_authorization.dns_value(),
        identifier: identifier.clone(),
        key_authorization: key_authorization.as_str().to_owned(),
        token: challenge.token.clone(),
        way,
    }
}

/// A new key and a request for `wish`: PEM and DER.
fn request(wish: &Wish) -> Result<(String, Vec<u8>), rcgen::Error> {
    let key = match wish.key {
        KeyKind::P256 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?,
        KeyKind::P384 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384)?,
        KeyKind::Rsa2048 => KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048)?,
    };
    let names: Vec<String> = wish.identifiers.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = DistinguishedName::new();
    let csr = params.serialize_request(&key)?;
    Ok((key.serialize_pem(), csr.der().to_vec()))
}

/// Failed attempts up to which a chain that cannot be used is downloaded again.
const DOWNLOADS: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Failed attempts after which the certificate before is not mentioned any more.
const WITH_REPLACES: u32 = 2;
/// For each of the two waits of an order.
const PATIENCE: Duration = Duration::from_secs(120);
