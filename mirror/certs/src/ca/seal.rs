//! Turns what a certificate shall contain into bytes, with a signature: the one place that knows how certificates are encoded.
//!
//! The issuer's name is put in to the byte as the issuer's own certificate has it. Clients compare bytes, and a name that is read and written again can
//! come out otherwise: another type of string, or two parts of one kind (`DC=corp, DC=example`) made one.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CidrSubnet, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyIdMethod, KeyUsagePurpose, NameConstraints, RevocationReason, RevokedCertParams, SanType,
    SerialNumber, SigningKey as _,
};
use rustls_pki_types::CertificateDer;
use x509_parser::time::ASN1Time;

use super::authority::Authority;
use super::constraints::{Constraints, Subtree};
use super::content::{Content, Purpose, Role, Subject};
use super::key::{PublicKey, SecretKey, pem};
use super::revocation::{Cause, Revocations};
use super::serial::Serial;
use crate::{Identifier, Moment};

/// Why something could not be encoded or signed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// A text that certificates cannot hold, or a key that does not sign.
    #[error("the certificate cannot be made")]
    Make(#[from] rcgen::Error),
    /// What was made is not what certificates look like.
    #[error("the certificate cannot be made: its encoding is not as expected")]
    Odd,
    /// A time that certificates cannot hold.
    #[error("the certificate cannot be made: {0} cannot be written in it")]
    Time(Moment),
}

/// A root: signed by its own key.
pub fn self_signed(content: &Content, key: &SecretKey) -> Result<CertificateDer<'static>, SealError> {
    let certificate = params(content, false)?.self_signed(key.pair())?;
    Ok(certificate.der().clone())
}

/// Signed by `issuer`, whose key `key` is.
pub fn signed(content: &Content, public: &PublicKey, issuer: &Authority, key: &SecretKey) -> Result<CertificateDer<'static>, SealError> {
    let certificate = params(content, public.is_rsa())?.signed_by(public, &signer(issuer, key))?;
    Ok(with_issuer(certificate.der(), issuer.subject(), key)?.into())
}

/// What a company's CA is asked to sign: PEM.
pub fn request(subject: &Subject, key: &SecretKey) -> Result<String, SealError> {
    let mut params = CertificateParams::new([])?;
    params.distinguished_name = name(subject);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = CA_USAGES.to_vec();
    Ok(params.serialize_request(key.pair())?.pem()?)
}

/// A request that says nothing but whose key it is: PEM.
pub fn bare_request(key: &SecretKey) -> Result<String, SealError> {
    let mut params = CertificateParams::new([])?;
    params.distinguished_name = DistinguishedName::new();
    Ok(params.serialize_request(key.pair())?.pem()?)
}

/// All that `issuer` took back: PEM.
pub fn revocation_list(list: &Revocations, issuer: &Authority, key: &SecretKey, now: Moment) -> Result<String, SealError> {
    let of_issuer = list.of(issuer.key_id());
    let entry = |one: &super::revocation::Revoked| {
        let reason_code = match one.cause {
            Cause::Unspecified => None,
            Cause::KeyCompromise => Some(RevocationReason::KeyCompromise),
            Cause::Superseded => Some(RevocationReason::Superseded),
            Cause::CessationOfOperation => Some(RevocationReason::CessationOfOperation),
        };
        let serial_number = serial(&one.serial);
        Ok::<_, SealError>(RevokedCertParams {
            serial_number,
            revocation_time: time(one.at)?.to_datetime(),
            reason_code,
            invalidity_date: None,
        })
    };
    let params = CertificateRevocationListParams {
        crl_number: SerialNumber::from(list.number()),
        issuing_distribution_point: None,
        key_identifier_method: KeyIdMethod::PreSpecified(issuer.key_id().to_vec()),
        next_update: time(issuer.not_after())?.to_datetime(),
        revoked_certs: of_issuer.map(entry).collect::<Result<_, _>>()?,
        this_update: time(now)?.to_datetime(),
    };
    let made = params.signed_by(&signer(issuer, key))?;
    Ok(pem("X509 CRL", &with_issuer(made.der(), issuer.subject(), key)?))
}

/// Its name is put in afterwards.
fn signer<'a>(issuer: &Authority, key: &'a SecretKey) -> Issuer<'static, &'a rcgen::KeyPair> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.key_identifier_method = KeyIdMethod::PreSpecified(issuer.key_id().to_vec());
    Issuer::new(params, key.pair())
}

