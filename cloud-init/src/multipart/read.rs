//! A message as others wrote it: headers, boundary, parts, also parts of parts. Bounded, and nothing is an error: what cannot be read is passed over, as cloud-init does.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// What a message has in it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Read {
    /// The parts, those of parts in their place.
    pub parts: Vec<ReadPart>,
    /// The boundary's end, `--BOUNDARY--`, is there.
    pub is_whole: bool,
}

/// One part.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ReadPart {
    /// Its file's name.
    pub name: Option<String>,
    /// In lower case and without parameters; `None` where the part says none.
    pub content_type: Option<String>,
    /// `Merge-Type` or `X-Merge-Type`.
    pub merge_type: Option<String>,
    /// What is in it, decoded.
    pub text: String,
    /// The line of the document in which the part begins, its headers that is, from 1.
    pub line: usize,
    /// The line of the document in which its text begins, where that is as it stands there.
    pub text_line: Option<usize>,
    /// Why the text is not to be had.
    pub broken: Option<&'static str>,
}

/// Whether cloud-init takes a text for a message: it looks for one header in the first 4096 bytes, wherever that stands.
pub fn is_message(text: &str) -> bool {
    text.as_bytes()[..text.len().min(LOOKED_AT)].to_ascii_lowercase().windows(HEADER.len()).any(|window| window == HEADER)
}

/// The message in a text; `None` where it is none, or one of a single part.
pub fn read(text: &str) -> Option<Read> {
    if !is_message(text) {
        return None;
    }
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let (headers, body) = headers(&lines, 0);
    let boundary = boundary(&headers)?;
    let mut read = Read::default();
    read.is_whole = parts(&lines[body..], body, &boundary, 0, &mut read.parts);
    Some(read)
}

/// Those before the empty line, folded lines joined, names in lower case; and the index of the line behind.
fn headers(lines: &[&str], from: usize) -> (Vec<(String, String)>, usize) {
    let mut found: Vec<(String, String)> = Vec::new();
    for (index, line) in lines.iter().enumerate().skip(from) {
        let bare = line.trim_end_matches(['\r', '\n']);
        if bare.is_empty() {
            return (found, index + 1);
        }
        match (bare.starts_with([' ', '\t']), found.last_mut(), bare.split_once(':')) {
            (true, Some((_, value)), _) => {
                value.push(' ');
                value.push_str(bare.trim());
            }
            (false, _, Some((name, value))) if !name.contains(' ') => found.push((name.to_ascii_lowercase(), value.trim().to_owned())),
            _ => return (found, index), // What is no header begins the text.
        }
    }
    (found, lines.len())
}

fn value<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
}

/// `key=value` or `key="value"` behind a header's first word.
fn parameter(header: &str, key: &str) -> Option<String> {
    header.split(';').skip(1).find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case(key).then(|| value.trim().trim_matches('"').to_owned())
    })
}

fn content_type(headers: &[(String, String)]) -> Option<String> {
    let named = value(headers, "content-type")?.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    (!named.is_empty()).then_some(named)
}

fn boundary(headers: &[(String, String)]) -> Option<String> {
    let is_multipart = content_type(headers).is_some_and(|named| named.starts_with("multipart/"));
    let boundary = value(headers, "content-type").and_then(|header| parameter(header, "boundary"))?;
    (is_multipart && !boundary.is_empty()).then_some(boundary)
}

/// The parts between the boundaries; whether the last boundary is there. `before`: lines of the document before these.
fn parts(lines: &[&str], before: usize, boundary: &str, depth: usize, found: &mut Vec<ReadPart>) -> bool {
    let (open, close) = (format!("--{boundary}"), format!("--{boundary}--"));
    let mut start = None;
    for (index, line) in lines.iter().enumerate() {
        let bare = line.trim_end();
        if bare != open && bare != close {
            continue;
        }
        if let Some(start) = start {
            part(&lines[start..index], before + start, depth, found);
        }
        start = Some(index + 1);
        if bare == close {
            return true;
        }
    }
    if let Some(start) = start {
        part(&lines[start..], before + start, depth, found);
    }
    false
}

