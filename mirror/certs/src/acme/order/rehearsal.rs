//! An order for trial: every name is proved, and what comes of it is thrown away.
//!
//! Which name was proved by which way is the CA's own word, read from its authorizations when all is over.

use instant_acme::{AuthorizationStatus, ChallengeStatus, Order, OrderStatus};

use super::words::name_of;
use super::{Carried, Errand, OrderError, legible};
use crate::store::Pending;
use crate::{Identifier, Moment};

/// What a trial came to.
#[derive(Debug)]
pub struct Rehearsed {
    /// How it ended.
    pub end: Result<End, OrderError>,
    /// How each name was proved, or was not.
    pub names: Vec<(Identifier, Proved)>,
}

/// How a trial ended that went well.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum End {
    /// A certificate came, which is valid until then, and is thrown away.
    Certificate(Moment),
    /// Every name is proved; no certificate was asked for.
    Names,
}

/// The CA's word for a name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Proved {
    /// In this way.
    By(String),
    /// It could not, and says why.
    No(String),
    /// Another name failed before this one was looked at.
    Unasked,
}

/// Orders for trial, as `errand` says; with `whole` the certificate comes too, else it ends where every name is proved. Nothing is left in the
/// errand's folder.
pub async fn rehearse(errand: &Errand<'_>, whole: bool) -> Result<Rehearsed, OrderError> {
    errand.give_up().await?; // What one left that was killed.
    let placed = errand.place().await;
    let rehearsed = match placed {
        Ok((mut pending, mut order)) => {
            let end = errand.rehearse(&mut order, &mut pending, whole).await;
            Ok(Rehearsed { end, names: names(&mut order).await })
        }
        Err(error) => Err(error),
    };
    errand.folder.clear_pending()?;
    rehearsed
}

impl Errand<'_> {
    async fn rehearse(&self, order: &mut Order, pending: &mut Pending, whole: bool) -> Result<End, OrderError> {
        if whole {
            let Carried { bundle, .. } = self.drive(order, pending).await?;
            return Ok(End::Certificate(bundle.not_after()));
        }
        if order.state().status == OrderStatus::Pending {
            self.prove(order, pending).await?;
        }
        Ok(End::Names)
    }
}

/// What the CA says of each; as many as it tells.
async fn names(order: &mut Order) -> Vec<(Identifier, Proved)> {
    let _ = order.refresh().await; // The states of authorizations are read anew after it.
    let mut names = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(Ok(authorization)) = authorizations.next().await {
        let Ok(identifier) = authorization.identifier().to_string().parse() else { continue };
        let valid = authorization.challenges.iter().find(|challenge| challenge.status == ChallengeStatus::Valid);
        let refused = authorization.challenges.iter().filter_map(|challenge| {
            let problem = challenge.error.as_ref()?;
            Some(format!("{}: {}", name_of(&challenge.r#type), problem.detail.as_deref().unwrap_or("no detail")))
        });
        let refused: Vec<String> = refused.collect();
        let proved = match (authorization.status, valid) {
            (AuthorizationStatus::Valid, Some(challenge)) => Proved::By(name_of(&challenge.r#type).to_owned()),
            (AuthorizationStatus::Valid, None) => Proved::By("an earlier order".to_owned()),
            _ if refused.is_empty() => Proved::Unasked,
            _ => Proved::No(legible(&refused.join(", "))),
        };
        names.push((identifier, proved));
    }
    names
}
