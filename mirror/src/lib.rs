//! The mirror: a pull-through cache for Docker Hub and any other OCI registry.
//!
//! By the way a request travels: `server` (listener, TLS, connection, drain) → `registry` (pure request parser, replies, the one file that
//! turns errors into OCI codes) → `access` (who may read what) → `cache` (freshness, single flight, body) → `store` (files, tags, eviction,
//! recovery) and `upstream` (client, tokens, redirects, retries, quota). Beside them [`config`], `tls` and `telemetry`. An arrow never points back.
//!
//! This crate knows nothing of hosts, Nomad or a command line.

pub mod config;
pub mod oci;
pub mod server;
pub mod store;
pub mod telemetry;
pub mod tls;
pub mod upstream;
