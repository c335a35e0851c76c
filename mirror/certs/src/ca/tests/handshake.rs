//! rustls on both sides, over memory.

use std::io;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, Connection, Error, RootCertStore, ServerConfig, ServerConnection};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, UnixTime};

use super::super::{Authority, Issued};
use super::{certificates, private};

/// What a machine with these in its store trusts.
pub(super) fn trust(anchors: &[Authority]) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    for anchor in anchors {
        roots.add(anchor.certificate().clone()).expect("an anchor");
    }
    roots
}

/// A client that trusts `roots` looks for `name` at a server that shows `server`.
pub(super) fn connect(server: &Issued, roots: &RootCertStore, name: &str) -> Result<(), Error> {
    let config = server_builder().with_no_client_auth();
    let config = config.with_single_cert(certificates(&server.chain), private(server)).expect("a pair");
    shake(client_builder(roots).with_no_client_auth(), config, name)
}

/// The same, at a server that wants a certificate of its client.
pub(super) fn connect_as(server: &Issued, client: Option<&Issued>, roots: &RootCertStore, name: &str) -> Result<(), Error> {
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots.clone()), provider()).build().expect("roots");
    let config = server_builder().with_client_cert_verifier(verifier);
    let config = config.with_single_cert(certificates(&server.chain), private(server)).expect("a pair");
    let ours = client_builder(roots);
    let ours = match client {
        Some(client) => ours.with_client_auth_cert(certificates(&client.chain), private(client)).expect("a pair"),
        None => ours.with_no_client_auth(),
    };
    shake(ours, config, name)
}

/// What a client says of a chain that reads revocation lists, too.
pub(super) fn check_with_list(chain: &[CertificateDer<'_>], anchors: &[Authority], list: &str, name: &str) -> Result<(), Error> {
    let lists = CertificateRevocationListDer::pem_slice_iter(list.as_bytes()).collect::<Result<Vec<_>, _>>().expect("PEM");
    let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(trust(anchors)), provider());
    let verifier = builder.with_crls(lists).only_check_end_entity_revocation().build().expect("roots and lists");
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    verifier.verify_server_cert(&chain[0], &chain[1..], &name, &[], UnixTime::now()).map(drop)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn server_builder() -> rustls::ConfigBuilder<ServerConfig, rustls::WantsVerifier> {
    ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().expect("versions")
}

fn client_builder(roots: &RootCertStore) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().expect("versions");
    builder.with_root_certificates(roots.clone())
}

/// Until both sides are content, or one refuses.
fn shake(client: ClientConfig, server: ServerConfig, name: &str) -> Result<(), Error> {
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let mut client = Connection::from(ClientConnection::new(Arc::new(client), name)?);
    let mut server = Connection::from(ServerConnection::new(Arc::new(server))?);
    while client.is_handshaking() || server.is_handshaking() {
        pass(&mut client, &mut server)?;
        pass(&mut server, &mut client)?;
    }
    Ok(())
}

fn pass(from: &mut Connection, to: &mut Connection) -> Result<(), Error> {
    let mut wire = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut wire).expect("memory");
    }
    let mut wire = io::Cursor::new(wire);
    while (wire.position() as usize) < wire.get_ref().len() {
        to.read_tls(&mut wire).expect("memory");
        to.process_new_packets()?;
    }
    Ok(())
}
