//! `Via` (RFC 9110, 7.6.3): which mirrors a request has passed. One that finds itself there is in a ring of mirrors, and says so instead of waiting
//! for itself. Pure.
//!
//! Each process has a pseudonym of its own, made of random bits. It is told to upstreams and never to a client: who knew it could have a fetch that many
//! wait for refused as a ring. Only mirrors' entries travel on: what other proxies wrote of themselves is their network's business.
//!
//! A fetch is shared, and carries the `Via` of who asked first. A ring is found all the same, since each request is checked before it joins anything:
//! the fetch goes around once and meets its own mirror. Only two fetches of one thing that start at two mirrors of a ring within one round trip
//! join each other, and end by their deadlines.

use std::fmt;

use http::header::{HeaderMap, HeaderValue, VIA};

/// A mirror's name among mirrors: `chandler-` and 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Pseudonym(u64);

impl Pseudonym {
    /// Of 64 random bits.
    pub const fn new(random: u64) -> Self {
        Self(random)
    }

    /// Of an entry such as `1.1 chandler-0123456789abcdef (a comment)`, if a mirror wrote it.
    fn read(entry: &str) -> Option<Self> {
        let digits = entry.split_ascii_whitespace().nth(1)?.strip_prefix(PREFIX)?;
        let is_ours = digits.len() == DIGITS && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        u64::from_str_radix(digits, 16).ok().filter(|_| is_ours).map(Self)
    }
}

impl fmt::Display for Pseudonym {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{:0DIGITS$x}", self.0)
    }
}

/// The mirrors that a request has passed, the nearest last. No client but a mirror has any.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Via(Vec<Pseudonym>);

impl Via {
    /// What `headers` tell: no more than the nearest [`MOST`], so that no client makes a request of ours grow, and none that it made up crowds out a true one.
    pub fn read(headers: &HeaderMap) -> Self {
        let mut passed = Vec::new();
        for line in headers.get_all(VIA) {
            passed.extend(String::from_utf8_lossy(line.as_bytes()).split(',').filter_map(Pseudonym::read));
        }
        passed.drain(..passed.len().saturating_sub(MOST));
        Self(passed)
    }

    /// Whether the request comes from no mirror.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the request has passed `mirror`.
    pub fn has(&self, mirror: Pseudonym) -> bool {
        self.0.contains(&mirror)
    }

    /// What a request carries that `mirror` sends on.
    pub fn then(&self, mirror: Pseudonym) -> HeaderValue {
        let entries: Vec<String> = self.0.iter().chain([&mirror]).map(|passed| format!("1.1 {passed}")).collect();
        HeaderValue::from_str(&entries.join(", ")).expect("pseudonyms are plain ASCII")
    }
}

const DIGITS: usize = 16;
/// More mirrors in a row than anybody builds; a longer ring ends by deadlines.
const MOST: usize = 16;
const PREFIX: &str = "chandler-";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(lines: &[&str]) -> Via {
        Via::read(&lines.iter().map(|line| (VIA, HeaderValue::from_bytes(line.as_bytes()).expect("a header"))).collect())
    }

    #[test]
    fn the_mirrors_that_were_passed_are_told_in_their_order() {
        let told = read(&[]).then(Pseudonym::new(1));
        assert_eq!(told, "1.1 chandler-0000000000000001");
        let told = read(&[told.to_str().expect("ASCII")]).then(Pseudonym::new(0xfe));
        assert_eq!(told, "1.1 chandler-0000000000000001, 1.1 chandler-00000000000000fe");
    }

    #[test]
    fn what_other_proxies_wrote_is_passed_over() {
        let lines = ["1.0 fred, 1.1 p.example.net (Apache/1.1 é)", "HTTP/2 chandler-00000000000000aa (x),1.1 cache-7.corp:8080"];
        assert_eq!(read(&lines), Via(vec![Pseudonym::new(0xaa)]));
        for entry in
            ["", ",", "chandler-00000000000000aa", "1.1 chandler-aa", "1.1 chandler-00000000000000AA", "1.1 chandler-+00000000000000a"]
        {
            assert!(read(&[entry]).is_empty(), "{entry}");
        }
    }

    #[test]
    fn a_client_that_makes_entries_up_makes_no_request_longer_and_hides_no_mirror() {
        let made_up = vec!["1.1 chandler-00000000000000aa"; 1000].join(", ");
        let via = read(&[&made_up, "1.1 chandler-00000000000000bb"]);
        assert!(via.has(Pseudonym::new(0xaa)) && via.has(Pseudonym::new(0xbb)));
        assert!(via.then(Pseudonym::new(1)).len() < 600);
    }

    proptest! {
        #[test]
        fn each_of_up_to_sixteen_mirrors_finds_itself(ids in prop::collection::vec(any::<u64>(), 1..=MOST)) {
            let (last, passed) = ids.split_last().expect("one at least");
            let told = Via(passed.iter().copied().map(Pseudonym).collect()).then(Pseudonym(*last));
            let via = Via::read(&HeaderMap::from_iter([(VIA, told)]));
            prop_assert!(ids.iter().all(|id| via.has(Pseudonym(*id))));
        }

        #[test]
        fn no_header_makes_the_reader_panic_or_lets_more_than_pseudonyms_through(line in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(line) = HeaderValue::from_bytes(&line) {
                let told = Via::read(&HeaderMap::from_iter([(VIA, line)])).then(Pseudonym(1));
                let told = told.to_str().expect("ASCII");
                prop_assert!(told.split(", ").all(|entry| entry.starts_with("1.1 chandler-") && entry.len() == 4 + PREFIX.len() + DIGITS));
            }
        }

        #[test]
        fn nothing_in_the_headers_alphabet_makes_it_panic(line in "(1\\.1|chandler-|0123456789abcdef|[a-f0-9 ,()]){0,30}") {
            let _ = read(&[&line]).then(Pseudonym(1));
        }
    }
}
