//! What chandler promises, each promise quoted by the test that keeps it.
//!
//! One binary for all of them, one module a subject.

mod container_image;
mod broken_upstream;
mod crash;
mod damaged_store;
mod engines_smoke;
mod eviction;
mod full_disk;
mod herd;
mod access_rules;
mod answers;
mod chains;
mod drop_in;
mod engines_smoke;
mod https;
mod hub_behaves_like_docker_hub;
mod lists;
mod one_download;
mod real_engines;
mod ranges;
mod resume;
mod sick_store;
mod operation;
mod outages;
mod private_images;
mod starter;
mod tags;