fn params(content: &Content, is_rsa: bool) -> Result<CertificateParams, SealError> {
    let mut params = CertificateParams::new([])?;
    params.distinguished_name = name(&content.subject);
    params.not_after = time(content.not_after)?.to_datetime();
    params.not_before = time(content.not_before)?.to_datetime();
    params.serial_number = Some(serial(&content.serial));
    params.use_authority_key_identifier_extension = true;
    match &content.role {
        Role::Intermediate(constraints) => {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
            params.key_usages = CA_USAGES.to_vec();
            params.name_constraints = Some(name_constraints(constraints)?);
        }
        Role::Leaf { identifiers, purpose } => {
            params.extended_key_usages = vec![match purpose {
                Purpose::Client => ExtendedKeyUsagePurpose::ClientAuth,
                Purpose::Server => ExtendedKeyUsagePurpose::ServerAuth,
            }];
            params.is_ca = IsCa::ExplicitNoCa;
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            if is_rsa {
                params.key_usages.push(KeyUsagePurpose::KeyEncipherment);
            }
            params.subject_alt_names = identifiers.iter().map(alternative_name).collect::<Result<_, _>>()?;
        }
        Role::Root => {
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
            params.key_usages = CA_USAGES.to_vec();
        }
    }
    Ok(params)
}

fn name(subject: &Subject) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    let parts = [(DnType::OrganizationName, &subject.organization), (DnType::CommonName, &subject.common_name)];
    for (kind, text) in parts {
        if let Some(text) = text {
            name.push(kind, text.as_str());
        }
    }
    name
}

fn alternative_name(identifier: &Identifier) -> Result<SanType, SealError> {
    Ok(match identifier {
        Identifier::Dns(name) => SanType::DnsName(name.as_str().try_into()?),
        Identifier::Ip(address) => SanType::IpAddress(*address),
    })
}

fn name_constraints(constraints: &Constraints) -> Result<NameConstraints, SealError> {
    let encode = |trees: &[Subtree]| trees.iter().map(subtree).collect::<Option<Vec<_>>>().ok_or(SealError::Odd);
    Ok(NameConstraints { excluded_subtrees: encode(&constraints.excluded)?, permitted_subtrees: encode(&constraints.permitted)? })
}

fn subtree(tree: &Subtree) -> Option<GeneralSubtree> {
    Some(match tree {
        Subtree::Addresses(range) => {
            let range = range.as_ref()?;
            GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(range.network(), range.prefix_len()))
        }
        Subtree::Names(name) => GeneralSubtree::DnsName(name.clone()),
    })
}

fn serial(serial: &Serial) -> SerialNumber {
    SerialNumber::from(serial.as_bytes().to_vec())
}

fn time(moment: Moment) -> Result<ASN1Time, SealError> {
    ASN1Time::from_timestamp(moment.unix()).map_err(|_| SealError::Time(moment))
}

/// A certificate or a revocation list with another issuer's name, signed anew. In both it is the second SEQUENCE of what is signed.
fn with_issuer(der: &[u8], name: &[u8], key: &SecretKey) -> Result<Vec<u8>, SealError> {
    let whole = Element::first(der).ok_or(SealError::Odd)?;
    let signed = Element::first(whole.content).ok_or(SealError::Odd)?;
    let algorithm = Element::first(signed.rest).ok_or(SealError::Odd)?;
    let (mut content, mut left, mut sequences) = (Vec::new(), signed.content, 0);
    while let Some(element) = Element::first(left) {
        sequences += usize::from(element.tag == SEQUENCE);
        content.extend_from_slice(if element.tag == SEQUENCE && sequences == 2 { name } else { element.whole });
        left = element.rest;
    }
    let signed = encode(SEQUENCE, &[&content]);
    let signature = encode(BIT_STRING, &[&[0], &key.pair().sign(&signed)?]);
    Ok(encode(SEQUENCE, &[&signed, algorithm.whole, &signature]))
}

/// One value in DER, and what is behind it.
struct Element<'a> {
    content: &'a [u8],
    rest: &'a [u8],
    tag: u8,
    whole: &'a [u8],
}

impl<'a> Element<'a> {
    fn first(der: &'a [u8]) -> Option<Self> {
        let (tag, first) = (*der.first()?, usize::from(*der.get(1)?));
        let (header, length) = if first < 0x80 {
            (2, first)
        } else {
            let bytes = der.get(2..2 + (first & 0x7f))?;
            (2 + bytes.len(), bytes.iter().try_fold(0_usize, |length, byte| length.checked_mul(256)?.checked_add(usize::from(*byte)))?)
        };
        let end = header.checked_add(length)?;
        Some(Self { content: der.get(header..end)?, rest: &der[end..], tag, whole: &der[..end] })
    }
}

fn encode(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = content.len().to_be_bytes();
    let length = &length[length.iter().take_while(|byte| **byte == 0).count()..];
    let mut der = vec![tag];
    if content.len() < 0x80 {
        der.push(content.len() as u8);
    } else {
        der.push(0x80 | length.len() as u8);
        der.extend_from_slice(length);
    }
    der.extend_from_slice(&content);
    der
}

const BIT_STRING: u8 = 0x03;
const CA_USAGES: [KeyUsagePurpose; 2] = [KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
const SEQUENCE: u8 = 0x30;
