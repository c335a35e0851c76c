//! CircleCI Server 3.x and 4.x: the Helm values by which `machine` jobs and remote Docker get VMs of the image that has the mirror in it. There is none for user data.

use std::fmt;
use std::str::FromStr;

use crate::document::Document;
use crate::yaml_tree::{map, text};

/// Which release: the key was renamed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Server {
    /// 3.x to 4.2: `vm_service`.
    UntilFourTwo,
    /// 4.3 and later: `machine_provisioner`.
    SinceFourThree,
}

/// An image of VMs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum VmImage {
    /// `linuxAMI`
    Amazon(Ami),
    /// `linuxImage`: a name, or a project's image in full.
    Google(String),
}

/// An image's id on AWS.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ami(String);

/// AWS knows no such image.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{0}` is no image of AWS: write ami- and 8 or 17 hexadecimal digits")]
pub struct NoAmi(String);

/// The values.
pub fn values(server: Server, image: &VmImage) -> Document {
    let (provider, key, image) = match image {
        VmImage::Amazon(Ami(id)) => ("ec2", "linuxAMI", id.as_str()),
        VmImage::Google(name) => ("gcp", "linuxImage", name.as_str()),
    };
    let service = match server {
        Server::UntilFourTwo => "vm_service",
        Server::SinceFourThree => "machine_provisioner",
    };
    let provider = map([("providers", map([(provider, map([(key, image.into())]))]))]);
    let about = "VMs of the image that has the mirror in it. VMs that wait already are of the image before, until they are used up.";
    Document::new("values.yaml", "`helm upgrade -f`, behind your own values", text(about, &[map([(service, provider)])]))
}

impl FromStr for Ami {
    type Err = NoAmi;

    fn from_str(text: &str) -> Result<Self, NoAmi> {
        let digits = text.strip_prefix("ami-").unwrap_or_default();
        let is_hex = digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if matches!(digits.len(), 8 | 17) && is_hex { Ok(Self(text.to_owned())) } else { Err(NoAmi(text.to_owned())) }
    }
}

impl fmt::Display for Ami {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_the_releases() {
        let ami: Ami = "ami-0123456789abcdef0".parse().expect("an image");
        insta::assert_snapshot!(values(Server::SinceFourThree, &VmImage::Amazon(ami)).text, @r#"
        # VMs of the image that has the mirror in it. VMs that wait already are of the image before, until they are used up.
        machine_provisioner:
          providers:
            ec2:
              linuxAMI: ami-0123456789abcdef0
        "#);
        insta::assert_snapshot!(values(Server::UntilFourTwo, &VmImage::Google("ubuntu-behind-the-mirror".to_owned())).text, @r#"
        # VMs of the image that has the mirror in it. VMs that wait already are of the image before, until they are used up.
        vm_service:
          providers:
            gcp:
              linuxImage: ubuntu-behind-the-mirror
        "#);
        assert!("ami-1".parse::<Ami>().is_err());
    }
}
