//! Whatever is sent to the page, by whom: what is answered, and what is left of it.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use certs::KeyKind;
use certs::ca::{CaKey, Founding, Grant, LEAF_LIFE, SecretKey, seal};
use tempfile::TempDir;

use super::*;
use crate::config::{Sources, resolve};
use crate::telemetry::RequestId;

/// A private CA, and the page before it.
struct Fixture {
    enrolment: Arc<Enrolment>,
    folder: TempDir,
}

/// What is sent.
struct Sent<'a> {
    authorization: Option<&'a str>,
    body: &'a [u8],
    method: Method,
}

impl Fixture {
    fn new() -> Self {
        let folder = TempDir::new().expect("a folder");
        let permits = ["ci.test".parse().expect("a permit")].into();
        let founding = Founding { key: CaKey::P256, name: "test".into(), organization: None, permits };
        drop(Ca::found(&folder.path().join("ca"), &founding, now()).expect("a new folder"));
        let text = format!("{{acme: {{path: \"{}\"}}, clients: {{ca: [private], tokens: true}}}}", folder.path().display());
        let config = resolve(&Sources::yaml(&text)).expect("a configuration").config;
        Enrolment::check(&config).expect("it can issue");
        Self { enrolment: Enrolment::of(&config).expect("it is asked for"), folder }
    }

    fn ca(&self) -> Ca {
        Ca::open(&self.folder.path().join("ca")).expect("it is there")
    }

    fn token(&self) -> (Token, Grant) {
        let names = ["runner-1.ci.test".parse().expect("a name")].into();
        self.ca().grant(names, LEAF_LIFE, "1h".parse().expect("a time"), now()).expect("permitted")
    }

    /// How many certificates there are.
    fn issued(&self) -> usize {
        fs::read_to_string(self.folder.path().join("ca/issued.jsonl")).map_or(0, |list| list.lines().count())
    }

    async fn send(&self, sent: &Sent<'_>) -> (StatusCode, String) {
        let body = Full::new(Bytes::copy_from_slice(sent.body));
        let mut request = Request::builder().method(&sent.method).uri("/chandler/certificate");
        if let Some(value) = sent.authorization {
            request = request.header(AUTHORIZATION, value);
        }
        let mut request = request.body(body).expect("a request");
        request.extensions_mut().insert(origin());
        read(Arc::clone(&self.enrolment).answer(request).await).await
    }

    async fn post(&self, token: &Token, body: &[u8]) -> (StatusCode, String) {
        let authorization = format!("Bearer {}", token.word());
        self.send(&Sent { authorization: Some(&authorization), body, method: Method::POST }).await
    }
}

fn origin() -> Origin {
    Origin { certificate: None, client: IpAddr::V4(Ipv4Addr::LOCALHOST), direct: true, id: RequestId::next() }
}

async fn read(response: Response<FilterBody>) -> (StatusCode, String) {
    assert!(!response.headers().contains_key("www-authenticate"), "a mirror never challenges");
    let status = response.status();
    let body = response.into_body().collect().await.expect("whole").to_bytes();
    (status, String::from_utf8(body.into()).expect("text"))
}

fn request() -> Vec<u8> {
    seal::bare_request(&SecretKey::for_leaf(KeyKind::P256).expect("a key")).expect("a request").into_bytes()
}

#[tokio::test]
async fn a_token_gets_one_certificate_and_the_same_again_for_the_same_key() {
    let (fixture, ours, theirs) = (Fixture::new(), request(), request());
    let (token, _) = fixture.token();
    let (status, chain) = fixture.post(&token, &ours).await;
    assert!(status == StatusCode::CREATED && chain.matches("BEGIN CERTIFICATE").count() == 2, "{status} {chain}");
    assert_eq!(fixture.post(&token, &ours).await, (StatusCode::CREATED, chain), "an answer may be lost");
    let (status, said) = fixture.post(&token, &theirs).await;
    assert!(status == StatusCode::FORBIDDEN && said.contains("TOKEN_USED") && said.contains("for another key"), "{said}");
    assert_eq!(fixture.issued(), 1);
}

#[tokio::test]
async fn who_has_no_token_is_told_what_to_do_and_moves_nothing() {
    let (fixture, body) = (Fixture::new(), request());
    let (token, grant) = fixture.token();
    let (other, _) = Fixture::new().token();
    let word = token.word();
    let secret = word.split('.').nth(2).expect("the third part");
    let guess = word.replace(secret, other.word().split('.').nth(2).expect("the third part"));
    for authorization in [
        None,
        Some(String::new()),
        Some("Basic YTpi".into()),
        Some(word.clone()),
        Some(format!("Bearer {}", &word[..word.len() - 1])),
        Some(format!("Bearer {guess}")),
        Some(format!("Bearer {}", other.word())),
    ] {
        let sent = Sent { authorization: authorization.as_deref(), body: &body, method: Method::POST };
        let (status, said) = fixture.send(&sent).await;
        assert!(status == StatusCode::FORBIDDEN && said.contains("TOKEN_REFUSED") && said.contains("chandler ca token"), "{said}");
        assert!(!said.contains(secret), "{said}");
    }
    let sent = Sent { authorization: Some(&format!("bearer {word}")), body: &body, method: Method::PUT };
    assert_eq!(fixture.send(&sent).await.0, StatusCode::METHOD_NOT_ALLOWED);
    fixture.ca().cancel(&grant.id).expect("it is out");
    let (status, said) = fixture.post(&token, &body).await;
    assert!(status == StatusCode::FORBIDDEN && said.contains("taken back"), "{said}");
    assert_eq!(fixture.issued(), 0);
}

