//! A company's CA, made by other hands than ours: OpenSSL.

use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::{
    AuthorityKeyIdentifier, BasicConstraints, KeyUsage, SubjectKeyIdentifier,
};
use openssl::x509::{X509, X509Builder, X509NameBuilder};
use serde_json::{Value, json};

/// A root.
#[allow(dead_code)]
pub struct Company {
    key: PKey<Private>,
    root: X509,
}

#[allow(dead_code)]
impl Company {
    /// A root of this name.
    pub fn new(name: &str) -> Self {
        let key = curve(Nid::X9_62_PRIME256V1);
        let root = corporate(name, &key, None, 900);
        Self { key, root }
    }

    /// What a Secret has of an intermediate CA of this name.
    pub fn secret(&self, name: &str) -> Value {
        let key = curve(Nid::X9_62_PRIME256V1);
        let issuing = corporate(name, &key, Some((&self.root, &self.key)), 700);
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        json!({
            "tls.crt": text(pem(&[&issuing])),
            "tls.key": text(key.private_key_to_pem_pkcs8().unwrap()),
            "ca.crt": text(pem(&[&self.root])),
        })
    }
}

/// A certificate that a company's CA has, made by other hands than ours.
pub fn corporate(
    name: &str,
    key: &PKey<Private>,
    by: Option<(&X509, &PKey<Private>)>,
    days: u32,
) -> X509 {
    let mut subject = X509NameBuilder::new().unwrap();
    subject.append_entry_by_text("C", "DE").unwrap();
    subject
        .append_entry_by_text("O", "Beispiel & Söhne")
        .unwrap();
    subject.append_entry_by_text("CN", name).unwrap();
    let subject = subject.build();
    let mut made = X509Builder::new().unwrap();
    made.set_version(2).unwrap();
    let mut serial = BigNum::new().unwrap();
    serial.rand(120, MsbOption::ONE, false).unwrap();
    made.set_serial_number(&serial.to_asn1_integer().unwrap())
        .unwrap();
    made.set_subject_name(&subject).unwrap();
    made.set_issuer_name(by.map_or(&subject, |(ca, _)| ca.subject_name()))
        .unwrap();
    made.set_pubkey(key).unwrap();
    made.set_not_before(&Asn1Time::days_from_now(0).unwrap())
        .unwrap();
    made.set_not_after(&Asn1Time::days_from_now(days).unwrap())
        .unwrap();
    let ca = BasicConstraints::new().critical().ca().build().unwrap();
    made.append_extension(ca).unwrap();
    let usage = KeyUsage::new()
        .critical()
        .key_cert_sign()
        .crl_sign()
        .build();
    made.append_extension(usage.unwrap()).unwrap();
    let id = SubjectKeyIdentifier::new();
    let id = id.build(&made.x509v3_context(None, None)).unwrap();
    made.append_extension(id).unwrap();
    if let Some((ca, _)) = by {
        let id = AuthorityKeyIdentifier::new()
            .keyid(true)
            .build(&made.x509v3_context(Some(ca), None));
        made.append_extension(id.unwrap()).unwrap();
    }
    let signer = by.map_or(key, |(_, key)| key);
    made.sign(signer, MessageDigest::sha256()).unwrap();
    made.build()
}

/// A key on a curve.
pub fn curve(nid: Nid) -> PKey<Private> {
    let group = EcGroup::from_curve_name(nid).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

/// One after the other.
pub fn pem(certificates: &[&X509]) -> Vec<u8> {
    certificates
        .iter()
        .flat_map(|one| one.to_pem().unwrap())
        .collect()
}
