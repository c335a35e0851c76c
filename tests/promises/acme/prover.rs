//! The listeners where the CA looks for proofs, as the mirror's own would answer.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use certs::solve::{ACME_TLS, AlpnProofs, HttpProofs, Solvers};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tests::pebble::Pebble;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Both listeners; they end with it.
pub(super) struct Prover {
    pub(super) alpn: Arc<AlpnProofs>,
    _end: DropGuard,
    http: Arc<HttpProofs>,
}

#[derive(Debug)]
struct Resolver(Arc<AlpnProofs>);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, client: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.find(client.server_name()?)
    }
}

impl Prover {
    pub(super) async fn start(pebble: &Pebble) -> Self {
        let (alpn, http, cancel) = (Arc::<AlpnProofs>::default(), Arc::<HttpProofs>::default(), CancellationToken::new());
        let listen = async |port: u16| TcpListener::bind(("127.0.0.1", port)).await.expect("the port is free");
        let (port_80, port_443) = (listen(pebble.http_port()).await, listen(pebble.tls_port()).await);
        let mut tls = rustls::ServerConfig::builder().with_no_client_auth().with_cert_resolver(Arc::new(Resolver(alpn.clone())));
        tls.alpn_protocols = vec![ACME_TLS.to_vec()];
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
        tokio::spawn(cancel.clone().run_until_cancelled_owned(accept(port_443, move |stream| {
            let acceptor = acceptor.clone();
            async move { drop(acceptor.accept(stream).await) }
        })));
        let proofs = http.clone();
        tokio::spawn(cancel.clone().run_until_cancelled_owned(accept(port_80, move |stream| answer(stream, proofs.clone()))));
        Self { alpn, _end: cancel.drop_guard(), http }
    }

    pub(super) fn http(&self) -> Solvers {
        Solvers { http: Some(self.http.clone()), ..Solvers::default() }
    }

    pub(super) fn alpn(&self) -> Solvers {
        Solvers { alpn: Some(self.alpn.clone()), ..Solvers::default() }
    }
}

pub(in super::super) fn write_script(path: &Path, text: &str) {
    std::fs::write(path, text).expect("written");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("executable");
}

async fn accept<F: Future<Output = ()> + Send + 'static>(listener: TcpListener, serve: impl Fn(TcpStream) -> F) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(serve(stream));
    }
}

async fn answer(mut stream: TcpStream, proofs: Arc<HttpProofs>) {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let mut chunk = [0; 1024];
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return,
            Ok(read) => head.extend_from_slice(&chunk[..read]),
        }
    }
    let head = String::from_utf8_lossy(&head);
    let token = head.split(' ').nth(1).and_then(|path| path.strip_prefix(HttpProofs::PATH)).unwrap_or_default();
    let (status, body) = proofs.find(token).map_or(("404 Not Found", String::new()), |proof| ("200 OK", proof));
    let reply = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
    let _ = stream.write_all(reply.as_bytes()).await;
}
