//! AWS's signature over a request, version 4: HMAC-SHA256 over its canonical form, with a key made for the day, the region and the service.

use std::fmt::{self, Write as _};

use aws_lc_rs::{digest, hmac};

/// Whose requests they are.
#[derive(Clone, Eq, PartialEq)]
pub struct Credentials {
    /// The access key's name.
    pub access_key: String,
    /// The key itself.
    pub(super) secret_key: String,
    /// Of credentials that end by themselves.
    pub(super) session_token: Option<String>,
}

/// Without what is secret.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("access_key", &self.access_key).finish_non_exhaustive()
    }
}

/// A request as far as it is signed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Canonical<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    /// As [`query`] writes it.
    pub(super) query: &'a str,
    /// Names in small letters, sorted.
    pub(super) headers: &'a [(&'a str, &'a str)],
    pub(super) body: &'a str,
}

/// What a signature is good for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope<'a> {
    pub(super) region: &'a str,
    pub(super) service: &'a str,
    /// `20150830T123600Z`.
    pub(super) time: &'a str,
}

impl Credentials {
    /// The `Authorization` header.
    pub(super) fn authorization(&self, scope: &Scope<'_>, request: &Canonical<'_>) -> String {
        let day = &scope.time[..scope.time.len().min(8)];
        let place = format!("{day}/{}/{}/aws4_request", scope.region, scope.service);
        let to_sign = format!("{ALGORITHM}\n{}\n{place}\n{}", scope.time, hash(&request.text()));
        let mut key = format!("AWS4{}", self.secret_key).into_bytes();
        for part in [day, scope.region, scope.service, "aws4_request"] {
            key = mac(&key, part);
        }
        let (signature, signed) = (hex::encode(mac(&key, &to_sign)), request.signed_headers());
        format!("{ALGORITHM} Credential={}/{place}, SignedHeaders={signed}, Signature={signature}", self.access_key)
    }
}

impl Canonical<'_> {
    fn text(&self) -> String {
        let headers: String = self.headers.iter().fold(String::new(), |mut all, (name, value)| {
            let _ = writeln!(all, "{name}:{}", value.trim());
            all
        });
        let signed = self.signed_headers();
        format!("{}\n{}\n{}\n{headers}\n{signed}\n{}", self.method, self.path, self.query, hash(self.body))
    }

    fn signed_headers(&self) -> String {
        self.headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";")
    }
}

/// A query as it is sent and signed: sorted, and everything escaped that is not a letter, a digit, or one of `-._~`.
pub(super) fn query(parameters: &[(&str, &str)]) -> String {
    let mut pairs: Vec<String> = parameters.iter().map(|(name, value)| format!("{}={}", escaped(name), escaped(value))).collect();
    pairs.sort();
    pairs.join("&")
}

fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut all, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => all.push(byte.into()),
            other => {
                let _ = write!(all, "%{other:02X}");
            }
        }
        all
    })
}

fn hash(text: &str) -> String {
    hex::encode(digest::digest(&digest::SHA256, text.as_bytes()))
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
}

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

#[cfg(test)]
mod tests {
    use super::*;

    fn signature(service: &str, request: &Canonical<'_>) -> String {
        let credentials = Credentials {
            access_key: "AKIDEXAMPLE".into(),
            secret_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into(),
            session_token: None,
        };
        let header = credentials.authorization(&Scope { region: "us-east-1", service, time: "20150830T123600Z" }, request);
        let (before, signature) = header.rsplit_once('=').expect("it ends in the signature");
        assert!(
            before
                .starts_with(&format!("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/{service}/aws4_request, SignedHeaders="))
        );
        signature.to_owned()
    }

    /// Those that AWS publishes: `get-vanilla`, `post-vanilla` and `get-vanilla-query-order-key-case` of its test suite, and the example of its manual.
    #[test]
    fn signatures_are_those_that_aws_publishes() {
        let headers = [("host", "example.amazonaws.com"), ("x-amz-date", "20150830T123600Z")];
        let plain = Canonical { method: "GET", path: "/", query: "", headers: &headers, body: "" };
        assert_eq!(signature("service", &plain), "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31");
        let post = Canonical { method: "POST", ..plain };
        assert_eq!(signature("service", &post), "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b");
        let query = query(&[("Param2", "value2"), ("Param1", "value1")]);
        let sorted = Canonical { query: &query, ..plain };
        assert_eq!(signature("service", &sorted), "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500");
        let headers = [
            ("content-type", "application/x-www-form-urlencoded; charset=utf-8"),
            ("host", "iam.amazonaws.com"),
            ("x-amz-date", "20150830T123600Z"),
        ];
        let users = Canonical { query: &super::query(&[("Version", "2010-05-08"), ("Action", "ListUsers")]), headers: &headers, ..plain };
        assert_eq!(signature("iam", &users), "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7");
    }

    #[test]
    fn a_query_is_escaped_as_it_is_signed() {
        assert_eq!(query(&[("name", "_acme-challenge.*.test."), ("a", "x y/é")]), "a=x%20y%2F%C3%A9&name=_acme-challenge.%2A.test.");
    }
}
