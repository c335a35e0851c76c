//! Whom we trust as a client, of registries and of ACME servers.

use rustls::RootCertStore;

/// The machine's own roots (`SSL_CERT_FILE` and `SSL_CERT_DIR` hold); Mozilla's, as we were built with them, on a machine that has none.
pub(crate) fn system_roots() -> RootCertStore {
    static WARNED: std::sync::Once = std::sync::Once::new();
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (taken, _) = roots.add_parsable_certificates(found.certs);
    if taken == 0 {
        WARNED.call_once(|| {
            let errors: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
            tracing::warn!(
                errors = errors.join("; "),
                "this machine has no CA certificates, so those that chandler was built with are used"
            );
        });
        roots.add_parsable_certificates(webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().cloned());
    }
    roots
}
