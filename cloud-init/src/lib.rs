//! What machines are born with, so that their engines pull through the mirror: user data, the `CircleCI` VM service's template, image builds, the settings of other CI systems, firewall rules.
//!
//! Pure: a description of mirrors and engines in, documents out. No I/O, no clock, nothing of this machine; who wants a file read or a binary's digest taken does it before and passes the value.
//!
//! * [`Wish`] is which mirrors, by what they are known, for which registries: the agent's planners work by the same value.
//! * [`Provision`] is what one machine is given for it: files that are ours alone, keys that are merged into Docker's file, and by which means.
//! * Each kind of document has a module, which takes the two and quotes for the layers that the document travels through.

pub mod cloud_config;
pub mod document;
pub mod firewall;
pub mod first_boot;
pub mod gzip;
pub mod hcl;
pub mod helm;
pub mod kind;
pub mod layers;
pub mod lint;
pub mod mirror_url;
pub mod multipart;
pub mod packer;
pub mod program;
pub mod provision;
pub mod runners;
pub mod terraform;
pub mod user_data;
pub mod vm_service;
pub mod wish;
pub mod yaml_tree;

pub use self::cloud_config::{CaSpelling, CloudConfig, Command};
pub use self::document::Document;
pub use self::mirror_url::{MirrorUrl, MirrorUrlError};
pub use self::provision::{Content, DockerKeys, Means, PlacedFile, Provision, Sha256};
pub use self::wish::{ClientPair, Engine, Others, Wish};
