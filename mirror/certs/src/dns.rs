//! DNS, as far as proofs need it: questions to resolvers and to authoritative servers, signed updates, and what a name's CAA records allow.
//!
//! [`Message`] is the format (RFC 1035, 2136), [`TsigKey`] signs (RFC 8945), [`exchange()`] carries over UDP and TCP, [`Resolver`] finds zones and their
//! servers, [`Propagation`] waits until those show a record, [`caa`] reads who may issue (RFC 8659, 8657).
//!
//! Everything that comes from the network is bounded, and believed only as the answer to the question that was asked. Of our own, and no library's:
//! what is needed is small, signing needs the message's own bytes, and the libraries would bring a second source of random numbers with them.

pub mod caa;
mod exchange;
mod message;
mod name;
mod propagation;
mod resolver;
mod tsig;

pub use exchange::{Answer, DnsError, exchange, query, random};
pub use message::{Data, Entry, Kind, Malformed, Message, Question, Rcode, Record};
pub use name::{Name, NameError};
pub use propagation::{Propagation, Seen};
pub use resolver::{Resolver, Servers, zone_at};
pub use tsig::{Signature, TsigAlgorithm, TsigError, TsigKey, TsigKeyError};
