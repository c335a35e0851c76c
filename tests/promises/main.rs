//! What chandler promises, each promise quoted by the test that keeps it.
//!
//! One binary for all of them, one module a subject.

mod container_image;
mod engines_smoke;
mod hub_behaves_like_docker_hub;
mod one_download;
mod real_engines;
