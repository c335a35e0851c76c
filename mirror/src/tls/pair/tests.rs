#![expect(clippy::unwrap_used, reason = "making certificates for a test cannot fail")]

use std::os::unix::fs::symlink;

use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use super::*;

/// A folder in which PEM files are made.
pub(crate) struct Files(tempfile::TempDir);

impl Files {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn put(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).expect("written");
        path
    }

    fn pair(&self, name: &str, certificate: &str, key: &str) -> TlsFiles {
        TlsFiles { certificate: self.put(&format!("{name}.pem"), certificate), key: self.put(&format!("{name}.key"), key) }
    }

    pub(crate) fn self_signed(&self, host: &str, name: &str) -> TlsFiles {
        let made = rcgen::generate_simple_self_signed([host.to_owned()]).expect("made");
        self.pair(name, &made.cert.pem(), &made.signing_key.serialize_pem())
    }

    pub(crate) fn links(&self, name: &str, to: &TlsFiles) -> TlsFiles {
        let links =
            TlsFiles { certificate: self.0.path().join(format!("{name}-fullchain")), key: self.0.path().join(format!("{name}-privkey")) };
        symlink(&to.certificate, &links.certificate).expect("linked");
        symlink(&to.key, &links.key).expect("linked");
        links
    }

    /// As certbot does it: a new link, renamed over the old one.
    pub(crate) fn relink(&self, link: &Path, to: &Path) {
        let new = self.0.path().join("new-link");
        symlink(to, &new).expect("linked");
        std::fs::rename(new, link).expect("renamed");
    }
}

