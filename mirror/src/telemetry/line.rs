//! A request's line in the access log: JSON, or for a person. Pure.
//!
//! Whatever a client wrote is escaped, once: no control character, so no line break and no terminal command, passes. A JSON line gives back what was
//! written when it is read, save bytes that are no UTF-8.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use serde::ser::{SerializeMap as _, Serializer as _};
use serde_json::Serializer;
use serde_json::ser::Formatter;

use super::{Facts, RequestId};
use crate::config::LogFormat;

/// What a line tells.
#[derive(Clone, Debug)]
pub(super) struct Line<'a> {
    pub(super) aborted: bool,
    pub(super) bytes: u64,
    /// The name in the client's certificate.
    pub(super) certificate: Option<&'a str>,
    pub(super) client: IpAddr,
    pub(super) duration: Duration,
    pub(super) facts: &'a Facts,
    pub(super) id: &'a RequestId,
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    /// `None`: the client left before there was an answer.
    pub(super) status: Option<u16>,
    pub(super) time: SystemTime,
    pub(super) user_agent: &'a [u8],
}

impl Line<'_> {
    /// The line with its end.
    pub(super) fn written(&self, format: LogFormat, fields: &[(String, String)]) -> Vec<u8> {
        match format {
            LogFormat::Json => self.json(fields),
            LogFormat::Text => self.text(fields).into_bytes(),
        }
    }

    fn json(&self, fields: &[(String, String)]) -> Vec<u8> {
        let mut line = Vec::with_capacity(LINE);
        let written = self.serialize(&mut Serializer::with_formatter(&mut line, Plain), fields);
        written.expect("strings and numbers become JSON in memory");
        line.push(b'\n');
        line
    }

    fn serialize(&self, serializer: &mut Serializer<&mut Vec<u8>, Plain>, fields: &[(String, String)]) -> serde_json::Result<()> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("time", &format_args!("{}", humantime::format_rfc3339_millis(self.time)))?;
        for (name, value) in fields {
            map.serialize_entry(name, value)?;
        }
        map.serialize_entry("client", &self.client)?;
        if let Some(name) = self.certificate {
            map.serialize_entry("client_certificate", short(name))?;
        }
        map.serialize_entry("user_agent", short(&String::from_utf8_lossy(self.user_agent)))?;
        map.serialize_entry("method", short(self.method))?;
        map.serialize_entry("path", short(self.path))?;
        map.serialize_entry("status", &self.status)?;
        map.serialize_entry("upstream", &self.facts.upstream.as_ref().map(crate::config::UpstreamName::as_str))?;
        map.serialize_entry("repository", &self.facts.repo)?;
        map.serialize_entry("reference", &self.facts.reference.as_ref().map(ToString::to_string))?;
        map.serialize_entry("outcome", &self.facts.outcome.map(super::Outcome::as_str))?;
        map.serialize_entry("bytes", &self.bytes)?;
        map.serialize_entry("duration_ms", &(self.duration.as_micros() as f64 / 1000.0))?;
        map.serialize_entry("request_id", &format_args!("{}", self.id))?;
        map.serialize_entry("aborted", &self.aborted)?;
        if let Some(error) = &self.facts.error {
            map.serialize_entry("error", error)?;
        }
        map.end()
    }

    fn text(&self, fields: &[(String, String)]) -> String {
        let mut line = String::with_capacity(LINE);
        self.write(&mut line, fields).expect("a string takes all");
        line.push('\n');
        line
    }

    fn write(&self, line: &mut String, fields: &[(String, String)]) -> std::fmt::Result {
        self.write_answer(line)?;
        if let (Some(upstream), Some(repo)) = (&self.facts.upstream, &self.facts.repo) {
            write!(line, " {upstream}/{repo}")?;
        }
        if let Some(reference) = &self.facts.reference {
            write!(line, " {reference}")?;
        }
        write!(line, " id={} agent=\"{}\"", self.id, plain(short(&String::from_utf8_lossy(self.user_agent))))?;
        if let Some(name) = self.certificate {
            write!(line, " certificate=\"{}\"", plain(short(name)))?;
        }
        if let Some(error) = &self.facts.error {
            write!(line, " error=\"{}\"", plain(error))?;
        }
        fields.iter().try_for_each(|(name, value)| write!(line, " {}={}", plain(name), plain(value)))
    }

    /// What was asked, and how it was answered.
    fn write_answer(&self, line: &mut String) -> std::fmt::Result {
        let time = humantime::format_rfc3339_millis(self.time);
        let (method, path) = (plain(short(self.method)), plain(short(self.path)));
        let status = self.status.map_or("-".into(), |status| status.to_string());
        let outcome = self.facts.outcome.map_or("-", super::Outcome::as_str);
        let milliseconds = self.duration.as_micros() as f64 / 1000.0;
        write!(line, "{time} {} {method} {path} {status} {outcome} {}B {milliseconds}ms", self.client, self.bytes)?;
        if self.aborted { line.write_str(" aborted") } else { Ok(()) }
    }
}