#[tokio::test]
async fn bodies_that_are_no_signing_request_are_refused_and_the_token_is_still_good() {
    let (fixture, good) = (Fixture::new(), request());
    let (token, _) = fixture.token();
    let der = pem_to_der(&good);
    let mut forged = der.clone();
    *forged.last_mut().expect("it has bytes") ^= 1;
    let large = [&good[..], &vec![b'\n'; MOST]].concat();
    let huge = vec![0x30; 4 << 20];
    let deep = [0x30, 0x80].repeat(MOST / 2);
    for (body, status) in [
        (&b""[..], StatusCode::BAD_REQUEST),
        (b"{}", StatusCode::BAD_REQUEST),
        (b"\x30", StatusCode::BAD_REQUEST),
        (b"\x30\x84\xff\xff\xff\xff", StatusCode::BAD_REQUEST),
        (b"-----BEGIN CERTIFICATE REQUEST-----\n", StatusCode::BAD_REQUEST),
        (b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n", StatusCode::BAD_REQUEST),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", StatusCode::BAD_REQUEST),
        (b"\xff\xfe\x00\x00", StatusCode::BAD_REQUEST),
        (&deep, StatusCode::BAD_REQUEST),
        (&forged, StatusCode::BAD_REQUEST),
        (&der[..der.len() - 1], StatusCode::BAD_REQUEST),
        (&[&der[..], &[0]].concat(), StatusCode::BAD_REQUEST),
        (&large, StatusCode::PAYLOAD_TOO_LARGE),
        (&huge, StatusCode::PAYLOAD_TOO_LARGE),
    ] {
        let (answered, said) = fixture.post(&token, body).await;
        assert!(answered == status && said.contains("REQUEST_INVALID"), "{answered} {said}: {:?}", &body[..body.len().min(40)]);
    }
    let key = ca::Request::key_of(&der);
    for at in (0..der.len()).step_by(3) {
        let mut damaged = der.clone();
        damaged[at] ^= 0x11;
        if ca::Request::key_of(&damaged) == key {
            continue; // A byte that is not signed and that nobody reads.
        }
        assert_eq!(fixture.post(&token, &damaged).await.0, StatusCode::BAD_REQUEST, "byte {at}");
    }
    assert_eq!(fixture.issued(), 0);
    assert_eq!(fixture.post(&token, &der).await.0, StatusCode::CREATED, "DER is taken as PEM is");
}

fn pem_to_der(pem: &[u8]) -> Vec<u8> {
    use rustls_pki_types::CertificateSigningRequestDer;
    use rustls_pki_types::pem::PemObject as _;
    CertificateSigningRequestDer::from_pem_slice(pem).expect("a request").to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_with_one_token_get_one_certificate_among_them() {
    let fixture = Arc::new(Fixture::new());
    let (token, _) = fixture.token();
    let asking = (0..10).map(|_| {
        let (fixture, token, body) = (Arc::clone(&fixture), token.clone(), request());
        tokio::spawn(async move { fixture.post(&token, &body).await.0 })
    });
    let mut got = Vec::new();
    for asked in asking.collect::<Vec<_>>() {
        got.push(asked.await.expect("no panic"));
    }
    let with = |status: StatusCode| got.iter().filter(|one| **one == status).count();
    assert_eq!((with(StatusCode::CREATED), with(StatusCode::FORBIDDEN), fixture.issued()), (1, 9, 1), "{got:?}");
}

#[tokio::test]
async fn while_the_ca_cannot_issue_the_machine_is_told_to_come_again_and_no_file_is_named() {
    let (fixture, body) = (Fixture::new(), request());
    let (token, _) = fixture.token();
    let (keys, away) = (fixture.folder.path().join("ca/keys"), fixture.folder.path().join("away"));
    fs::rename(&keys, &away).expect("ours");
    let (status, said) = fixture.post(&token, &body).await;
    assert!(status == StatusCode::SERVICE_UNAVAILABLE && !said.contains("keys") && !said.contains("/ca"), "{said}");
    fs::rename(&away, &keys).expect("ours");
    let held = fixture.ca();
    let (status, said) = fixture.post(&token, &body).await;
    assert!(status == StatusCode::SERVICE_UNAVAILABLE && said.contains("ask again"), "{said}");
    drop(held);
    assert_eq!(fixture.post(&token, &body).await.0, StatusCode::CREATED);
}

/// The CA's file in the place of which is one that whoever reads it waits for, as on a disk that hangs, until this is dropped.
struct Hung<'a>(&'a Path);

