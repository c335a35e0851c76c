//! Certificates that look after themselves.
//!
//! The pure core decides: [`plan()`] when a certificate is got anew, [`History`] what earlier attempts mean for the next one. Everything else
//! carries that out. [`ca`] is a CA of one's own. Nothing here knows what a registry is.

pub mod acme;
mod bootstrap;
mod bundle;
pub mod ca;
mod clock;
pub mod dns;
mod facts;
mod history;
mod identifier;
mod moment;
pub mod plan;
mod served;
pub mod solve;
pub mod store;
pub mod worker;

pub use bootstrap::{BootstrapError, bootstrap};
pub use bundle::{Bundle, BundleError};
pub use clock::{Clock, SystemClock};
pub use facts::{Difference, Facts, KeyKind, Wish};
pub use history::{Class, Failure, History, Issued, Setback, Trouble, wait};
pub use identifier::{DnsName, Identifier, IdentifierError, Identifiers};
pub use moment::{Moment, in_words};
pub use plan::{Action, Budget, Hold, Reason, Suggestion, View, plan};
pub use served::Served;
