//! Signatures over messages by a shared secret (RFC 8945).

use std::fmt;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::message::{Reader, number};
use super::{Answer, Kind, Malformed, Message, Name, Rcode};

/// A secret that a name server shares with us, and how it is used.
#[derive(Clone, Eq, PartialEq)]
pub struct TsigKey {
    /// What the server calls it.
    pub name: Name,
    /// How it signs.
    pub algorithm: TsigAlgorithm,
    secret: Vec<u8>,
}

/// How a key signs.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum TsigAlgorithm {
    /// What every server has to know.
    #[default]
    HmacSha256,
    /// Longer.
    HmacSha384,
    /// Longer still.
    HmacSha512,
}

/// The record that signs a message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Signature {
    key: Name,
    algorithm: Name,
    time: u64,
    fudge: u16,
    mac: Vec<u8>,
    original_id: u16,
    /// What the server says of our own signature.
    pub error: Rcode,
    other: Vec<u8>,
}

/// Why a text is no key.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TsigKeyError {
    /// Not what servers sign by.
    #[error("not an algorithm: write hmac-sha256, hmac-sha384 or hmac-sha512")]
    Algorithm,
    /// A key file of BIND's without a name, or a bare secret without one.
    #[error("has no name")]
    Name,
    /// Not base64.
    #[error("holds no secret: write it in base64 on the first line, or what `tsig-keygen` prints")]
    Secret,
}

/// What is wrong with an answer's signature.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TsigError {
    /// It has none.
    #[error("its answer is not signed")]
    Unsigned,
    /// Another one's.
    #[error("its answer is signed wrongly")]
    Wrong,
    /// Of another time.
    #[error("its answer is signed at another time: the clocks differ")]
    Time,
}

impl TsigAlgorithm {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::HmacSha256, Self::HmacSha384, Self::HmacSha512];

    /// As it is written everywhere.
    pub fn name(self) -> &'static str {
        match self {
            Self::HmacSha256 => "hmac-sha256",
            Self::HmacSha384 => "hmac-sha384",
            Self::HmacSha512 => "hmac-sha512",
        }
    }

    /// The one that is written so.
    pub fn named(text: &str) -> Result<Self, TsigKeyError> {
        let text = text.trim_end_matches('.').to_ascii_lowercase();
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == text).ok_or(TsigKeyError::Algorithm)
    }

    fn dns_name(self) -> Name {
        self.name().parse().expect("our own names are names")
    }
}

impl TsigKey {
    /// Of a secret in base64.
    pub fn new(name: Name, algorithm: TsigAlgorithm, secret: &str) -> Result<Self, TsigKeyError> {
        let secret = STANDARD.decode(secret.trim()).ok().filter(|secret| !secret.is_empty()).ok_or(TsigKeyError::Secret)?;
        Ok(Self { name, algorithm, secret })
    }

    /// Of what `tsig-keygen` and `ddns-confgen` print, `key "NAME" { algorithm …; secret "…"; };`, or of a first line that is the secret alone. What is
    /// said beside it counts more.
    pub fn from_file(text: &str, name: Option<Name>, algorithm: Option<TsigAlgorithm>) -> Result<Self, TsigKeyError> {
        let is_said = |line: &&str| !line.trim_start().starts_with('#') && !line.trim_start().starts_with("//");
        let bare = text.lines().filter(is_said).collect::<Vec<_>>().join("\n");
        let Some((before, inside)) = bare.split_once('{').filter(|(before, _)| before.trim_start().starts_with("key")) else {
            let secret = bare.lines().next().unwrap_or_default();
            return Self::new(name.ok_or(TsigKeyError::Name)?, algorithm.unwrap_or_default(), secret);
        };
        let said = |word: &str| inside.split(';').find_map(|line| line.trim().strip_prefix(word)).map(unquoted);
        let own = before.trim_start().strip_prefix("key").and_then(|name| unquoted(name).parse().ok());
        let algorithm = match (algorithm, said("algorithm")) {
            (Some(algorithm), _) => algorithm,
            (None, Some(text)) => TsigAlgorithm::named(text)?,
            (None, None) => TsigAlgorithm::default(),
        };
        Self::new(name.or(own).ok_or(TsigKeyError::Name)?, algorithm, said("secret").ok_or(TsigKeyError::Secret)?)
    }

    /// The secret in base64. A secret.
    pub fn secret(&self) -> String {
        STANDARD.encode(&self.secret)
    }

