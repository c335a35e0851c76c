//! What chandler promises, each promise quoted by the test that keeps it.
//!
//! One binary for all of them, one module a subject.

mod access_rules;
mod answers;
mod chains;
mod drop_in;
mod engines_smoke;
mod https;
mod hub_behaves_like_docker_hub;
mod lists;
mod one_download;
mod operation;
mod outages;
mod private_images;
mod starter;
mod tags;
