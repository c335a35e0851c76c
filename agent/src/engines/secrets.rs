//! Whether a file holds something that nobody may read in a diff: a login, a token, a password in a URL, a header. Pure.
//!
//! It is told by words and their places and not by a format's grammar: a file that is wrongly taken for secret is shown by its name alone, the other way round a password is on a terminal.

/// Whether one of these files does.
pub fn holds_secret<'a>(files: impl IntoIterator<Item = Option<&'a [u8]>>) -> bool {
    files.into_iter().flatten().any(|bytes| has_secret(&String::from_utf8_lossy(bytes)))
}

fn has_secret(text: &str) -> bool {
    text.lines().any(|line| has_login(line) || has_word(&line.to_ascii_lowercase())) || text.contains("PRIVATE KEY")
}

/// `scheme://user:password@host`. A user alone may be a token.
fn has_login(line: &str) -> bool {
    line.match_indices("://").any(|(at, mark)| {
        let rest = &line[at + mark.len()..];
        let authority = rest.split(|c: char| c == '/' || c == '"' || c == '\'' || c.is_whitespace()).next().unwrap_or_default();
        authority.contains('@')
    })
}

/// One of the words as a key: alone, perhaps in quotes, with `:` or `=` behind it; or as the last part of a table's name.
fn has_word(line: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    WORDS.iter().any(|word| {
        line.match_indices(word).any(|(at, _)| {
            let (before, after) = (&line[..at], &line[at + word.len()..]);
            let after = after.trim_start_matches(['"', '\'']).trim_start();
            !before.ends_with(is_letter) && after.starts_with([':', '=', ']'])
        })
    })
}

/// In small letters. Of headers any may be a secret.
const WORDS: [&str; 8] = ["auth", "authorization", "password", "identity_token", "identitytoken", "registrytoken", "token", "header"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_are_found_however_they_are_written() {
        for (text, is) in [
            ("configs:\n  r:\n    auth:\n      username: u\n", true),
            ("configs: {r: {\"auth\": {\"username\": \"u\"}}}\n", true),
            ("    auth :\n", true),
            ("  Password = 'x'\n", true),
            ("[plugins.\"io.containerd.grpc.v1.cri\".registry.configs.\"r\".auth]\n", true),
            ("[host.\"https://m\".header]\n  x-token = \"s\"\n", true),
            ("header = { Authorization = [\"Basic x\"] }\n", true),
            ("{\"proxies\": {\"https-proxy\": \"http://user:pw@proxy:3128\"}}", true),
            ("-----BEGIN EC PRIVATE KEY-----\n", true),
            ("{\"proxies\": {\"https-proxy\": \"http://proxy:3128\"}, \"mail\": \"a@b\"}", false),
            ("{\"registry-mirrors\": [\"http://auth.example:5000\"], \"authorization-plugins\": []}", false),
            ("[host.\"https://header.example\"]\n  capabilities = [\"pull\"]\n", false),
            ("mirrors:\n  docker.io:\n    endpoint: [\"http://m\"]\n", false),
            ("", false),
        ] {
            assert_eq!(holds_secret([Some(text.as_bytes())]), is, "{text}");
        }
        assert!(!holds_secret([None]));
        assert!(holds_secret([None, Some(b"password: x".as_slice())]));
    }
}
