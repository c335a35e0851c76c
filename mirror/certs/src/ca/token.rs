//! Tokens: what a machine that has nothing yet shows once, to get a certificate. Pure.
//!
//! `chandler1.ID.SECRET.ROOTS`, one word that shells, headers and URLs take as it is. `ID` is what people call it; `SECRET` is 256 random bits; `ROOTS` is the SHA-256 of the CA's roots
//! as `ca.pem` holds them, by which a machine that trusts no CA yet knows the mirror.
//!
//! What always holds: the secret stands in no `Debug` and in no error, and only its hash is kept. One token has one spelling.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The right to one certificate.
#[derive(Clone, Eq, PartialEq)]
pub struct Token {
    id: TokenId,
    roots: String,
    secret: [u8; SECRET],
}

/// What a token is called. No secret.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct TokenId(String);

/// For how long a token may be used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Validity(Duration);

/// Why a text is no token. It does not say the text, which may be most of one.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("this is no token: it is one word, as `chandler ca token NAME` prints it, that begins with `chandler1.`")]
pub struct TokenError;

/// Why a text is no token's name.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{0}` is no token's name: it has 16 digits, as `chandler ca token --list` prints it")]
pub struct TokenIdError(String);

/// Why a text is no time for a token.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{0}` is no time for a token: write 1s to 7days, such as 30m or 2h")]
pub struct ValidityError(String);

impl Token {
    /// A new one, for a CA with these roots.
    pub(super) fn new(roots: &str) -> Self {
        let (mut id, mut secret) = ([0; ID], [0; SECRET]);
        for bytes in [&mut id[..], &mut secret[..]] {
            rand::fill(bytes).expect("the system has random bytes; without them no key could be made either");
        }
        Self { id: TokenId(hex::encode(id)), roots: fingerprint(roots), secret }
    }

    /// As it is given to a machine. A secret.
    pub fn word(&self) -> String {
        format!("{MARK}.{}.{}.{}", self.id, URL_SAFE_NO_PAD.encode(self.secret), self.roots)
    }

    /// What it is called.
    pub fn id(&self) -> &TokenId {
        &self.id
    }

    /// Whether these are the roots of the CA that it was made by.
    pub fn knows(&self, roots: &str) -> bool {
        self.roots == fingerprint(roots)
    }

    /// What is kept of it.
    pub(super) fn hash(&self) -> String {
        hex::encode(digest(&SHA256, &self.secret))
    }

    /// Whether `hash` is its own; in constant time, so that nobody can feel their way to it.
    pub(super) fn has_hash(&self, hash: &str) -> bool {
        verify_slices_are_equal(self.hash().as_bytes(), hash.as_bytes()).is_ok()
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let mut parts = text.split('.');
        let mut part = || parts.next().ok_or(TokenError);
        let (mark, id, secret, roots) = (part()?, part()?, part()?, part()?);
        if mark != MARK || parts.next().is_some() || !is_hex(roots, SHA256_DIGITS) {
            return Err(TokenError);
        }
        let secret = URL_SAFE_NO_PAD.decode(secret).map_err(|_| TokenError)?;
        Ok(Self { id: id.parse().map_err(|_| TokenError)?, roots: roots.to_owned(), secret: secret.try_into().map_err(|_| TokenError)? })
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({})", self.id)
    }
}

impl FromStr for TokenId {
    type Err = TokenIdError;

