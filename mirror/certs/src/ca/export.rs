//! Which files make a machine trust a CA: where each engine and each family of systems looks for them. Pure.
//!
//! They lie as on the machine, below one folder: `cp -r DIR/etc/docker /etc` is all that Docker needs. A host's folder is named as images are: with the port that
//! references to its images have, and without one where they have none.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::authority::Authority;
use crate::Identifier;

/// A server as references to its images name it: `mirror.internal:5000`, or a name alone for port 443.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Host {
    name: String,
    port: Option<u16>,
}

/// Why a text is no host.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{0}` is no host: write a name or an address, and the port behind a colon, such as mirror.internal:5000")]
pub struct HostError(String);

/// One file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct File {
    /// Below the folder that is exported to.
    pub path: PathBuf,
    /// What is in it.
    pub text: String,
}

/// All of them, for machines that are to trust `anchors` when they talk with `hosts`.
pub fn files(anchors: &[Authority], hosts: &[Host]) -> Vec<File> {
    let bundle: String = anchors.iter().map(Authority::pem).collect();
    let mut files = vec![File::new("ca.pem".into(), bundle.clone())];
    for anchor in anchors {
        // One certificate a file: `update-ca-certificates` takes no more. Named after it, so that an older one beside it stays.
        let name = format!("chandler-{}", &anchor.fingerprint()[..12]);
        files.push(File::new(format!("usr/local/share/ca-certificates/{name}.crt"), anchor.pem()));
        files.push(File::new(format!("etc/pki/ca-trust/source/anchors/{name}.pem"), anchor.pem()));
    }
    for folder in hosts.iter().flat_map(Host::folders) {
        for engine in ["docker", "containers", "containerd"] {
            files.push(File::new(format!("etc/{engine}/certs.d/{folder}/ca.crt"), bundle.clone()));
        }
        files.push(File::new(format!("etc/containerd/certs.d/{folder}/hosts.toml"), hosts_toml(&folder)));
    }
    files
}

/// containerd looks for no `ca.crt` beside it, it must be told.
fn hosts_toml(host: &str) -> String {
    format!(
        "server = \"https://{host}\"\n\n[host.\"https://{host}\"]\n  capabilities = [\"pull\", \"resolve\"]\n  ca = \"/etc/containerd/certs.d/{host}/ca.crt\"\n"
    )
}

impl File {
    fn new(path: String, text: String) -> Self {
        Self { path: path.into(), text }
    }
}

impl Host {
    /// What it is called in references. With port 443 both ways are in use.
    fn folders(&self) -> Vec<String> {
        let bare = self.name.clone();
        match self.port {
            None => vec![bare],
            Some(443) => vec![bare, self.to_string()],
            Some(_) => vec![self.to_string()],
        }
    }
}

impl FromStr for Host {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        let wrong = || HostError(text.to_owned());
        let has_port = text.rsplit_once(':').filter(|(name, _)| !name.contains(':') || name.ends_with(']'));
        let (name, port) = match has_port {
            Some((name, port)) => (name, Some(port.parse().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let name = match name.parse::<Identifier>().map_err(|_| wrong())? {
            Identifier::Dns(name) if name.is_wildcard() => return Err(wrong()),
            Identifier::Ip(address) if address.is_ipv6() => format!("[{address}]"),
            name => name.to_string(),
        };
        Ok(Self { name, port })
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folders(host: &str) -> Vec<String> {
        host.parse::<Host>().expect("a host").folders()
    }

    #[test]
    fn a_host_has_the_folder_that_references_to_its_images_have() {
        assert_eq!(folders("mirror.internal:5000"), ["mirror.internal:5000"]);
        assert_eq!(folders("Mirror.Internal"), ["mirror.internal"]);
        assert_eq!(folders("mirror.internal:443"), ["mirror.internal", "mirror.internal:443"], "both ways are in use");
        assert_eq!(folders("10.20.0.7:5000"), ["10.20.0.7:5000"]);
        assert_eq!(folders("[fd00::7]:5000"), ["[fd00::7]:5000"]);
        assert_eq!(folders("fd00::7"), ["[fd00::7]"]);
        for text in ["", "a/b", "../etc", "a:b", "a:5000:5000", "https://a", "*.a.test", "a:70000", "a\nb"] {
            assert!(text.parse::<Host>().is_err(), "{text}");
        }
    }
}