    /// Signs `message`, at `now` in seconds since 1970; gives the signature's own bytes, by which the answer is known.
    pub fn sign(&self, message: &mut Vec<u8>, now: u64) -> Vec<u8> {
        let id = u16::from_be_bytes([message[0], message[1]]);
        let mut signature = Signature {
            key: self.name.clone(),
            algorithm: self.algorithm.dns_name(),
            time: now,
            fudge: FUDGE,
            mac: Vec::new(),
            original_id: id,
            error: Rcode::NO_ERROR,
            other: Vec::new(),
        };
        signature.mac = hmac::sign(&self.hmac(), &[message.as_slice(), &signature.variables()].concat()).as_ref().to_vec();
        signature.write(message);
        let count = u16::from_be_bytes([message[10], message[11]]) + 1;
        message[10..12].copy_from_slice(&count.to_be_bytes());
        signature.mac
    }

    /// Whether `answer` is from somebody who knows the secret, to the message that was signed as `request`.
    pub fn verify(&self, answer: &Answer, request: &[u8], now: u64) -> Result<(), TsigError> {
        let Message { signature, .. } = &answer.message;
        let (begin, signature) = signature.as_ref().ok_or(TsigError::Unsigned)?;
        if signature.key != self.name || signature.algorithm != self.algorithm.dns_name() || signature.mac.is_empty() {
            return Err(TsigError::Wrong);
        }
        let mut signed = Vec::new();
        signed.extend_from_slice(&(request.len() as u16).to_be_bytes());
        signed.extend_from_slice(request);
        let start = signed.len();
        signed.extend_from_slice(&answer.bytes[..*begin]);
        signed[start..start + 2].copy_from_slice(&signature.original_id.to_be_bytes());
        let count = u16::from_be_bytes([signed[start + 10], signed[start + 11]]) - 1;
        signed[start + 10..start + 12].copy_from_slice(&count.to_be_bytes());
        signed.extend_from_slice(&signature.variables());
        hmac::verify(&self.hmac(), &signed, &signature.mac).map_err(|_| TsigError::Wrong)?;
        if signature.time.abs_diff(now) <= signature.fudge.into() { Ok(()) } else { Err(TsigError::Time) }
    }

    fn hmac(&self) -> hmac::Key {
        let algorithm = match self.algorithm {
            TsigAlgorithm::HmacSha256 => hmac::HMAC_SHA256,
            TsigAlgorithm::HmacSha384 => hmac::HMAC_SHA384,
            TsigAlgorithm::HmacSha512 => hmac::HMAC_SHA512,
        };
        hmac::Key::new(algorithm, &self.secret)
    }
}

/// Without the secret.
impl fmt::Debug for TsigKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TsigKey").field("name", &self.name).field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

impl Signature {
    /// After the record's head.
    pub(super) fn read(key: Name, reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            key,
            algorithm: reader.name()?,
            time: reader.u48()?,
            fudge: reader.u16()?,
            mac: reader.counted()?.to_vec(),
            original_id: reader.u16()?,
            error: Rcode(reader.u16()?),
            other: reader.counted()?.to_vec(),
        })
    }

    /// With BADTIME the server says its own time, in seconds since 1970.
    pub fn server_time(&self) -> Option<u64> {
        (self.other.len() == 6).then(|| number(&self.other))
    }

    fn write(&self, out: &mut Vec<u8>) {
        let mut data = Vec::new();
        self.algorithm.write(&mut data);
        data.extend_from_slice(&self.time.to_be_bytes()[2..]);
        for (number, bytes) in [(self.fudge, None), (self.mac.len() as u16, Some(&self.mac)), (self.original_id, None)] {
            data.extend_from_slice(&number.to_be_bytes());
            data.extend_from_slice(bytes.map_or(&[], Vec::as_slice));
        }
        for number in [self.error.0, self.other.len() as u16] {
            data.extend_from_slice(&number.to_be_bytes());
        }
        data.extend_from_slice(&self.other);
        self.key.write(out);
        for number in [Kind::TSIG.0, ANY, 0, 0, data.len() as u16] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        out.extend_from_slice(&data);
    }

    /// What is signed beside the message (RFC 8945 4.3.3).
    fn variables(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.key.write(&mut out);
        for number in [ANY, 0, 0] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        self.algorithm.write(&mut out);
        out.extend_from_slice(&self.time.to_be_bytes()[2..]);
        for number in [self.fudge, self.error.0, self.other.len() as u16] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        out.extend_from_slice(&self.other);
        out
    }
}