fn part(lines: &[&str], before: usize, depth: usize, found: &mut Vec<ReadPart>) {
    if found.len() >= MOST_PARTS {
        return;
    }
    let (headers, body) = headers(lines, 0);
    if let (Some(boundary), true) = (boundary(&headers), depth < DEEPEST) {
        parts(&lines[body..], before + body, &boundary, depth + 1, found);
        return;
    }
    let text = lines[body.min(lines.len())..].concat();
    // The last line break belongs to the boundary.
    let text = text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text));
    let encoding = value(&headers, "content-transfer-encoding").unwrap_or("7bit").to_ascii_lowercase();
    let decoded = match encoding.as_str() {
        "base64" => base64_text(text),
        "quoted-printable" => String::from_utf8(quoted_printable(text)).ok(),
        _ => Some(text.to_owned()),
    };
    let disposition = value(&headers, "content-disposition").and_then(|header| parameter(header, "filename"));
    let is_as_it_stands = !matches!(encoding.as_str(), "base64" | "quoted-printable");
    found.push(ReadPart {
        name: disposition.or_else(|| value(&headers, "content-type").and_then(|header| parameter(header, "name"))),
        content_type: content_type(&headers),
        merge_type: value(&headers, "merge-type").or_else(|| value(&headers, "x-merge-type")).map(str::to_owned),
        broken: decoded.is_none().then_some("it cannot be decoded to text"),
        text: decoded.unwrap_or_default(),
        line: before + 1,
        text_line: is_as_it_stands.then_some(before + body + 1),
    });
}

fn base64_text(text: &str) -> Option<String> {
    let letters: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let lenient = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    String::from_utf8(GeneralPurpose::new(&alphabet::STANDARD, lenient).decode(letters).ok()?).ok()
}

fn quoted_printable(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'=' {
            bytes.push(byte);
            continue;
        }
        match after {
            [b'\r', b'\n', after @ ..] | [b'\n', after @ ..] => rest = after,
            [high, low, after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16).unwrap_or_default() as u8;
                bytes.push(digit(high) * 16 + digit(low));
                rest = after;
            }
            _ => bytes.push(b'='),
        }
    }
    bytes
}

const HEADER: &[u8] = b"mime-version:";
const LOOKED_AT: usize = 4096;
const MOST_PARTS: usize = 256;
const DEEPEST: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_terraform_and_python_write_is_read() {
        let text = "Content-Type: multipart/mixed; boundary=\"MIMEBOUNDARY\"\nMIME-Version: 1.0\r\n\r\n--MIMEBOUNDARY\r\n\
            Content-Transfer-Encoding: 7bit\r\nContent-Type: text/x-shellscript;\r\n\tname=a.sh\r\nMime-Version: 1.0\r\n\r\n#!/bin/sh\necho 1\r\n--MIMEBOUNDARY\r\n\
            Content-Type: text/cloud-config\r\nX-Merge-Type: list(append)\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n#cloud-config\r\nx: =C3=A4=\r\nb\r\n--MIMEBOUNDARY--\r\n";
        let read = read(text).expect("a message");
        assert!(read.is_whole);
        let [script, config] = &read.parts[..] else { panic!("{read:?}") };
        assert_eq!((script.name.as_deref(), script.text.as_str(), script.text_line), (Some("a.sh"), "#!/bin/sh\necho 1", Some(10)));
        assert_eq!((config.text.as_str(), config.merge_type.as_deref()), ("#cloud-config\r\nx: \u{e4}b", Some("list(append)")));
    }

    #[test]
    fn parts_of_parts_are_in_their_place_and_a_lost_end_is_known() {
        let text = "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\n#!/bin/sh\n--b--\n--a\n\nlast";
        let read = read(text).expect("a message");
        assert_eq!(read.parts.iter().map(|part| part.text.as_str()).collect::<Vec<_>>(), ["#!/bin/sh", "last"]);
        assert!(!read.is_whole && read.parts[0].content_type.is_none());
    }

    #[test]
    fn a_text_with_no_such_header_is_no_message() {
        assert_eq!(read("#cloud-config\nruncmd: []\n"), None);
        assert!(is_message("#cloud-config\n# mime-version: in any place\n") && read("#cloud-config\n# mime-version: x\n").is_none());
    }

    proptest! {
        #[test]
        fn nothing_that_is_read_panics(text in "(MIME-Version: 1.0\n|Content-Type: multipart/mixed; boundary=a\n|--a\n|--a--|\n|base64|Content-Transfer-Encoding: |=4|\\PC){0,40}") {
            let _ = read(&text);
        }
    }
}
