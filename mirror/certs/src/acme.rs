//! The protocol with a CA (RFC 8555), as far as the library does not do it: our own client, errors that say what to do next, accounts that are saved
//! before they are used, and orders that go on after a crash.

mod account;
mod ari;
mod courier;
mod directory;
mod error;
mod legible;
mod mend;
mod order;
mod registered;
mod revoke;
mod rollover;
mod signed;

use account::wait_for;
pub use account::{AccountError, AccountWish, ExternalAccount, open_account};
pub use ari::{Advice, ask};
pub(crate) use courier::client;
pub use courier::{Courier, CourierError, Seen};
pub use directory::{Directory, Meta, caa_identities, greet};
pub(crate) use error::with_causes;
pub use error::{CaError, Remedy};
pub(crate) use legible::legible;
pub use order::{Carried, End, Errand, OrderError, Proved, Rehearsed, carry, rehearse};
pub use registered::{Known, Registered, deactivate};
pub use revoke::revoke;
pub(crate) use rollover::has_other_key;
pub use rollover::roll_over;