fn unquoted(text: &str) -> &str {
    text.trim().trim_matches('"')
}

const ANY: u16 = 255;
/// How far clocks may differ, in seconds; what everybody uses.
const FUDGE: u16 = 300;

#[cfg(test)]
mod tests {
    use super::super::Question;
    use super::*;

    fn key(secret: &str) -> TsigKey {
        TsigKey::new("chandler".parse().expect("a name"), TsigAlgorithm::HmacSha256, secret).expect("base64")
    }

    /// A server's answer to `request`: the same signature scheme, turned round.
    fn answer(key: &TsigKey, request_mac: &[u8], now: u64) -> Answer {
        let mut bytes = Question { name: "test".parse().expect("a name"), kind: Kind::SOA }.ask(7, false);
        bytes[2] |= 0x80;
        let mut signature = Signature {
            key: key.name.clone(),
            algorithm: key.algorithm.dns_name(),
            time: now,
            fudge: FUDGE,
            mac: Vec::new(),
            original_id: 7,
            error: Rcode::NO_ERROR,
            other: Vec::new(),
        };
        let signed = [&(request_mac.len() as u16).to_be_bytes()[..], request_mac, &bytes, &signature.variables()].concat();
        signature.mac = hmac::sign(&key.hmac(), &signed).as_ref().to_vec();
        signature.write(&mut bytes);
        bytes[11] = 1;
        Answer { message: Message::read(&bytes).expect("a message"), bytes }
    }

    #[test]
    fn an_answer_is_believed_from_who_knows_the_secret_and_the_question() {
        let own = key("c2VjcmV0");
        let mut request = Question { name: "test".parse().expect("a name"), kind: Kind::SOA }.update(7, &[]);
        let mac = own.sign(&mut request, 1_000_000);
        assert!(Message::read(&request).expect("a message").signature.is_some());
        let right = answer(&own, &mac, 1_000_010);
        assert_eq!(own.verify(&right, &mac, 1_000_000), Ok(()));
        assert_eq!(own.verify(&right, &mac, 1_001_000), Err(TsigError::Time));
        assert_eq!(own.verify(&right, &mac[1..], 1_000_000), Err(TsigError::Wrong), "to another question");
        let other = key("b3RoZXI=");
        assert_eq!(own.verify(&answer(&other, &mac, 1_000_000), &mac, 1_000_000), Err(TsigError::Wrong));
        let mut changed = answer(&own, &mac, 1_000_000);
        changed.bytes[3] ^= 5;
        assert_eq!(own.verify(&changed, &mac, 1_000_000), Err(TsigError::Wrong));
    }

    #[test]
    fn a_key_is_read_as_tsig_keygen_writes_it_or_from_a_line() {
        let written = "# made by hand\nkey \"chandler\" {\n\talgorithm hmac-sha512;\n\tsecret \"c2VjcmV0\";\n};\n";
        let read = TsigKey::from_file(written, None, None).expect("a key");
        assert_eq!(
            (read.name.to_string().as_str(), read.algorithm, read.secret()),
            ("chandler", TsigAlgorithm::HmacSha512, "c2VjcmV0".into())
        );
        let name: Name = "other".parse().expect("a name");
        assert_eq!(TsigKey::from_file(written, Some(name.clone()), None).expect("a key").name, name);
        assert_eq!(TsigKey::from_file("c2VjcmV0\n", Some(name.clone()), None).expect("a key").algorithm, TsigAlgorithm::HmacSha256);
        for (text, named, error) in [
            ("c2VjcmV0", false, TsigKeyError::Name),
            ("no base64!", true, TsigKeyError::Secret),
            ("", true, TsigKeyError::Secret),
            ("key k { algorithm hmac-md5; secret \"c2VjcmV0\"; };", true, TsigKeyError::Algorithm),
            ("key k { algorithm hmac-sha256; };", true, TsigKeyError::Secret),
        ] {
            assert_eq!(TsigKey::from_file(text, named.then(|| name.clone()), None), Err(error), "{text}");
        }
    }

    #[test]
    fn a_keys_secret_is_not_printed() {
        assert!(!format!("{:?}", key("c2VjcmV0")).contains("c2V"));
    }
}
