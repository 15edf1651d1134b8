//! SoftHSM, in a process of its own, because a module reads its environment once. Where it is not installed the test fails: Debian's
//! `softhsm2`.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11 as Module};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::Attribute;
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use tikv_security::crypto::secret::SecretBytes;
use tikv_security::kms::pkcs11::{Pin, Pkcs11, Settings};

const INSIDE: &str = "TIKV_SECURITY_TEST_SOFTHSM";
/// PIN of every token.
pub const PIN: &str = "7391";
const SO_PIN: &str = "so-84213";

/// A pair of keys.
#[derive(Clone, Copy)]
pub enum Kind {
    P256,
    P384,
    Rsa(u64),
}

/// The module.
pub fn module() -> PathBuf {
    let paths = [
        "/usr/lib/softhsm/libsofthsm2.so",
        "/usr/lib64/pkcs11/libsofthsm2.so",
    ];
    let mut paths = paths.map(PathBuf::from).into_iter();
    paths.find(|path| path.exists()).expect("install softhsm2")
}

/// A key of a token and a PIN.
pub fn settings(token: &str, key: &str, pin: &str) -> Settings {
    Settings {
        module: module(),
        token: token.to_owned(),
        key: key.to_owned(),
        pin: Arc::new(Pin::Given(SecretBytes::new(pin.as_bytes().to_vec()))),
    }
}

/// A key of a token.
pub fn key(token: &str, key: &str) -> Pkcs11 {
    Pkcs11::new(settings(token, key, PIN))
}

/// Begins this test again in a process with a configuration of its own.
pub fn inside(name: &str) -> Option<PathBuf> {
    if let Some(directory) = std::env::var_os(INSIDE) {
        return Some(directory.into());
    }
    let directory = tempfile::tempdir().unwrap();
    let tokens = directory.path().join("tokens");
    std::fs::create_dir(&tokens).unwrap();
    let config = directory.path().join("softhsm2.conf");
    let text = format!(
        "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
        tokens.display()
    );
    std::fs::write(&config, text).unwrap();
    let done = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, directory.path())
        .env("SOFTHSM2_CONF", &config)
        .status()
        .unwrap();
    assert!(done.success(), "{name} in a process of its own");
    None
}

/// A token that is filled as its user; what was made stays in the token's directory.
pub fn token(label: &str, fill: impl FnOnce(&Session)) {
    let context = Module::new(module()).unwrap();
    context
        .initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))
        .unwrap();
    let slot = *context.get_all_slots().unwrap().last().unwrap();
    context
        .init_token(slot, &AuthPin::new(SO_PIN.into()), label)
        .unwrap();
    let found = context.get_slots_with_initialized_token().unwrap();
    let slot = found
        .into_iter()
        .find(|slot| context.get_token_info(*slot).unwrap().label() == label)
        .unwrap();
    let session = context.open_rw_session(slot).unwrap();
    let log_in = |user, pin: &str| session.login(user, Some(&AuthPin::new(pin.into())));
    log_in(UserType::So, SO_PIN).unwrap();
    session.init_pin(&AuthPin::new(PIN.into())).unwrap();
    session.logout().unwrap();
    log_in(UserType::User, PIN).unwrap();
    fill(&session);
    session.logout().unwrap();
    drop(session);
    context.finalize().unwrap();
}

/// A token with pairs of keys.
pub fn make_pairs(label: &str, pairs: &[(&str, Kind)]) {
    token(label, |session| {
        for (name, kind) in pairs {
            make_pair(session, name, *kind);
        }
    });
}

fn make_pair(session: &Session, name: &str, kind: Kind) {
    let name = Attribute::Label(name.as_bytes().to_vec());
    let mut public = vec![
        Attribute::Token(true),
        Attribute::Verify(true),
        name.clone(),
    ];
    let private = [
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
        name,
    ];
    // Object identifiers of the curves.
    let mechanism = match kind {
        Kind::P256 => {
            let curve = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
            public.push(Attribute::EcParams(curve.to_vec()));
            Mechanism::EccKeyPairGen
        }
        Kind::P384 => {
            let curve = [0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
            public.push(Attribute::EcParams(curve.to_vec()));
            Mechanism::EccKeyPairGen
        }
        Kind::Rsa(bits) => {
            public.push(Attribute::ModulusBits(bits.into()));
            public.push(Attribute::PublicExponent(vec![1, 0, 1]));
            Mechanism::RsaPkcsKeyPairGen
        }
    };
    session
        .generate_key_pair(&mechanism, &public, &private)
        .unwrap();
}
