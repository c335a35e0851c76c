//! What a certificate is called here: in its folder's name, on the command line, in metrics.

use std::fmt;
use std::str::FromStr;

use crate::Identifier;

/// Letters, digits, dots, hyphens and underscores; a safe name of a folder.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct CertName(String);

/// Why a text is no name of a certificate.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{0}` cannot be a certificate's name: up to 200 letters, digits, dots, hyphens and underscores, the first not a dot or hyphen")]
pub struct CertNameError(String);

impl CertName {
    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for CertName {
    type Err = CertNameError;

    fn from_str(text: &str) -> Result<Self, CertNameError> {
        let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        let is_name = text.len() <= 200 && text.bytes().all(is_inner) && !text.starts_with(['.', '-']) && !text.is_empty();
        if is_name { Ok(Self(text.to_owned())) } else { Err(CertNameError(text.to_owned())) }
    }
}

impl From<&Identifier> for CertName {
    /// `*.example.com` becomes `_.example.com`, an IPv6 address has hyphens for its colons.
    fn from(identifier: &Identifier) -> Self {
        let text = identifier.to_string().replace('*', "_").replace(':', "-");
        Self(if text.starts_with('-') { format!("0{text}") } else { text })
    }
}

impl fmt::Display for CertName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