/// JSON without the control characters that JSON itself lets stand.
struct Plain;

impl Formatter for Plain {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((at, bad)) = rest.char_indices().find(|(_, c)| breaks_a_line(*c)) {
            writer.write_all(&rest.as_bytes()[..at])?;
            write!(writer, "\\u{:04x}", u32::from(bad))?;
            rest = &rest[at + bad.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }
}

/// Control characters (C1 and DEL too, which terminals obey and JSON does not escape) and line separators.
fn breaks_a_line(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

/// What a client wrote may be as long as a request's head, and the queue of lines must not be as long as the memory.
fn short(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST)]
}

/// For a person's line: without those, quotes and backslashes.
fn plain(text: &str) -> Cow<'_, str> {
    let bad = |c: char| breaks_a_line(c) || matches!(c, '"' | '\\');
    if !text.contains(bad) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if bad(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out.into()
}

/// Bytes of a usual line.
const LINE: usize = 512;
/// Bytes of one thing that a client wrote; names and digests are shorter.
const LONGEST: usize = 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::telemetry::Outcome;

    fn with<T>(path: &str, agent: &[u8], facts: &Facts, use_it: impl FnOnce(&Line<'_>) -> T) -> T {
        let headers = http::HeaderMap::from_iter([(super::super::request_id::X_REQUEST_ID, http::HeaderValue::from_static("r-1"))]);
        use_it(&Line {
            aborted: true,
            bytes: 17,
            certificate: Some("runner-1.test"),
            client: [10, 1, 2, 3].into(),
            duration: Duration::from_micros(1500),
            facts,
            id: &RequestId::given(&headers).expect("an id"),
            method: "GET",
            path,
            status: Some(200),
            time: SystemTime::UNIX_EPOCH,
            user_agent: agent,
        })
    }

    fn hit() -> Facts {
        Facts {
            outcome: Some(Outcome::Hit),
            reference: Some("latest".parse().expect("a tag")),
            repo: Some("library/alpine".parse().expect("a name")),
            upstream: Some("docker.io".parse().expect("a name")),
            error: None,
        }
    }

    #[test]
    fn a_line_tells_all_of_it() {
        let fields = [("site".to_owned(), "tokyo".to_owned())];
        let written = |format| with("/v2/library/alpine/manifests/latest", b"docker/29", &hit(), |line| line.written(format, &fields));
        let text = |format| String::from_utf8(written(format)).expect("text");
        insta::assert_snapshot!(text(LogFormat::Text), @r#"1970-01-01T00:00:00.000Z 10.1.2.3 GET /v2/library/alpine/manifests/latest 200 hit 17B 1.5ms aborted docker.io/library/alpine latest id=r-1 agent="docker/29" certificate="runner-1.test" site=tokyo"#);
        insta::assert_snapshot!(text(LogFormat::Json), @r#"{"time":"1970-01-01T00:00:00.000Z","site":"tokyo","client":"10.1.2.3","client_certificate":"runner-1.test","user_agent":"docker/29","method":"GET","path":"/v2/library/alpine/manifests/latest","status":200,"upstream":"docker.io","repository":"library/alpine","reference":"latest","outcome":"hit","bytes":17,"duration_ms":1.5,"request_id":"r-1","aborted":true}"#);
    }

    #[test]
    fn nobody_writes_a_second_line_or_a_terminal_command() {
        let agent = "a\"\r\n2026 fake line \u{1b}[2J\u{9b}31m\u{2028}".as_bytes();
        for format in [LogFormat::Json, LogFormat::Text] {
            let line = String::from_utf8(with("/x", agent, &hit(), |line| line.written(format, &[]))).expect("text");
            assert_eq!(line.chars().filter(|c| c.is_control() || *c == '\u{2028}').collect::<String>(), "\n", "{line}");
        }
    }

    /// Any text, with what is escaped in it more often than chance would have it.
    const ANYTHING: &str = "(\\PC|\\pC|[\\x00-\\x1f\\x7f-\\u{9f}\\u{2028}\\u{2029}\"\\\\]){0,30}";

    proptest! {
        #[test]
        fn every_line_is_one_line_and_a_json_line_gives_back_what_was_sent(
            path in ANYTHING,
            agent in prop_oneof![prop::collection::vec(any::<u8>(), 0..50), ANYTHING.prop_map(String::into_bytes)],
            error in ANYTHING,
        ) {
            let facts = Facts { error: Some(error.clone()), ..hit() };
            for format in [LogFormat::Json, LogFormat::Text] {
                let line = String::from_utf8(with(&path, &agent, &facts, |line| line.written(format, &[]))).expect("text");
                prop_assert!(line.ends_with('\n') && !line.trim_end_matches('\n').chars().any(char::is_control));
                if format == LogFormat::Json {
                    let read: serde_json::Value = serde_json::from_str(&line).expect("JSON");
                    let agent = String::from_utf8_lossy(&agent);
                    prop_assert_eq!([&read["path"], &read["user_agent"], &read["error"]], [&*path, &*agent, &*error]);
                }
            }
        }
    }
}
