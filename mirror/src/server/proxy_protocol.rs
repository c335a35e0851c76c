//! The PROXY protocol, versions 1 and 2: pure, bytes in, the client's address out.
//!
//! "The receiver MUST be configured to only receive the protocol described in this specification and MUST not try to guess whether the
//! protocol header is present or not": so a connection without a header is an error, not a plain one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A whole header.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Header {
    /// Bytes that belong to it; what follows is the client's.
    pub(super) length: usize,
    /// Whom the proxy speaks for; `None` when it speaks for itself (health checks) or of no IP address.
    pub(super) source: Option<SocketAddr>,
}

/// Why this is no PROXY header.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum ProxyError {
    #[error("the PROXY header does not follow its grammar")]
    Malformed,
    #[error("the connection does not start with a PROXY header")]
    Missing,
    #[error("the PROXY header is longer than {MAX_LENGTH} bytes")]
    TooLong,
}

/// The header at the start of `bytes`; `None` while more must be read.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<Header>, ProxyError> {
    if starts_alike(bytes, SIGNATURE) {
        return if bytes.len() < FIXED { Ok(None) } else { parse_binary(bytes) };
    }
    if starts_alike(bytes, b"PROXY ") {
        return parse_text(bytes);
    }
    Err(ProxyError::Missing)
}

/// `PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n`
fn parse_text(bytes: &[u8]) -> Result<Option<Header>, ProxyError> {
    let window = &bytes[..bytes.len().min(MAX_TEXT)];
    let Some(end) = window.windows(2).position(|pair| pair == b"\r\n") else {
        return if bytes.len() < MAX_TEXT { Ok(None) } else { Err(ProxyError::Malformed) };
    };
    let line = std::str::from_utf8(&bytes[..end]).map_err(|_| ProxyError::Malformed)?;
    let fields: Vec<_> = line.split(' ').collect();
    let source = match fields[..] {
        ["PROXY", "TCP4", source, destination, port, to] => Some(text_source::<Ipv4Addr>(source, destination, port, to)?),
        ["PROXY", "TCP6", source, destination, port, to] => Some(text_source::<Ipv6Addr>(source, destination, port, to)?),
        ["PROXY", "UNKNOWN", ..] => None,
        _ => return Err(ProxyError::Malformed),
    };
    Ok(Some(Header { length: end + 2, source }))
}

fn text_source<A>(source: &str, destination: &str, port: &str, to: &str) -> Result<SocketAddr, ProxyError>
where
    A: std::str::FromStr + Into<IpAddr>,
{
    let source: A = source.parse().map_err(|_| ProxyError::Malformed)?;
    destination.parse::<A>().map_err(|_| ProxyError::Malformed)?;
    to.parse::<u16>().map_err(|_| ProxyError::Malformed)?;
    Ok(SocketAddr::new(source.into(), port.parse().map_err(|_| ProxyError::Malformed)?))
}

/// Signature, version and command, family, length; then addresses and extensions, which are skipped.
fn parse_binary(bytes: &[u8]) -> Result<Option<Header>, ProxyError> {
    let (version, command) = (bytes[12] >> 4, bytes[12] & 0xf);
    if version != 2 || command > 1 {
        return Err(ProxyError::Malformed);
    }
    let length = FIXED + usize::from(u16::from_be_bytes([bytes[14], bytes[15]]));
    if length > MAX_LENGTH {
        return Err(ProxyError::TooLong);
    }
    let Some(body) = bytes.get(FIXED..length) else { return Ok(None) };
    let source = match (command, bytes[13] >> 4) {
        // LOCAL, or no address, or a Unix socket's.
        (0, _) | (_, 0 | 3) => None,
        (_, 1) => Some(binary_source::<4, Ipv4Addr>(body)?),
        (_, 2) => Some(binary_source::<16, Ipv6Addr>(body)?),
        _ => return Err(ProxyError::Malformed),
    };
    Ok(Some(Header { length, source }))
}

/// Source and destination address, then both ports.
fn binary_source<const N: usize, A: From<[u8; N]> + Into<IpAddr>>(body: &[u8]) -> Result<SocketAddr, ProxyError> {
    let address = body.first_chunk::<N>().ok_or(ProxyError::Malformed)?;
    let port = body.get(2 * N..2 * N + 4).ok_or(ProxyError::Malformed)?;
    Ok(SocketAddr::new(A::from(*address).into(), u16::from_be_bytes([port[0], port[1]])))
}

