//! The bytes of a message from their beginning to their end, each step within bounds.

use super::super::{Name, Signature};
use super::{Data, Kind, LONGEST_TEXT, Malformed, Record};

/// Where the reading of a message has come to.
#[derive(Debug)]
pub(in super::super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// From the first of `bytes` on.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let taken = self.bytes.get(self.at..self.at + length).ok_or(Malformed)?;
        self.at += length;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.take(N)?.try_into().map_err(|_| Malformed)
    }

    pub(in super::super) fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    pub(in super::super) fn u48(&mut self) -> Result<u64, Malformed> {
        Ok(number(&self.array::<6>()?))
    }

    /// Bytes with their number before them.
    pub(in super::super) fn counted(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.u16()?;
        self.take(length.into())
    }

    /// A pointer leads to where something stood before, and each further back: so the end comes.
    pub(in super::super) fn name(&mut self) -> Result<Name, Malformed> {
        let (mut labels, mut length) = (Vec::new(), 0);
        let (mut at, mut bound, mut after) = (self.at, self.at, None);
        loop {
            let first = usize::from(*self.bytes.get(at).ok_or(Malformed)?);
            match first {
                0 => break at += 1,
                1..=63 => {
                    labels.push(self.bytes.get(at + 1..at + 1 + first).ok_or(Malformed)?.to_vec());
                    at += 1 + first;
                    length += 1 + first;
                    if length > LONGEST_TEXT {
                        return Err(Malformed);
                    }
                }
                0xc0.. => {
                    let second = usize::from(*self.bytes.get(at + 1).ok_or(Malformed)?);
                    after.get_or_insert(at + 2);
                    at = (first & 0x3f) << 8 | second;
                    if at >= bound {
                        return Err(Malformed);
                    }
                    bound = at;
                }
                _ => return Err(Malformed),
            }
        }
        self.at = after.unwrap_or(at);
        Name::of(labels).ok_or(Malformed)
    }

    pub(super) fn records(&mut self, count: u16) -> Result<Vec<Record>, Malformed> {
        let mut records = Vec::new();
        for _ in 0..count {
            let (name, kind, end) = self.record()?;
            if kind == Kind::TSIG {
                return Err(Malformed); // It signs what comes before it.
            }
            let data = self.data(kind, end)?;
            self.at = end;
            records.push(Record { name, data });
        }
        Ok(records)
    }

    /// What comes before a record's data, and where that ends.
    fn record(&mut self) -> Result<(Name, Kind, usize), Malformed> {
        let (name, kind) = (self.name()?, Kind(self.u16()?));
        self.take(2 + 4)?; // Class and TTL: questions are of one class, and nothing is kept.
        let length = usize::from(self.u16()?);
        let end = self.at + length;
        if end <= self.bytes.len() { Ok((name, kind, end)) } else { Err(Malformed) }
    }

    fn data(&mut self, kind: Kind, end: usize) -> Result<Data, Malformed> {
        let data = match kind {
            Kind::A => Data::A(self.array::<4>()?.into()),
            Kind::AAAA => Data::Aaaa(self.array::<16>()?.into()),
            Kind::CAA => self.caa(end)?,
            Kind::CNAME => Data::Cname(self.name()?),
            Kind::NS => Data::Ns(self.name()?),
            Kind::SOA => Data::Soa,
            Kind::TXT => Data::Txt(self.texts(end)?),
            _ => Data::Other,
        };
        if self.at <= end { Ok(data) } else { Err(Malformed) }
    }

    fn texts(&mut self, end: usize) -> Result<Vec<u8>, Malformed> {
        let mut text = Vec::new();
        while self.at < end {
            let length = usize::from(self.array::<1>()?[0]);
            text.extend_from_slice(self.take(length)?);
        }
        Ok(text)
    }

    fn caa(&mut self, end: usize) -> Result<Data, Malformed> {
        let [flags, length] = self.array()?;
        let tag = self.take(length.into())?.to_ascii_lowercase();
        let value = self.take(end.checked_sub(self.at).ok_or(Malformed)?)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Data::Caa { is_critical: flags & 0x80 != 0, tag: text(&tag), value: text(value) })
    }

    /// Of the last section only a signature is of use, which is the last of all (RFC 8945 5.1).
    pub(super) fn signature(&mut self, count: u16) -> Result<Option<(usize, Signature)>, Malformed> {
        for left in (0..count).rev() {
            let begin = self.at;
            let (name, kind, end) = self.record()?;
            if kind == Kind::TSIG {
                let signature = Signature::read(name, self)?;
                return if left == 0 && self.at == end { Ok(Some((begin, signature))) } else { Err(Malformed) };
            }
            self.at = end;
        }
        Ok(None)
    }
}

/// Of bytes, the greatest first; at most eight.
pub(in super::super) fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}
