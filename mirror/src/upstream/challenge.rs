//! `WWW-Authenticate`, as registries send it: several challenges in one line or in several, quoted commas and escapes, any case.
//!
//! Pure: text in, values out. Written by hand after RFC 9110 section 11.6.1, since a pattern cannot tell the comma that ends a parameter
//! from the one that ends a challenge. What cannot be read ends the reading; what came before it counts.

/// One way to be let in, as the other side offers it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Challenge {
    /// A password in each request.
    Basic,
    /// A token from `realm`.
    Bearer(Bearer),
}

/// Where a token is to be had, and for what.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Bearer {
    /// Why the last one did not do: `insufficient_scope`, `invalid_token`.
    pub(super) error: Option<String>,
    /// The token service's address.
    pub(super) realm: String,
    /// What to ask for; several are separated by spaces.
    pub(super) scope: Option<String>,
    /// What the token service calls the registry.
    pub(super) service: Option<String>,
}

/// All challenges of a known kind in `lines`, in their order. A bearer challenge without a realm is none.
pub(super) fn parse<'a>(lines: impl IntoIterator<Item = &'a str>) -> Vec<Challenge> {
    lines.into_iter().flat_map(|line| Reader { rest: line }.challenges()).filter_map(Raw::known).collect()
}

struct Raw<'a> {
    parameters: Vec<(&'a str, String)>,
    scheme: &'a str,
}

impl Raw<'_> {
    fn known(self) -> Option<Challenge> {
        if self.scheme.eq_ignore_ascii_case("basic") {
            return Some(Challenge::Basic);
        }
        if !self.scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let take = |name: &str| {
            let found = self.parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.trim().to_owned()).filter(|value| !value.is_empty())
        };
        Some(Challenge::Bearer(Bearer { error: take("error"), realm: take("realm")?, scope: take("scope"), service: take("service") }))
    }
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn challenges(mut self) -> Vec<Raw<'a>> {
        let mut found: Vec<Raw<'a>> = Vec::new();
        loop {
            self.skip(|c| c == ',' || is_space(c));
            let Some(word) = self.token() else { return found };
            let spaces = self.skip(is_space);
            // `name = value` continues the challenge before it; a word that nothing is assigned to starts the next one.
            match found.last_mut() {
                Some(challenge) if self.rest.starts_with('=') => match self.value() {
                    Some(value) => challenge.parameters.push((word, value)),
                    None => return found,
                },
                _ => {
                    found.push(Raw { parameters: Vec::new(), scheme: word });
                    if spaces > 0 {
                        self.skip_token68();
                    }
                }
            }
        }
    }

    /// `= value`, bare or quoted.
    fn value(&mut self) -> Option<String> {
        self.rest = self.rest.strip_prefix('=')?;
        self.skip(is_space);
        let Some(quoted) = self.rest.strip_prefix('"') else {
            // Bare addresses are not allowed, and are sent all the same.
            let end = self.rest.find(|c| c == ',' || is_space(c)).unwrap_or(self.rest.len());
            let (value, rest) = self.rest.split_at(end);
            self.rest = rest;
            return Some(value.to_owned());
        };
        let mut value = String::new();
        let mut letters = quoted.char_indices();
        while let Some((at, letter)) = letters.next() {
            match letter {
                '"' => {
                    self.rest = &quoted[at + 1..];
                    return Some(value);
                }
                '\\' => value.push(letters.next()?.1),
                _ => value.push(letter),
            }
        }
        None // The quote never ends: whatever this is, it is not what was meant.
    }

    /// The blob that `Negotiate` and its like carry instead of parameters.
    fn skip_token68(&mut self) {
        let end = self.rest.find(|c| c == ',' || is_space(c)).unwrap_or(self.rest.len());
        let word = self.rest[..end].trim_end_matches('=');
        let after = self.rest[end..].trim_start_matches(is_space);
        if !word.is_empty()
            && word.chars().all(|c| c.is_ascii_alphanumeric() || "-._~+/".contains(c))
            && (after.is_empty() || after.starts_with(','))
        {
            self.rest = after;
        }
    }

    fn token(&mut self) -> Option<&'a str> {
        let end = self.rest.find(|c: char| !(c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c))).unwrap_or(self.rest.len());
        let (token, rest) = self.rest.split_at(end);
        self.rest = rest;
        Some(token).filter(|token| !token.is_empty())
    }

    fn skip(&mut self, what: impl Fn(char) -> bool) -> usize {
        let rest = self.rest.trim_start_matches(what);
        let skipped = self.rest.len() - rest.len();
        self.rest = rest;
        skipped
    }
}

