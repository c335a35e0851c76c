//! Messages (RFC 1035 4, RFC 2136 2): questions and updates that are written, and answers that are read.
//!
//! What is read comes from strangers. Each record takes at least eleven bytes of a message of at most 64 KiB, a name's pointers lead backwards only, and
//! nothing is set aside by a number that the message claims.

mod reader;

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::{Name, Signature};
pub(super) use reader::{Reader, number};

/// What kind of record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Kind(pub u16);

/// How an answer says that it went.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rcode(pub u16);

/// What is asked, or the zone that is changed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Question {
    /// About whom.
    pub name: Name,
    /// Which records.
    pub kind: Kind,
}

/// A change to a zone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Entry {
    /// This TXT record is added to those that are there.
    Add {
        /// Where.
        name: Name,
        /// How long others may keep it, in seconds.
        ttl: u32,
        /// What it says; at most 255 bytes.
        text: String,
    },
    /// This one TXT record goes, if it is there.
    Delete {
        /// Where.
        name: Name,
        /// What it says.
        text: String,
    },
}

/// A record of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Whose.
    pub name: Name,
    /// What it says.
    pub data: Data,
}

/// What a record says, of the kinds that are of use here.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// An IPv4 address.
    A(Ipv4Addr),
    /// An IPv6 address.
    Aaaa(Ipv6Addr),
    /// Who may issue certificates (RFC 8659).
    Caa {
        /// Who does not understand the property must not issue.
        is_critical: bool,
        /// Of which kind, in small letters.
        tag: String,
        /// What it says.
        value: String,
    },
    /// Another name for it.
    Cname(Name),
    /// A server of the zone.
    Ns(Name),
    /// Something else.
    Other,
    /// The start of a zone.
    Soa,
    /// A text, in one piece.
    Txt(Vec<u8>),
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// The number of the question.
    pub id: u16,
    /// It is one.
    pub is_answer: bool,
    /// From a server of the zone itself.
    pub is_authoritative: bool,
    /// Not all of it: the rest is had over TCP.
    pub is_truncated: bool,
    /// How it went.
    pub rcode: Rcode,
    /// What was asked.
    pub questions: Vec<Question>,
    /// What is answered.
    pub answers: Vec<Record>,
    /// Where the zone starts, or who knows more.
    pub authorities: Vec<Record>,
    /// The last record, if it signs the others, and where in the message it begins.
    pub signature: Option<(usize, Signature)>,
}

/// Bytes that are no message.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the bytes are no DNS message")]
pub struct Malformed;

impl Kind {
    /// An IPv4 address.
    pub const A: Self = Self(1);
    /// A server of a zone.
    pub const NS: Self = Self(2);
    /// Another name.
    pub const CNAME: Self = Self(5);
    /// The start of a zone.
    pub const SOA: Self = Self(6);
    /// A text.
    pub const TXT: Self = Self(16);
    /// An IPv6 address.
    pub const AAAA: Self = Self(28);
    /// A signature.
    pub const TSIG: Self = Self(250);
    /// Who may issue certificates.
    pub const CAA: Self = Self(257);
}

impl Rcode {
    /// All is well.
    pub const NO_ERROR: Self = Self(0);
    /// The server failed.
    pub const SERVER_FAILURE: Self = Self(2);
    /// There is no such name.
    pub const NO_NAME: Self = Self(3);
    /// The server does not want to.
    pub const REFUSED: Self = Self(5);
    /// It is no server of this zone, or the signature is wrong.
    pub const NOT_AUTHORITATIVE: Self = Self(9);
    /// The name is not in the zone.
    pub const NOT_IN_ZONE: Self = Self(10);
    /// The signature is wrong.
    pub const BAD_SIGNATURE: Self = Self(16);
    /// The key is not known.
    pub const BAD_KEY: Self = Self(17);
    /// The clocks differ.
    pub const BAD_TIME: Self = Self(18);
}

