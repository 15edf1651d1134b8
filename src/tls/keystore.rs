//! PKCS#12 for those who do not read PEM, Java above all: a key store and a trust store under one password. The algorithms are
//! what Java itself has written since 8u301: PBES2 with AES-256, HMAC-SHA-256.

use std::collections::BTreeSet;

use p12_keystore::{
    Certificate, KeyStore, KeyStoreEntry, Pkcs12ImportPolicy, PrivateKey, PrivateKeyChain,
};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use zeroize::Zeroizing;

use super::bundle::TlsSet;
use super::parse::{ParseError, ders};

/// Name of the entry in the key store.
pub const ALIAS: &str = "tikv-client";

/// Fewest characters of a password: Java's own tool refuses shorter ones.
const SHORTEST: usize = 6;
/// Most bytes of a password.
const LONGEST: usize = 128;

/// A password for both stores: 6 characters or more, none of them a control character. Wiped on drop, absent from `Debug`.
#[derive(Clone)]
pub struct Password(Zeroizing<String>);

/// Why bytes are no password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordProblem {
    /// Not text.
    #[error("it is not UTF-8 text")]
    NotText,
    /// A line break above all.
    #[error(
        "it has a line break or another control character in it; make the Secret with kubectl create secret generic NAME --from-literal=KEY=PASSWORD"
    )]
    Control,
    /// Java would refuse.
    #[error("it has fewer than {SHORTEST} characters, which Java does not take")]
    Short,
    /// Beyond reason.
    #[error("it has more than {LONGEST} bytes")]
    Long,
}

