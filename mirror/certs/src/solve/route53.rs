//! dns-01 in zones at Amazon Route 53.
//!
//! A name's TXT records are one record set there, which is written as a whole: what is there is read, and replaced by itself with our value in one step
//! that fails if somebody else was faster; then it is read again. So no value of others is lost, and of ours none is left.

mod api;
mod credentials;
mod sign;
mod xml;

use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use tokio::sync::Mutex;
use tokio::time::Instant;
use url::Url;

use crate::acme::{self, CourierError};
use crate::dns::Name;
use api::{Account, RecordSet};
pub use credentials::{CredentialsError, Environment};
pub use sign::Credentials;

/// The zones of an AWS account.
#[derive(Clone, Debug)]
pub struct Route53 {
    environment: Environment,
    http: reqwest::Client,
    /// Of services on this machine, to which no proxy leads.
    nearby: reqwest::Client,
    /// One change at a time: of two, the second would have to be made again.
    one: Arc<Mutex<()>>,
    settings: Route53Settings,
}

/// Which zones.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Route53Settings {
    /// Where the service is.
    pub endpoint: Url,
    /// The profile in the shared credentials file.
    pub profile: Option<String>,
    /// The hosted zone; else the one with the longest name that the record's name ends in.
    pub zone_id: Option<String>,
}

/// Why a record was not written.
#[derive(Debug, thiserror::Error)]
pub enum Route53Error {
    /// It does not come to rest.
    #[error("Route 53 cannot {doing} ({code}), also after {TRIES} attempts")]
    Busy {
        /// What it says.
        code: String,
        /// What was being done.
        doing: &'static str,
    },
    /// None.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// They do not suffice.
    #[error("AWS does not let these credentials {doing}: allow the action {action} in their IAM policy ({said})")]
    Denied {
        /// What is missing.
        action: &'static str,
        /// What was being done.
        doing: &'static str,
        /// What AWS says.
        said: String,
    },
    /// Not an answer of AWS.
    #[error("Route 53 did not {doing}: its answer is none of AWS (HTTP {status})")]
    Garbled {
        /// What was being done.
        doing: &'static str,
        /// What came with it.
        status: u16,
    },
    /// No such zone.
    #[error(
        "there is no public hosted zone that {name} is in: make one, name it in acme.dns.route53.zone_id, or use the credentials of the account that has it"
    )]
    NoZone {
        /// Which record.
        name: Name,
    },
    /// The record set is of a kind that is not ours to change.
    #[error(
        "the TXT records of {name} have a routing policy or are an alias, which chandler does not change; remove them, or use another name"
    )]
    Policy {
        /// Which.
        name: Name,
    },
    /// It says no.
    #[error("Route 53 cannot {doing}: {mend}{said} ({code})")]
    Refused {
        /// What it calls it.
        code: String,
        /// What was being done.
        doing: &'static str,
        /// What to do, if it is known.
        mend: &'static str,
        /// What it says.
        said: String,
    },
    /// The network.
    #[error("cannot {doing} at Route 53")]
    Unreached {
        /// What was being done.
        doing: &'static str,
        /// Why not.
        #[source]
        source: reqwest::Error,
    },
}

impl Route53Error {
    pub(super) fn passes(&self) -> bool {
        matches!(self, Self::Busy { .. } | Self::Credentials(CredentialsError::Service { .. }) | Self::Unreached { .. })
    }
}

impl Route53 {
    /// The service is known by `roots`.
    pub fn new(settings: Route53Settings, environment: Environment, roots: &RootCertStore) -> Result<Self, CourierError> {
        let client = |builder: reqwest::ClientBuilder| builder.build().map_err(CourierError::Client);
        let (http, nearby) = (client(acme::client(roots.clone())?)?, client(acme::client(roots.clone())?.no_proxy())?);
        Ok(Self { environment, http, nearby, one: Arc::default(), settings })
    }

    /// Adds the record. Gives the change's number, where one was to be made.
    pub async fn add(&self, name: &Name, value: &str) -> Result<Option<String>, Route53Error> {
        let _alone = self.one.lock().await;
        self.change(name, |set| set.with(value)).await
    }

    /// Waits until all of Amazon's servers have these changes. It takes a minute at most as a rule; what is late is seen by asking them.
    pub async fn settle(&self, changes: &[String]) -> Result<(), Route53Error> {
        let account = self.account().await?;
        let deadline = Instant::now() + PATIENCE;
        for change in changes {
            let mut pause = FIRST_PAUSE;
            while !account.is_settled(change).await? {
                if Instant::now() > deadline {
                    tracing::warn!(change, "Route 53 has not told all of its servers within {} s", PATIENCE.as_secs());
                    break;
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
        Ok(())
    }

    /// Takes this one away.
    pub async fn remove(&self, name: &Name, value: &str) -> Result<(), Route53Error> {
        let _alone = self.one.lock().await;
        self.change(name, |set| set.without(value)).await.map(drop)
    }

    /// Whether there are credentials that may read a zone for it. Gives the zone.
    pub async fn try_out(&self, name: &Name) -> Result<String, Route53Error> {
        let account = self.account().await?;
        let zone = self.zone(&account, name).await?;
        account.records(&zone, name).await?;
        Ok(zone)
    }

    /// The change that was made, if one was to be made.
    async fn change(&self, name: &Name, change: impl Fn(&RecordSet) -> RecordSet) -> Result<Option<String>, Route53Error> {
        let account = self.account().await?;
        let zone = self.zone(&account, name).await?;
        for _ in 1..TRIES {
            let before = account.records(&zone, name).await?;
            let after = change(&before);
            if after == before {
                return Ok(None);
            }
            if let Some(change) = account.replace(&zone, name, &before, &after).await? {
                return Ok(Some(change));
            }
        }
        Err(Route53Error::Busy { code: "others change it all the time".into(), doing: api::CHANGING })
    }

    async fn account(&self) -> Result<Account<'_>, Route53Error> {
        let credentials = Credentials::find(self.settings.profile.as_deref(), &self.environment, &self.nearby).await?;
        Ok(Account::new(&self.http, &self.settings.endpoint, credentials))
    }

    async fn zone(&self, account: &Account<'_>, name: &Name) -> Result<String, Route53Error> {
        if let Some(zone) = &self.settings.zone_id {
            return Ok(zone.trim_start_matches("/hostedzone/").to_owned());
        }
        for at in name.ancestry() {
            if let Some(zone) = account.zone_called(&at).await? {
                return Ok(zone);
            }
        }
        Err(Route53Error::NoZone { name: name.clone() })
    }
}

/// An answer, as far as it is of a size that such answers have.
async fn body(mut answer: reqwest::Response) -> Result<String, reqwest::Error> {
    let mut all = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        all.extend_from_slice(&chunk[..chunk.len().min(MOST - all.len())]);
        if all.len() == MOST {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&all).into_owned())
}

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(120);
/// Bytes of an answer that are read.
const MOST: usize = 1 << 20;
/// Of what was too much at the moment, or in between two of whose steps somebody else came.
const TRIES: u32 = 6;
/// Of what reached nobody: whoever is not there for so long is away.
const TRIES_UNHEARD: u32 = 3;