fn is_space(c: char) -> bool {
    c == ' ' || c == '\t'
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        let own = |text: Option<&str>| text.map(str::to_owned);
        Challenge::Bearer(Bearer { error: None, realm: realm.to_owned(), scope: own(scope), service: own(service) })
    }

    #[test]
    fn the_challenges_of_real_registries_are_read() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/alpine:pull""#;
        let expected = bearer("https://auth.docker.io/token", Some("registry.docker.io"), Some("repository:library/alpine:pull"));
        assert_eq!(parse([hub]), [expected]);
        for (text, expected) in [
            (r#"bearer realm="https://a/t""#, vec![bearer("https://a/t", None, None)]),
            (r#"BEARER Realm = "https://a/t" , SCOPE="a,b c""#, vec![bearer("https://a/t", None, Some("a,b c"))]),
            (r"Bearer realm=https://a/t?x=1,service=s", vec![bearer("https://a/t?x=1", Some("s"), None)]),
            (r#"Basic realm="x, Bearer realm=\"y\"""#, vec![Challenge::Basic]),
            (r#"Basic realm="x", Bearer realm="https://a/t",service="s""#, vec![Challenge::Basic, bearer("https://a/t", Some("s"), None)]),
            (r#"Negotiate, Negotiate YWJj==, Bearer realm="https://a/t""#, vec![bearer("https://a/t", None, None)]),
            (r#"Bearer realm="https://a/\"q\\t""#, vec![bearer(r#"https://a/"q\t"#, None, None)]),
            ("Basic", vec![Challenge::Basic]),
            (r#"Bearer service="s""#, vec![]),
            (r#"Bearer realm="never ends"#, vec![]),
            (r#"Basic, Bearer realm="never ends"#, vec![Challenge::Basic]),
            (", , ,", vec![]),
            ("", vec![]),
            ("=,=", vec![]),
        ] {
            assert_eq!(parse([text]), expected, "{text}");
        }
    }

    #[test]
    fn the_kept_lines_hold_what_they_say() {
        for line in include_str!("seeds/challenges.txt").lines().filter(|line| !line.starts_with('#')) {
            let (count, header) = line.split_once('\t').expect("a count and a header");
            assert_eq!(parse([header]).len().to_string(), count, "{header}");
        }
    }

    #[test]
    fn challenges_in_several_lines_all_count() {
        assert_eq!(parse(["Basic realm=x", r#"Bearer realm="https://a/t""#]).len(), 2);
    }

    #[test]
    fn the_reason_of_a_refusal_is_kept() {
        let text = r#"Bearer realm="https://a/t",error="insufficient_scope""#;
        let [Challenge::Bearer(bearer)] = &parse([text])[..] else { panic!("one bearer challenge") };
        assert_eq!(bearer.error.as_deref(), Some("insufficient_scope"));
    }

    proptest! {
        #[test]
        fn no_header_makes_the_reader_panic_or_hang(text in "\\PC*") {
            let _ = parse([text.as_str()]);
        }

        #[test]
        fn nothing_in_the_grammars_alphabet_makes_it_panic(text in r#"(Bearer|Basic|realm|scope|[=,"\\ a:/\t]){0,20}"#) {
            let _ = parse([text.as_str()]);
        }

        #[test]
        fn what_is_quoted_comes_back_as_it_was(realm in r#"[a-z"\\,= ]{0,12}x"#, scope in r#"y[a-z"\\,= :/]{0,12}z"#, before in any::<bool>()) {
            let quote = |text: &str| format!("\"{}\"", text.replace('\\', r"\\").replace('"', "\\\""));
            let first = if before { "Digest nonce=\"a, b\", " } else { "" };
            let text = format!("{first}Bearer realm={}, scope={}", quote(&realm), quote(&scope));
            prop_assert_eq!(parse([text.as_str()]), [bearer(realm.trim(), None, Some(&scope))]);
        }
    }
}