    /// It becomes a file's name: nothing but digits passes.
    fn from_str(text: &str) -> Result<Self, TokenIdError> {
        if is_hex(text, 2 * ID) { Ok(Self(text.to_owned())) } else { Err(TokenIdError(text.to_owned())) }
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for TokenId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TokenId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Validity {
    /// So long.
    pub fn duration(self) -> Duration {
        self.0
    }
}

impl FromStr for Validity {
    type Err = ValidityError;

    fn from_str(text: &str) -> Result<Self, ValidityError> {
        let duration = humantime::parse_duration(text).ok().filter(|duration| (SHORTEST..=LONGEST).contains(duration));
        duration.map(Self).ok_or_else(|| ValidityError(text.to_owned()))
    }
}

/// `text` without what stands in it of tokens, for messages that repeat what somebody gave: where a file's name or a token's was asked for, it may be the token.
pub fn concealed(text: &str) -> Cow<'_, str> {
    let is_ours = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let (mut told, mut rest) = (String::new(), text);
    while let Some(at) = rest.find(BEGINNING) {
        let (before, after) = rest.split_at(at + BEGINNING.len());
        let length = after.find(|c| !is_ours(c)).unwrap_or(after.len());
        told += before;
        told += if length > 2 * ID { "…" } else { &after[..length] };
        rest = &after[length..];
    }
    if told.is_empty() { Cow::Borrowed(text) } else { Cow::Owned(told + rest) }
}

/// Of the roots as they stand in `ca.pem`: what `sha256sum` prints.
fn fingerprint(roots: &str) -> String {
    hex::encode(digest(&SHA256, roots.as_bytes()))
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Of every token.
const BEGINNING: &str = "chandler1.";
/// Bytes of a name: so many that no two tokens share one.
const ID: usize = 8;
/// What is longer than a week belongs into no file of a machine that does not run yet.
const LONGEST: Duration = Duration::from_hours(7 * 24);
/// What it is, and of which version; scanners for secrets know it by that.
const MARK: &str = "chandler1";
/// Bytes of the secret.
const SECRET: usize = 32;
const SHA256_DIGITS: usize = 64;
const SHORTEST: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_token_is_one_word_that_is_read_back_and_shown_by_its_name_only() {
        let token = Token::new("roots");
        let word = token.word();
        assert_eq!(word.parse(), Ok(token.clone()));
        assert!(word.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_')), "{word}");
        assert!(token.knows("roots") && !token.knows("other roots"));
        assert!(token.has_hash(&token.hash()) && !token.has_hash(&Token::new("roots").hash()) && !token.has_hash(""));
        let secret = word.split('.').nth(2).expect("the third part");
        let shown = format!("{token:?} {:?}", token.hash());
        assert!(!shown.contains(secret) && shown.contains(&token.id().to_string()), "{shown}");
    }

    #[test]
    fn what_is_nearly_a_token_is_none_and_is_not_repeated() {
        let word = Token::new("roots").word();
        let id = word.split('.').nth(1).expect("the second part").to_owned();
        for text in [
            String::new(),
            word[..word.len() - 1].to_owned(),
            format!("{word}0"),
            format!("{word}."),
            format!(" {word}"),
            format!("{word}\n"),
            word.replacen("chandler1", "chandler2", 1),
            word.to_uppercase(),
            word.replacen(&id, "../../../../etc/p", 1),
            word.replacen(&id, "0123456789abcdeg", 1),
        ] {
            assert_eq!(text.parse::<Token>(), Err(TokenError), "{text}");
        }
        assert!(!TokenError.to_string().contains(&id));
    }

    #[test]
    fn a_token_lives_from_a_second_to_a_week() {
        for (text, seconds) in [("1s", Some(1)), ("1h", Some(3600)), ("7days", Some(604_800)), ("8days", None), ("0s", None), ("1", None)] {
            assert_eq!(text.parse::<Validity>().ok().map(|validity| validity.duration().as_secs()), seconds, "{text}");
        }
    }

    proptest! {
        #[test]
        fn nothing_of_a_secret_is_left_of_what_somebody_gave(before in "\\PC{0,20}", after in "\\PC{0,20}", given in 40_usize..130, beside: bool) {
            let word = Token::new("roots").word();
            let secret = &word.split('.').nth(2).expect("the third part")[..8];
            let text = format!("{before}{}{after}{}", &word[..given], if beside { &word } else { "" });
            prop_assert!(!concealed(&text).contains(secret), "{}", concealed(&text));
        }

        #[test]
        fn what_has_no_token_in_it_is_told_as_it_is(text in "\\PC{0,40}|[a-z]{0,5}chandler1\\.[0-9a-f]{0,16}(/\\PC{0,9})?") {
            prop_assert_eq!(concealed(&text), text.as_str());
        }

        #[test]
        fn no_text_makes_the_parser_panic_and_what_it_takes_has_one_spelling(
            text in "(chandler1\\.)?[0-9a-f]{0,16}\\.[A-Za-z0-9_-]{42,44}\\.[0-9a-fA-F]{63,65}|\\PC{0,140}"
        ) {
            if let Ok(token) = text.parse::<Token>() {
                prop_assert_eq!(token.word(), text);
            }
        }

        #[test]
        fn no_other_token_has_the_hash(one: [u8; 32], other: [u8; 32]) {
            let token = |secret| Token { secret, ..Token::new("roots") };
            prop_assert_eq!(token(one).has_hash(&token(other).hash()), one == other);
        }
    }
}
