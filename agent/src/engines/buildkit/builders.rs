//! What `docker buildx` keeps of its builders, `~/.docker/buildx/instances/NAME`: their drivers, and the `buildkitd.toml` that they were created with. Pure.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// A builder whose `BuildKit` is not dockerd's own.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Builder {
    /// As `--builder` takes it.
    pub name: String,
    /// Where it is kept, which says whose it is.
    pub file: PathBuf,
    /// `docker-container` or `kubernetes`.
    pub driver: String,
    /// The `buildkitd.toml` that it has, as text.
    pub config: Option<String>,
    /// Whether it shares the machine's network, so that the machine's loopback addresses are its own.
    pub host_network: bool,
}

impl Builder {
    /// Of a file; `None` for one that needs nothing: dockerd's own `BuildKit`, one that somebody else runs, or no builder at all.
    pub fn parse(file: &Path, bytes: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(bytes).ok()?;
        let text = |key: &str| value.get(key)?.as_str().map(str::to_owned);
        let driver = text("Driver").filter(|driver| OWN.contains(&driver.as_str()))?;
        let nodes = value.get("Nodes").and_then(Value::as_array).into_iter().flatten();
        let of_nodes = |read: fn(&Value) -> Option<String>| nodes.clone().find_map(read);
        let host_network = of_nodes(|node| Some(node.pointer("/DriverOpts/network")?.as_str()?.to_owned()));
        Some(Self {
            name: text("Name").or_else(|| Some(file.file_name()?.to_str()?.to_owned()))?,
            file: file.to_owned(),
            driver,
            config: of_nodes(config),
            host_network: host_network.as_deref() == Some("host"),
        })
    }
}

/// The file's bytes are kept, for the builder may be created anew at its first use.
fn config(node: &Value) -> Option<String> {
    let bytes = STANDARD.decode(node.pointer("/Files/buildkitd.toml")?.as_str()?).ok()?;
    String::from_utf8(bytes).ok()
}

/// Drivers that start a `BuildKit` of their own.
const OWN: [&str; 2] = ["docker-container", "kubernetes"];