/// Leaf, intermediate and root, with the leaf's key.
struct Chain {
    key: KeyPair,
    leaf: Certificate,
    middle: Certificate,
    root: Certificate,
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn chain(change: impl FnOnce(&mut CertificateParams)) -> Chain {
    let (root_key, middle_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let (root_params, middle_params) = (authority("root"), authority("middle"));
    let root = root_params.self_signed(&root_key).unwrap();
    let root_issuer = Issuer::new(root_params, root_key);
    let middle = middle_params.signed_by(&middle_key, &root_issuer).unwrap();
    let mut params = CertificateParams::new(["mirror.test".to_owned(), "10.0.0.1".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, "leaf");
    change(&mut params);
    let leaf = params.signed_by(&key, &Issuer::new(middle_params, middle_key)).unwrap();
    Chain { key, leaf, middle, root }
}

fn pems(certificates: &[&Certificate]) -> String {
    certificates.iter().map(|certificate| certificate.pem()).collect()
}

/// What is said of these files, with the folder's name taken out.
fn complaint(folder: &Files, files: &TlsFiles) -> String {
    let error = Pair::load(files, SystemTime::now()).expect_err("it is refused");
    error.to_string().replace(&format!("{}/", folder.0.path().display()), "")
}

#[test]
fn a_right_chain_is_taken_with_or_without_its_root() {
    let (folder, chain) = (Files::new(), chain(|_| {}));
    let key = chain.key.serialize_pem();
    for certificates in [&[&chain.leaf, &chain.middle][..], &[&chain.leaf, &chain.middle, &chain.root]] {
        let pair = Pair::load(&folder.pair("a", &pems(certificates), &key), SystemTime::now()).expect("taken");
        assert_eq!(pair.names(), ["mirror.test", "10.0.0.1"]);
        assert_eq!(pair.warnings(), []);
    }
}

#[test]
fn a_missing_intermediate_and_a_missing_name_are_warnings() {
    let (folder, full) = (Files::new(), chain(|_| {}));
    let pair = Pair::load(&folder.pair("a", &full.leaf.pem(), &full.key.serialize_pem()), SystemTime::now()).expect("taken");
    assert!(matches!(pair.warnings(), [PairWarning::MissingIntermediate { issuer, .. }] if issuer.contains("middle")));
    let bare = chain(|params| params.subject_alt_names.clear());
    let files = folder.pair("b", &pems(&[&bare.leaf, &bare.middle]), &bare.key.serialize_pem());
    assert!(matches!(Pair::load(&files, SystemTime::now()).expect("taken").warnings(), [PairWarning::NoName { .. }]));
}

#[test]
fn a_chain_in_the_wrong_order_is_told_from_a_reversed_one() {
    let (folder, chain) = (Files::new(), chain(|_| {}));
    let key = chain.key.serialize_pem();
    insta::assert_snapshot!(complaint(&folder, &folder.pair("a", &pems(&[&chain.root, &chain.middle, &chain.leaf]), &key)), @r"
    the chain in a.pem is reversed: the host's certificate comes last
    hint: put it first, then its issuer, then that one's issuer
    ");
    insta::assert_snapshot!(complaint(&folder, &folder.pair("a", &pems(&[&chain.leaf, &chain.root, &chain.middle]), &key)), @r#"
    certificate 1 in a.pem was issued by "CN=middle", but "CN=root" follows it
    hint: the order is the host's certificate, then its issuer, then that one's issuer
    "#);
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let (folder, chain) = (Files::new(), chain(|_| {}));
    let other = KeyPair::generate().unwrap().serialize_pem();
    insta::assert_snapshot!(complaint(&folder, &folder.pair("a", &pems(&[&chain.leaf, &chain.middle]), &other)), @r"
    the key in a.key does not belong to the certificate in a.pem
    hint: their public keys differ; put the key beside the certificate that was issued for it
    ");
}

#[test]
fn a_certificate_out_of_its_time_is_refused() {
    let folder = Files::new();
    let old = chain(|params| params.not_after = rcgen::date_time_ymd(2020, 1, 2));
    insta::assert_snapshot!(complaint(&folder, &folder.pair("a", &old.leaf.pem(), &old.key.serialize_pem())), @r"
    the certificate in a.pem expired at 2020-01-02T00:00:00Z
    hint: put a renewed certificate and its key in place
    ");
    let young = chain(|params| {
        params.not_before = rcgen::date_time_ymd(2999, 1, 2);
        params.not_after = rcgen::date_time_ymd(3000, 1, 2);
    });
    insta::assert_snapshot!(complaint(&folder, &folder.pair("a", &young.leaf.pem(), &young.key.serialize_pem())), @r"
    the certificate in a.pem is not valid before 2999-01-02T00:00:00Z
    hint: check this machine's clock
    ");
}

#[test]
fn files_without_what_they_should_hold_are_named() {
    let (folder, chain) = (Files::new(), chain(|_| {}));
    let (certificate, key) = (chain.leaf.pem(), chain.key.serialize_pem());
    insta::assert_snapshot!(complaint(&folder, &folder.pair("swapped", &key, &certificate)), @r"
    swapped.pem holds no certificate but a key: are certificate and key swapped?
    hint: it must be PEM, with -----BEGIN CERTIFICATE----- lines
    ");
    insta::assert_snapshot!(complaint(&folder, &folder.pair("empty", "", &key)), @r"
    empty.pem holds no certificate
    hint: it must be PEM, with -----BEGIN CERTIFICATE----- lines
    ");
    insta::assert_snapshot!(complaint(&folder, &folder.pair("no", &certificate, "")), @r"
    no.key holds no private key
    hint: it must be PEM, with a BEGIN PRIVATE KEY, BEGIN RSA PRIVATE KEY or BEGIN EC PRIVATE KEY line
    ");
    insta::assert_snapshot!(complaint(&folder, &folder.pair("bad", "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n", &key)), @"certificate 1 in bad.pem cannot be read: Parsing Error: NomError(Eof)");
    let absent = TlsFiles { certificate: folder.0.path().join("absent.pem"), key: folder.0.path().join("absent.key") };
    insta::assert_snapshot!(complaint(&folder, &absent), @"cannot read absent.pem");
}

#[test]
fn an_encrypted_key_is_told_with_the_command_that_opens_it() {
    let (folder, chain) = (Files::new(), chain(|_| {}));
    let new = "-----BEGIN ENCRYPTED PRIVATE KEY-----\naGVsbG8=\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let old =
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\naGVsbG8=\n-----END RSA PRIVATE KEY-----\n";
    for key in [new, old] {
        insta::allow_duplicates! { insta::assert_snapshot!(complaint(&folder, &folder.pair("a", &chain.leaf.pem(), key)), @r"
    the key in a.key is encrypted, and nobody is there to type its passphrase
    hint: openssl pkey -in a.key -out plain.pem
    "); }
    }
}

/// As `openssl genrsa -traditional` and `openssl ecparam -genkey` write them.
#[test]
fn keys_in_the_old_formats_are_read() {
    for (file, is_pkcs1) in [("rsa-pkcs1.pem", true), ("ec-sec1.pem", false)] {
        let key = read_key(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tls/pair").join(file)).expect(file);
        assert_eq!(matches!(key, PrivateKeyDer::Pkcs1(_)), is_pkcs1, "{file}");
        assert_eq!(matches!(key, PrivateKeyDer::Sec1(_)), !is_pkcs1, "{file}");
        aws_lc_rs::default_provider().key_provider.load_private_key(key).expect(file);
    }
}