/// One is the start of the other.
fn starts_alike(bytes: &[u8], mark: &[u8]) -> bool {
    bytes.iter().zip(mark).all(|(byte, expected)| byte == expected)
}

/// "the receiver must accept … at least" 107 characters in version 1.
const MAX_TEXT: usize = 107;
const FIXED: usize = 16;
/// Extensions (certificates, cloud ids) fit in far less; nobody may make us buffer 64 KiB before the first request.
const MAX_LENGTH: usize = 4096;
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn binary(source: SocketAddr, extensions: usize) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        let (family, mut body) = match source.ip() {
            IpAddr::V4(ip) => (0x11, [ip.octets(), [10, 0, 0, 1]].concat()),
            IpAddr::V6(ip) => (0x21, [ip.octets(), Ipv6Addr::LOCALHOST.octets()].concat()),
        };
        body.extend([source.port().to_be_bytes(), 443_u16.to_be_bytes()].concat());
        body.extend(vec![0; extensions]);
        bytes.extend([0x21, family]);
        bytes.extend((body.len() as u16).to_be_bytes());
        bytes.extend(body);
        bytes
    }

    fn text(source: SocketAddr) -> Vec<u8> {
        let (family, to) = if source.is_ipv4() { ("TCP4", "10.0.0.1") } else { ("TCP6", "::1") };
        format!("PROXY {family} {} {to} {} 443\r\n", source.ip(), source.port()).into_bytes()
    }

    #[test]
    fn a_proxy_that_speaks_for_itself_names_no_client() {
        assert_eq!(parse(b"PROXY UNKNOWN\r\nGET /"), Ok(Some(Header { length: 15, source: None })));
        assert_eq!(parse(b"PROXY UNKNOWN ffff::1 ::1 1 2\r\n").map(|header| header.and_then(|header| header.source)), Ok(None));
        let mut local = binary(([1, 2, 3, 4], 5).into(), 0);
        local[12] = 0x20;
        assert_eq!(parse(&local), Ok(Some(Header { length: 28, source: None })));
    }

    #[test]
    fn what_is_no_header_is_refused_as_early_as_it_can_be_known() {
        assert_eq!(parse(b"GET / HTTP/1.1\r\n"), Err(ProxyError::Missing));
        assert_eq!(parse(b"\x16\x03\x01"), Err(ProxyError::Missing));
        for line in [
            "PROXY TCP4 1.2.3.4 1.2.3.4 99999 1\r\n",
            "PROXY TCP4 ::1 ::1 1 1\r\n",
            "PROXY TCP4 1.2.3.4\r\n",
            "PROXY UDP4 1.2.3.4 1.2.3.4 1 1\r\n",
        ] {
            assert_eq!(parse(line.as_bytes()), Err(ProxyError::Malformed), "{line}");
        }
        assert_eq!(parse(&[b"PROXY TCP4 ".as_slice(), &[b'1'; 200]].concat()), Err(ProxyError::Malformed));
        assert_eq!(parse(&binary(([1, 2, 3, 4], 5).into(), 5000)), Err(ProxyError::TooLong));
        let mut short = SIGNATURE.to_vec();
        short.extend([0x21, 0x11, 0, 2, 0, 0]);
        assert_eq!(parse(&short), Err(ProxyError::Malformed));
    }

    proptest! {
        #[test]
        fn every_source_is_read_as_written_and_the_rest_left_alone(ip: IpAddr, port: u16, extensions in 0_usize..100, rest: Vec<u8>) {
            let source = SocketAddr::new(ip, port);
            for header in [binary(source, extensions), text(source)] {
                let whole = [header.clone(), rest.clone()].concat();
                prop_assert_eq!(parse(&whole), Ok(Some(Header { length: header.len(), source: Some(source) })));
                for cut in 0..header.len() {
                    prop_assert_eq!(parse(&header[..cut]), Ok(None));
                }
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, prefix in prop::sample::select(vec![&b""[..], b"PROXY ", b"PROXY TCP4 ", SIGNATURE])) {
            let _ = parse(&[prefix, &bytes].concat());
        }
    }
}