/// Why there are no stores.
#[derive(Debug, thiserror::Error)]
pub enum KeystoreError {
    /// A certificate is unreadable.
    #[error("a certificate can not be put into PKCS#12: {0}")]
    Certificate(#[from] ParseError),
    /// The key is not PKCS#8.
    #[error("the private key is not PKCS#8 in PEM")]
    Key,
    /// The library refused.
    #[error("PKCS#12 can not be written: {0}")]
    Library(#[from] p12_keystore::error::Error),
}

/// Both stores as they go into a Secret.
#[derive(Debug)]
pub struct Keystores {
    /// Key, certificate and what signed it.
    pub key_store: Vec<u8>,
    /// The CA's certificates, each an entry that Java trusts.
    pub trust_store: Vec<u8>,
}

impl Password {
    /// Takes what a Secret holds.
    pub fn parse(bytes: &[u8]) -> Result<Self, PasswordProblem> {
        let text = std::str::from_utf8(bytes).map_err(|_| PasswordProblem::NotText)?;
        if text.chars().any(char::is_control) {
            return Err(PasswordProblem::Control);
        }
        if text.chars().count() < SHORTEST {
            return Err(PasswordProblem::Short);
        }
        if text.len() > LONGEST {
            return Err(PasswordProblem::Long);
        }
        Ok(Self(Zeroizing::new(text.to_owned())))
    }

    /// 144 random bits, as 36 hexadecimal digits.
    pub fn random() -> Result<Self, getrandom::Error> {
        use std::fmt::Write as _;
        let mut dice = Zeroizing::new([0_u8; 18]);
        getrandom::fill(dice.as_mut_slice())?;
        let mut text = Zeroizing::new(String::with_capacity(2 * dice.len()));
        for byte in dice.iter() {
            // Writing to a string does not fail.
            let _ = write!(text, "{byte:02x}");
        }
        Ok(Self(text))
    }

    /// The text, for the one who writes the Secret.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(..)")
    }
}

/// Writes a set as PKCS#12.
pub fn write(set: &TlsSet, password: &Password) -> Result<Keystores, KeystoreError> {
    let chain = certificates(&set.certificate)?;
    let anchors = certificates(&set.ca)?;
    let key = PrivateKeyDer::from_pem_slice(set.key.expose()).map_err(|_| KeystoreError::Key)?;
    let PrivateKeyDer::Pkcs8(key) = key else {
        return Err(KeystoreError::Key);
    };
    let key = PrivateKey::from_der(key.secret_pkcs8_der())?;
    let mut keys = KeyStore::new();
    let entry = PrivateKeyChain::new(ALIAS, key, chain);
    keys.add_entry(ALIAS, KeyStoreEntry::PrivateKeyChain(entry));
    let mut trust = KeyStore::new();
    for (index, anchor) in anchors.into_iter().enumerate() {
        trust.add_entry(&format!("ca-{index}"), KeyStoreEntry::Certificate(anchor));
    }
    Ok(Keystores {
        key_store: keys.writer(password.expose()).write()?,
        trust_store: trust.writer(password.expose()).write()?,
    })
}

/// True when both stores open under the password and hold what the set holds.
pub fn fits(key_store: &[u8], trust_store: &[u8], set: &TlsSet, password: &Password) -> bool {
    let same = || {
        let open = |bytes| {
            KeyStore::from_pkcs12(bytes, password.expose(), Pkcs12ImportPolicy::Strict).ok()
        };
        let (keys, trust) = (open(key_store)?, open(trust_store)?);
        let (_, chain) = keys.private_key_chain()?;
        let leaf = ders(&set.certificate).ok()?;
        let key = PrivateKeyDer::from_pem_slice(set.key.expose()).ok()?;
        let anchors: BTreeSet<Vec<u8>> =
            ders(&set.ca).ok()?.iter().map(|one| one.to_vec()).collect();
        let trusted: BTreeSet<Vec<u8>> = trust
            .entries()
            .filter_map(|(_, entry)| match entry {
                KeyStoreEntry::Certificate(one) => Some(one.as_der().to_vec()),
                KeyStoreEntry::PrivateKeyChain(_) | KeyStoreEntry::Secret(_) => None,
            })
            .collect();
        let same_leaf = chain.certs().first()?.as_der() == leaf.first()?.as_ref();
        Some(same_leaf && chain.key().as_der() == key.secret_der() && trusted == anchors)
    };
    same().unwrap_or(false)
}

fn certificates(pem: &[u8]) -> Result<Vec<Certificate>, KeystoreError> {
    let mut all = Vec::new();
    for der in ders(pem)? {
        all.push(Certificate::from_der(der.as_ref())?);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};
    use openssl::pkcs12::Pkcs12;

    use super::*;
    use crate::api::v1alpha1::KeyAlgorithm;
    use crate::tls::authority::Authority;
    use crate::tls::bundle::BundleProblem;
    use crate::tls::leaf::{LeafSpec, LeafUse};

    const DAY: SignedDuration = SignedDuration::from_hours(24);

    fn set(what_for: LeafUse) -> TlsSet {
        let now = Timestamp::now();
        let [ca, other] =
            ["one", "other"].map(|name| Authority::generate(name, now, DAY * 9).unwrap());
        let spec = LeafSpec {
            subject: crate::api::v1alpha1::Subject::default(),
            common_name: "client.basic.tikv.tikv-security".into(),
            dns: ["orders.shop.client.tikv-security".into()].into(),
            ips: BTreeSet::new(),
            duration: DAY,
            key: KeyAlgorithm::EcdsaP256,
        };
        let leaf = ca.issue_for(&spec, what_for, now).unwrap();
        TlsSet {
            ca: [ca.certificate_pem(), other.certificate_pem()]
                .concat()
                .into_bytes(),
            certificate: leaf.certificate_pem.into_bytes(),
            key: leaf.key_pem,
        }
    }

    fn password(text: &str) -> Password {
        Password::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn openssl_reads_what_is_written() {
        let set = set(LeafUse::Client);
        let made = write(&set, &password("gehe1m, ja")).unwrap();
        let parsed = Pkcs12::from_der(&made.key_store).unwrap();
        assert!(parsed.parse2("geheim, ja").is_err());
        let parsed = parsed.parse2("gehe1m, ja").unwrap();
        let leaf = openssl::x509::X509::from_pem(&set.certificate).unwrap();
        assert_eq!(
            parsed.cert.unwrap().to_der().unwrap(),
            leaf.to_der().unwrap()
        );
        let key = openssl::pkey::PKey::private_key_from_pem(set.key.expose()).unwrap();
        assert!(parsed.pkey.unwrap().public_eq(&key));
        let trust = Pkcs12::from_der(&made.trust_store).unwrap();
        let trust = trust.parse2("gehe1m, ja").unwrap();
        assert_eq!(trust.ca.map(|all| all.len()), Some(2));
    }

    #[test]
    fn stores_fit_their_set_and_password_alone() {
        let (one, other) = (set(LeafUse::Client), set(LeafUse::Client));
        let word = password("password");
        let made = write(&one, &word).unwrap();
        let fit =
            |set: &TlsSet, word: &Password| fits(&made.key_store, &made.trust_store, set, word);
        assert!(fit(&one, &word));
        assert!(!fit(&other, &word));
        assert!(!fit(&one, &password("Password")));
        let fewer = TlsSet {
            ca: other.ca,
            ..one.clone()
        };
        assert!(!fit(&fewer, &word), "another bundle");
        assert!(!fits(b"", &made.trust_store, &one, &word));
        assert!(!fits(&made.trust_store, &made.key_store, &one, &word));
    }

    #[test]
    fn passwords_that_java_or_people_trip_over_are_refused() {
        for (bytes, problem) in [
            (&b"short"[..], PasswordProblem::Short),
            (b"", PasswordProblem::Short),
            (b"long enough\n", PasswordProblem::Control),
            (b"\xff\xff\xff\xff\xff\xff\xff", PasswordProblem::NotText),
            (&[b'a'; 129], PasswordProblem::Long),
        ] {
            assert_eq!(Password::parse(bytes).unwrap_err(), problem, "{bytes:?}");
        }
        let (one, other) = (Password::random().unwrap(), Password::random().unwrap());
        assert_ne!(one.expose(), other.expose());
        assert!(Password::parse(one.expose().as_bytes()).is_ok());
        assert_eq!(format!("{one:?}"), "Password(..)");
    }

    #[test]
    fn a_clients_leaf_is_not_a_servers() {
        let now = Timestamp::now();
        let client = set(LeafUse::Client);
        assert!(client.check_client(now).is_ok());
        assert_eq!(client.check(now), Err(BundleProblem::Usage));
        assert!(set(LeafUse::Both).check(now).is_ok());
    }
}
