//! How much user data a provider takes, and how much a document is.

use std::fmt;
use std::str::FromStr;

/// Where machines are born.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Provider {
    /// The strictest limit of all.
    #[default]
    Ec2,
    /// Azure's custom data.
    Azure,
    /// Google's metadata value.
    Gce,
    /// Nova, whose limit is on what base64 makes of it.
    OpenStack,
    /// `DigitalOcean`.
    DigitalOcean,
    /// Hetzner Cloud.
    Hetzner,
    /// A file on a disk, with no limit: libvirt, Proxmox, Packer.
    NoCloud,
}

/// What is no provider.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{0}` is no provider whose limit is known: write ec2, azure, gce, openstack, digitalocean, hetzner, or nocloud for none")]
pub struct NoProvider(String);

impl Provider {
    /// All of them.
    pub const ALL: [Self; 7] = [Self::Ec2, Self::Azure, Self::Gce, Self::OpenStack, Self::DigitalOcean, Self::Hetzner, Self::NoCloud];

    /// As it is named on a command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ec2 => "ec2",
            Self::Azure => "azure",
            Self::Gce => "gce",
            Self::OpenStack => "openstack",
            Self::DigitalOcean => "digitalocean",
            Self::Hetzner => "hetzner",
            Self::NoCloud => "nocloud",
        }
    }

    /// The most bytes of a document before anybody encodes it.
    pub fn limit(self) -> Option<usize> {
        match self {
            Self::Ec2 => Some(16 * KIB),
            Self::Azure | Self::DigitalOcean => Some(64 * KIB),
            Self::Gce => Some(256 * KIB),
            Self::OpenStack => Some(65_535 / 4 * 3),
            Self::Hetzner => Some(32 * KIB),
            Self::NoCloud => None,
        }
    }
}

impl FromStr for Provider {
    type Err = NoProvider;

    fn from_str(text: &str) -> Result<Self, NoProvider> {
        Self::ALL.into_iter().find(|provider| provider.word() == text).ok_or_else(|| NoProvider(text.to_owned()))
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ec2 => "EC2",
            Self::Azure => "Azure",
            Self::Gce => "Google Compute Engine",
            Self::OpenStack => "OpenStack",
            Self::DigitalOcean => "DigitalOcean",
            Self::Hetzner => "Hetzner Cloud",
            Self::NoCloud => "NoCloud",
        })
    }
}

/// A document's bytes beside a limit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Size {
    /// Of the document as it is handed over.
    pub bytes: usize,
    /// Of the same in gzip.
    pub packed: usize,
    /// Whose limit.
    pub provider: Provider,
}

impl Size {
    /// Whether the provider takes it.
    pub fn fits(self) -> bool {
        self.provider.limit().is_none_or(|limit| self.bytes <= limit)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bytes, packed, provider } = *self;
        let Some(limit) = provider.limit() else {
            return write!(f, "{bytes} bytes of user data");
        };
        let is_packed = bytes <= packed;
        match (self.fits(), is_packed) {
            (true, _) => write!(f, "{bytes} bytes of user data, of {limit} that {provider} takes (counted before base64)"),
            (false, false) if packed <= limit => {
                write!(
                    f,
                    "{bytes} bytes of user data are more than the {limit} that {provider} takes (counted before base64); with --gzip they are {packed}, which fit"
                )
            }
            (false, _) => write!(
                f,
                "{bytes} bytes of user data{} are more than the {limit} that {provider} takes (counted before base64); bake what is large into the image",
                if is_packed { String::new() } else { format!(", {packed} in gzip,") }
            ),
        }
    }
}

const KIB: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use insta::assert_snapshot;

    fn said(bytes: usize, packed: usize, provider: Provider) -> String {
        Size { bytes, packed, provider }.to_string()
    }

    #[test]
    fn a_size_is_told_beside_the_limit_and_with_the_way_out() {
        assert_snapshot!(said(16_384, 5000, Provider::Ec2), @"16384 bytes of user data, of 16384 that EC2 takes (counted before base64)");
        assert_snapshot!(said(16_385, 5000, Provider::Ec2), @"16385 bytes of user data are more than the 16384 that EC2 takes (counted before base64); with --gzip they are 5000, which fit");
        assert_snapshot!(said(90_000, 50_000, Provider::Hetzner), @"90000 bytes of user data, 50000 in gzip, are more than the 32768 that Hetzner Cloud takes (counted before base64); bake what is large into the image");
        assert_snapshot!(said(20_000, 20_000, Provider::Ec2), @"20000 bytes of user data are more than the 16384 that EC2 takes (counted before base64); bake what is large into the image");
        assert_snapshot!(said(1 << 20, 1, Provider::NoCloud), @"1048576 bytes of user data");
    }

    #[test]
    fn a_provider_is_named_by_its_word() {
        for provider in Provider::ALL {
            assert_eq!(provider.word().parse(), Ok(provider));
        }
        assert!("aws".parse::<Provider>().is_err());
    }
}