impl<'a> Hung<'a> {
    fn new(file: &'a Path) -> Self {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        fs::rename(file, file.with_extension("kept")).expect("ours");
        mknodat(CWD, file, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("ours");
        Self(file)
    }
}

impl Drop for Hung<'_> {
    /// Those who wait go on, and find nothing.
    fn drop(&mut self) {
        let pipe = self.0.with_extension("pipe");
        fs::rename(self.0, &pipe).expect("ours");
        fs::rename(self.0.with_extension("kept"), self.0).expect("ours");
        drop(fs::File::options().read(true).write(true).open(pipe).expect("ours"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_while_the_disk_hangs_is_told_so_and_few_threads_wait_for_it() {
    let (fixture, body) = (Fixture::new(), request());
    let (token, _) = fixture.token();
    let file = fixture.folder.path().join("ca/ca.json");
    let hung = Hung::new(&file);
    for _ in 0..2 {
        let (status, said) = fixture.post(&token, &body).await;
        assert!(status == StatusCode::SERVICE_UNAVAILABLE && said.contains("disk") && said.contains("ask again"), "{said}");
    }
    let asked: Vec<_> = (0..3 * READERS).map(|_| tokio::spawn(roots(Arc::clone(&fixture.enrolment)))).collect();
    for answered in asked {
        let (status, said) = answered.await.expect("no panic");
        assert!(status == StatusCode::SERVICE_UNAVAILABLE && said.contains("disk"), "{said}");
    }
    assert_eq!(
        (fixture.enrolment.turn.available_permits(), fixture.enrolment.readers.available_permits()),
        (0, 0),
        "no more than these wait"
    );
    drop(hung);
    assert_eq!(fixture.post(&token, &body).await.0, StatusCode::CREATED);
    assert_eq!(roots(Arc::clone(&fixture.enrolment)).await.0, StatusCode::OK);
}

async fn roots(enrolment: Arc<Enrolment>) -> (StatusCode, String) {
    let mut request = Request::get("/chandler/ca.pem").body(Full::<Bytes>::default()).expect("a request");
    request.extensions_mut().insert(origin());
    read(enrolment.answer(request).await).await
}

#[tokio::test]
async fn a_token_tells_whether_the_roots_are_those_of_its_ca() {
    let fixture = Fixture::new();
    let (token, _) = fixture.token();
    let (status, roots) = roots(Arc::clone(&fixture.enrolment)).await;
    assert!(status == StatusCode::OK && token.knows(&roots) && !Fixture::new().token().0.knows(&roots), "{roots}");
    let exported = ca::export::files(&fixture.ca().anchors(now()).expect("read"), &[]);
    let pem = exported.iter().find(|file| file.path == Path::new("ca.pem")).expect("exported");
    assert_eq!(pem.text, roots, "the operator can compare them by eye, too");
}

#[test]
fn nothing_of_it_is_there_over_plain_http_or_at_other_paths() {
    let fixture = Fixture::new();
    let serves = |path: &str, tls| fixture.enrolment.serves(&over(path, tls));
    for path in ["/chandler/certificate", "/chandler/ca.pem"] {
        assert!(serves(path, true) && !serves(path, false), "{path}");
    }
    for path in ["/", "/chandler", "/chandler/certificate/", "/chandler/receipt/certificate", "/v2/chandler/certificate"] {
        assert!(!serves(path, true), "{path}");
    }
    let unknown = Request::post("/chandler/certificate").body(()).expect("a request");
    assert!(!fixture.enrolment.serves(&unknown), "it is not known whence it comes");
}

#[test]
fn the_roots_are_shown_wherever_the_private_ca_issues_and_certificates_only_where_tokens_are_taken() {
    let config = |text: &str| resolve(&Sources::yaml(text)).expect("a configuration").config;
    let listener = config("{listeners: [{address: ':443', tls: {private: [mirror.ci.test]}}], access: open}");
    let shown = Enrolment::of(&listener).expect("its certificate is by the private CA");
    assert!(shown.serves(&over("/chandler/ca.pem", true)));
    assert!(!shown.serves(&over("/chandler/certificate", true)));
    assert!(Enrolment::of(&config("{}")).is_none());
}

fn over(path: &str, tls: bool) -> Request<()> {
    let mut request = Request::post(path).body(()).expect("a request");
    request.extensions_mut().insert(Peer { address: ([127, 0, 0, 1], 1).into(), certificate: None, tls, unnamed: false });
    request
}
