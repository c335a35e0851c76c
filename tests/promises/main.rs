//! What chandler promises, each promise quoted by the test that keeps it.
//!
//! One binary for all of them, one module a subject.

mod access_rules;
mod acme;
mod answers;
mod broken_upstream;
mod catalog;
mod cert_command;
mod chains;
mod client_certificates;
mod conformance;
mod container_image;
mod crash;
mod crash_tags;
mod damaged_store;
mod drop_in;
mod engines_smoke;
mod eviction;
mod full_disk;
mod herd;
mod http2;
mod https;
mod https_by_acme;
mod hub_behaves_like_docker_hub;
mod lists;
mod odd_upstreams;
mod one_download;
mod operation;
mod outages;
mod private_ca;
mod private_images;
mod proxies;
mod ranges;
mod real_engines;
mod reload;
mod resume;
mod service_manager;
mod several_upstreams;
mod sick_store;
mod silent_hub;
mod sparing;
mod start;
mod tags;
mod tokens;
mod unknown_size;
mod withheld_tail;
