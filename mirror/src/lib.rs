//! The mirror: a pull-through cache for Docker Hub and any other OCI registry.
//!
//! By the way a request travels: [`server`] (listener, TLS, connection, drain) → [`registry`] (pure request parser, replies, the one file that
//! turns errors into OCI codes) → [`access`] (who may read what) → [`cache`] (freshness, single flight, body) → [`store`] (files, tags, eviction,
//! recovery) and [`upstream`] (client, tokens, redirects, retries, quota). Beside them [`config`], [`canary`], `enrolment`, `programs`, [`tls`], [`telemetry`] and [`via`].
//! [`Mirror`] puts them together. An arrow never points back.
//!
//! This crate knows nothing of hosts, Nomad or a command line.

pub mod access;
pub mod cache;
pub mod canary;
mod check;
pub mod config;
mod enrolment;
mod observe;
pub mod oci;
mod programs;
pub mod registry;
mod roots;
pub mod server;
mod service;
pub mod store;
mod surface;
pub mod telemetry;
pub mod tls;
pub mod upstream;
pub mod via;

pub use check::{chain, check_files};
pub use service::{Mirror, Running, StartError, obtain, rehearse};