impl fmt::Display for Rcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            0 => "NOERROR",
            1 => "FORMERR",
            2 => "SERVFAIL",
            3 => "NXDOMAIN",
            4 => "NOTIMP",
            5 => "REFUSED",
            6 => "YXDOMAIN",
            7 => "YXRRSET",
            8 => "NXRRSET",
            9 => "NOTAUTH",
            10 => "NOTZONE",
            16 => "BADSIG",
            17 => "BADKEY",
            18 => "BADTIME",
            22 => "BADTRUNC",
            other => return write!(f, "code {other}"),
        };
        f.write_str(name)
    }
}

impl Question {
    /// A question as it is sent. `recursion`: the server may ask others.
    pub fn ask(&self, id: u16, recursion: bool) -> Vec<u8> {
        self.head(id, if recursion { RECURSION_DESIRED } else { 0 }, 0)
    }

    /// An update of the zone that this is (RFC 2136 2.3, 2.5).
    pub fn update(&self, id: u16, entries: &[Entry]) -> Vec<u8> {
        let mut out = self.head(id, UPDATE << 11, entries.len() as u16);
        for entry in entries {
            let (name, class, ttl, text) = match entry {
                Entry::Add { name, ttl, text } => (name, IN, *ttl, text),
                Entry::Delete { name, text } => (name, NONE, 0, text),
            };
            name.write(&mut out);
            for number in [Kind::TXT.0, class] {
                out.extend_from_slice(&number.to_be_bytes());
            }
            out.extend_from_slice(&ttl.to_be_bytes());
            let text = &text.as_bytes()[..text.len().min(LONGEST_TEXT)];
            out.extend_from_slice(&(text.len() as u16 + 1).to_be_bytes());
            out.push(text.len() as u8);
            out.extend_from_slice(text);
        }
        out
    }

    fn head(&self, id: u16, flags: u16, authorities: u16) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        for number in [id, flags, 1, 0, authorities, 0] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        self.name.write(&mut out);
        for number in [self.kind.0, IN] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        out
    }
}

impl Message {
    /// Reads an answer.
    pub fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let (id, flags) = (reader.u16()?, reader.u16()?);
        let counts = [reader.u16()?, reader.u16()?, reader.u16()?, reader.u16()?];
        let mut questions = Vec::new();
        for _ in 0..counts[0] {
            let question = Question { name: reader.name()?, kind: Kind(reader.u16()?) };
            reader.u16()?;
            questions.push(question);
        }
        let (answers, authorities) = (reader.records(counts[1])?, reader.records(counts[2])?);
        let signature = reader.signature(counts[3])?;
        Ok(Self {
            id,
            is_answer: flags & ANSWER != 0,
            is_authoritative: flags & AUTHORITATIVE != 0,
            is_truncated: flags & TRUNCATED != 0,
            rcode: Rcode(flags & 0xf),
            questions,
            answers,
            authorities,
            signature,
        })
    }

    /// The name that `name` is another name for.
    pub fn alias_of(&self, name: &Name) -> Option<&Name> {
        self.answers.iter().find_map(|record| match &record.data {
            Data::Cname(target) if record.name == *name => Some(target),
            _ => None,
        })
    }

    /// Whether a text of `name` is `value`.
    pub fn shows(&self, name: &Name, value: &str) -> bool {
        self.answers.iter().any(|record| record.name == *name && matches!(&record.data, Data::Txt(text) if text == value.as_bytes()))
    }
}

const IN: u16 = 1;
const NONE: u16 = 254;
const UPDATE: u16 = 5;
const ANSWER: u16 = 1 << 15;
const AUTHORITATIVE: u16 = 1 << 10;
const TRUNCATED: u16 = 1 << 9;
const RECURSION_DESIRED: u16 = 1 << 8;
const LONGEST_TEXT: usize = 255;

#[cfg(test)]
mod tests;
