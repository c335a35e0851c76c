//! Servers that are not what they should be, on ports of their own; the real mirror and TLS are the promises' subject.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::thread;

use super::*;
use crate::engines::Others;

/// Gives each connection the next of these answers.
fn server(answers: &'static [&'static str]) -> MirrorUrl {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    thread::spawn(move || {
        for answer in answers {
            let Ok((mut client, _)) = listener.accept() else { return };
            let mut head = [0; 4096];
            let _ = client.read(&mut head);
            let _ = client.write_all(answer.as_bytes());
        }
    });
    format!("http://{address}").parse().expect("a mirror's URL")
}

async fn seen(mirror: MirrorUrl) -> Verdict {
    let wish = Wish { mirrors: vec![mirror], anchors: None, client: None, registries: Vec::new(), others: Others::Keep };
    look(&wish, "0123456789abcdef0123456789abcdef").await.remove(0).verdict
}

const PING: &str = "HTTP/1.1 200 OK\r\ndocker-distribution-api-version: registry/2.0\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
const FOUND: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
const DENIED: &str = "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
const MISSING: &str = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
const FAILED: &str = "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
const TLS_PORT: &str =
    "HTTP/1.1 400 Bad Request\r\ncontent-length: 48\r\nconnection: close\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";

#[tokio::test]
async fn what_answers_is_told_apart() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    assert_eq!(seen(server(&[PING, FOUND])).await, Verdict::Serves);
    assert_eq!(seen(server(&[PING, DENIED])).await, Verdict::Denied);
    assert_eq!(seen(server(&[DENIED])).await, Verdict::Denied);
    assert!(matches!(seen(server(&[PING, MISSING])).await, Verdict::Other(what) if what.contains("canary")));
    assert!(matches!(seen(server(&[FOUND])).await, Verdict::Other(what) if what.contains("registry's header")));
    assert_eq!(seen(server(&[FAILED])).await, Verdict::Fails(StatusCode::BAD_GATEWAY));
    assert_eq!(seen(server(&[TLS_PORT])).await, Verdict::Tls(TlsFault::TlsThere));
    let secure = server(&[FOUND]).to_string().replace("http://", "https://").parse().expect("a URL");
    assert_eq!(seen(secure).await, Verdict::Tls(TlsFault::PlainThere));
}

#[tokio::test]
async fn who_is_not_there_is_told_apart() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let nobody = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        format!("http://{}", listener.local_addr().expect("bound"))
    };
    assert_eq!(seen(nobody.parse().expect("a URL")).await, Verdict::Refused);
    assert!(matches!(seen("http://mirror.invalid:5000".parse().expect("a URL")).await, Verdict::NoAddress(_)));
}

#[test]
fn every_verdict_says_what_to_do() {
    let mirror: MirrorUrl = "https://mirror.example".parse().expect("a URL");
    let faults = [TlsFault::PlainThere, TlsFault::TlsThere, TlsFault::UnknownCa, TlsFault::OtherName, TlsFault::NotNow, TlsFault::Client];
    let verdicts = [
        Verdict::Denied,
        Verdict::Fails(StatusCode::SERVICE_UNAVAILABLE),
        Verdict::NoAddress("no such name".into()),
        Verdict::Other("it answers 404 to /v2/".into()),
        Verdict::Refused,
        Verdict::Silent,
        Verdict::Broken("reset".into()),
    ];
    let all = verdicts.into_iter().chain(faults.into_iter().map(Verdict::Tls));
    let told = all.map(|verdict| {
        let (what, mend) = Seen { mirror: mirror.clone(), skew: None, verdict }.trouble().expect("it is one");
        format!("{what}\n    {mend}")
    });
    insta::assert_snapshot!(told.collect::<Vec<_>>().join("\n"), @r#"
    https://mirror.example refuses this machine (403)
        `access` in the mirror's configuration says who may read: add this machine's network, or give it a client certificate (--client-cert)
    https://mirror.example answers 503 Service Unavailable
        its log and its /readyz say why; until then engines go to the Hub
    the name mirror.example leads nowhere from this machine (no such name)
        look at /etc/resolv.conf and /etc/hosts, or name the mirror by its address
    what answers at https://mirror.example is no chandler mirror: it answers 404 to /v2/
        is it the right port? Another program or a proxy may stand there
    nobody listens at mirror.example (connection refused)
        is the mirror running, and is this the port of one of its listeners? By itself it listens on 127.0.0.1:5000 only. Its firewall may refuse this machine, too
    mirror.example does not answer within 10 s
        a firewall on the way, or a mirror that hangs: let this machine reach port 443
    the connection to mirror.example broke: reset
        a proxy, a firewall, or a mirror that is restarting
    https://mirror.example: plain HTTP is spoken there, not HTTPS
        write http://mirror.example, or let the listener serve HTTPS (listeners[].tls)
    https://mirror.example: HTTPS is spoken there, not plain HTTP
        write https://mirror.example
    https://mirror.example: this machine does not know the CA of its certificate
        --ca FILE, or --ca sha256:… with the fingerprint that `chandler ca export` prints beside the mirror
    https://mirror.example: its certificate is for other names than mirror.example
        use a name that is in it, or add mirror.example to the listener's names: `openssl s_client -connect mirror.example:443 </dev/null` shows them
    https://mirror.example: its certificate is not valid at this machine's time
        `date` on both machines; `chandler cert status` beside the mirror says when it ends and why it was not renewed
    https://mirror.example does not take this machine's client certificate
        --client-cert and --client-key name the pair; `chandler ca request` gets one by a token
    "#);
    let seen = |skew| Seen { mirror: mirror.clone(), skew: Some(Duration::from_secs(skew)), verdict: Verdict::Serves };
    assert_eq!(seen(300).trouble(), None);
    assert!(seen(301).trouble().is_some_and(|(what, _)| what.contains("301 s")));
}
