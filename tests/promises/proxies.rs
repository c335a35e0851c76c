//! "Private images are served only to whom the configuration says", by the address of the client: behind a load balancer that is what its PROXY header
//! says, or the `X-Forwarded-For` of a proxy that is trusted, and nobody else's word.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;
use tests::client::assert_proper_text;
use tests::hub::Hub;
use tests::operator::Operator;
use tests::program::Program;

const OFFICE: &str = "10.1.2.3";
const STRANGER: &str = "203.0.113.5";
const PATH: &str = "/v2/library/alpine/manifests/latest";

/// A mirror behind a balancer at `trusted`, with rules for the balancer's clients.
fn mirror(trusted: &str) -> (Hub, Program) {
    let hub = Hub::start();
    hub.image("library/alpine").tag("latest").push();
    let rules = format!("trusted_proxies: [\"{trusted}\"]\naccess: [{{name: office, networks: [\"10.0.0.0/8\", \"fd00::/8\"]}}]");
    let listeners = "[{address: \"127.0.0.1:0\", proxy_protocol: true}]";
    let mirror = Program::of_hub(&hub.url()).listeners(listeners).config(&rules).start();
    (hub, mirror)
}

/// Sends `header` and a request, and gives the status; 0 where the connection ends without an answer.
fn status(mirror: &Program, header: &[u8], extra: &str) -> u16 {
    let answer = exchange(mirror, header, extra);
    answer.split(' ').nth(1).map_or(0, |status| status.parse().expect("a status"))
}

fn exchange(mirror: &Program, header: &[u8], extra: &str) -> String {
    let mut stream = TcpStream::connect(mirror.host()).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_mins(1))).expect("a socket takes a timeout");
    let request = format!("GET {PATH} HTTP/1.1\r\nhost: m\r\n{extra}connection: close\r\n\r\n");
    // Who is refused at the first byte may find the connection closed before the last.
    drop(stream.write_all(&[header, request.as_bytes()].concat()));
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer));
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert_proper_text(&answer);
    answer
}

/// Version 1, as text.
fn text(source: &str) -> Vec<u8> {
    let (family, destination) = if source.contains(':') { ("TCP6", "fd00::1") } else { ("TCP4", "10.0.0.1") };
    format!("PROXY {family} {source} {destination} 56324 5000\r\n").into_bytes()
}

/// Version 2, as bytes, with a further field that nobody has to know.
fn binary(source: &str) -> Vec<u8> {
    let source = SocketAddr::new(source.parse().expect("an address"), 56324);
    let (family, mut addresses) = match source.ip() {
        IpAddr::V4(ip) => (0x11, [ip.octets(), Ipv4Addr::new(10, 0, 0, 1).octets()].concat()),
        IpAddr::V6(ip) => (0x21, [ip.octets(), ip.octets()].concat()),
    };
    addresses.extend(source.port().to_be_bytes());
    addresses.extend(5000_u16.to_be_bytes());
    addresses.extend([0xe0, 0, 3, b'x', b'y', b'z']);
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend([0x21, family]);
    header.extend(u16::try_from(addresses.len()).expect("it is short").to_be_bytes());
    header.extend(addresses);
    header
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_is_whom_the_balancers_header_names() {
    let (_hub, mirror) = mirror("127.0.0.1/32");
    for source in [OFFICE, "fd00::17"] {
        for header in [text(source), binary(source)] {
            assert_eq!(status(&mirror, &header, ""), 200, "{source}");
        }
    }
    for source in [STRANGER, "2001:db8::5"] {
        for header in [text(source), binary(source)] {
            assert_eq!(status(&mirror, &header, ""), 403, "{source}");
        }
    }
    // The balancer's own question after our health, in both versions: it is in no rule.
    for header in [b"PROXY UNKNOWN\r\n".to_vec(), b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0".to_vec()] {
        assert_eq!(status(&mirror, &header, ""), 403);
    }
    let line = mirror.wait_for_log("\"client\":\"10.1.2.3\"");
    let line: Value = serde_json::from_str(&line).expect("one JSON object a line");
    assert_eq!((&line["path"], &line["status"]), (&Value::from(PATH), &Value::from(200)), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_client_writes_about_itself_counts_for_nothing() {
    let (_hub, mirror) = mirror("127.0.0.1/32");
    let forged = format!("x-forwarded-for: {OFFICE}\r\n");
    for header in [text(STRANGER), binary(STRANGER)] {
        assert_eq!(status(&mirror, &header, &forged), 403, "a stranger is no proxy of ours");
        assert_eq!(status(&mirror, &header, &format!("forwarded: for={OFFICE}\r\nx-real-ip: {OFFICE}\r\n")), 403);
    }
    assert_eq!(status(&mirror, &[text(STRANGER), text(OFFICE)].concat(), ""), 400, "a second header is no request");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_that_speaks_for_nobody_does_not_let_the_client_say_who_it_is() {
    let (_hub, mirror) = mirror("127.0.0.1/32");
    for header in [b"PROXY UNKNOWN\r\n".to_vec(), b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0".to_vec()] {
        assert_eq!(status(&mirror, &header, &format!("x-forwarded-for: {OFFICE}\r\n")), 403);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_without_a_header_or_from_another_proxy_is_closed_without_an_answer_and_counted() {
    let (_hub, mirror) = mirror("127.0.0.1/32");
    for header in
        [b"".as_slice(), b"PROXY TCP4 10.1.2.3\r\n", b"PROXY TCP9 10.1.2.3 10.0.0.1 1 2\r\n", b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c"]
    {
        assert_eq!(status(&mirror, header, ""), 0, "{}", String::from_utf8_lossy(header));
    }
    mirror.wait_for_log("hint: list the proxy under trusted_proxies");
    let ended = Operator::of(&mirror).metric("chandler_connections_ended_by_us_total").await;
    assert!(ended >= 4, "{ended}");
    assert_eq!(status(&mirror, &text(OFFICE), ""), 200, "the next one is served");

    let (_hub, other) = self::mirror("127.0.0.9/32");
    assert_eq!(status(&other, &text(OFFICE), ""), 0, "this proxy is not trusted");
}
