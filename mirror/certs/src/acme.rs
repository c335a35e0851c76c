//! The protocol with a CA (RFC 8555), as far as the library does not do it: our own client, errors that say what to do next, accounts that are saved
//! before they are used, and orders that go on after a crash.

mod account;
mod ari;
mod courier;
mod directory;
mod error;
mod mend;
mod order;
mod revoke;

pub use account::{AccountError, AccountWish, ExternalAccount, open_account};
pub use ari::{Advice, ask};
pub use courier::{Courier, CourierError, Seen};
pub use directory::greet;
pub(crate) use error::with_causes;
pub use error::{CaError, Remedy};
pub use order::{Carried, Errand, OrderError, carry};
pub use revoke::revoke;
