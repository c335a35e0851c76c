//! A certificate's number at its CA.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A positive number of at most 20 bytes, as RFC 5280 4.1.2.2 wants it; compared as a number, however it is written.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Serial(Vec<u8>);

/// Why a text is no serial number.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{0}` is no serial number: write 1 to 20 bytes in hexadecimal, with or without colons")]
pub struct SerialError(String);

impl Serial {
    /// A new one, from random bytes. Nobody can foresee it, and none is given twice; all are of one length.
    pub fn from_random(mut bytes: [u8; MAX]) -> Self {
        bytes[0] = (bytes[0] & 0x7f) | 0x40; // Positive, and the first byte is never zero.
        Self(bytes.to_vec())
    }

    /// As it stands in a certificate; `None` where no certificate can have it.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        let number = &bytes[zeros.min(bytes.len().saturating_sub(1))..];
        (1..=MAX).contains(&number.len()).then(|| Self(number.to_vec()))
    }

    /// Without zeros before it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl FromStr for Serial {
    type Err = SerialError;

    /// Takes what `openssl x509 -serial` prints, too.
    fn from_str(text: &str) -> Result<Self, SerialError> {
        let wrong = || SerialError(text.to_owned());
        let bare: String = text.trim().trim_start_matches("serial=").chars().filter(|c| *c != ':').collect();
        let even = if bare.len() % 2 == 1 { format!("0{bare}") } else { bare };
        let bytes = hex::decode(even).map_err(|_| wrong())?;
        Self::from_bytes(&bytes).ok_or_else(wrong)
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl Serialize for Serial {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Serial {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

const MAX: usize = 20;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_number_is_one_serial_however_it_is_written() {
        let one: Serial = "0a1b".parse().expect("a number");
        for text in ["a1b", "0A:1B", "serial=0A1B\n", "00000a1b"] {
            assert_eq!(text.parse(), Ok(one.clone()), "{text}");
        }
        assert_eq!("0".parse::<Serial>().map(|zero| zero.to_string()), Ok("00".into()));
        for text in ["", "xyz", ":", "/etc/passwd", "00ffffffffffffffffffffffffffffffffffffffffff"] {
            assert!(text.parse::<Serial>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_new_one_is_positive_and_of_full_length(bytes: [u8; 20]) {
            let serial = Serial::from_random(bytes);
            prop_assert!(serial.as_bytes().len() == 20 && (0x40..0x80).contains(&serial.as_bytes()[0]));
            prop_assert_eq!(serial.to_string().parse(), Ok(serial));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,60}") {
            if let Ok(serial) = text.parse::<Serial>() {
                prop_assert_eq!(serial.to_string().parse(), Ok(serial));
            }
        }
    }
}
