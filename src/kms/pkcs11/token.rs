//! What is done in the token: one at a time in the whole process, because who is logged in is the process and not a session.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11 as Module};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;

use super::classify::classify;
use super::wire::{NONCE, TAG, Wrapped};
use super::{Asking, Settings};
use crate::crypto::rng;
use crate::crypto::secret::SecretBytes;
use crate::kms::error::Class;
use crate::kms::provider::DataKey;
use crate::kms::rest::Failure;

/// Modules that are loaded and initialised.
static MODULES: Mutex<Option<HashMap<PathBuf, Module>>> = Mutex::new(None);

/// Does what is asked, and logs out.
pub(super) fn answer(
    settings: &Settings,
    asking: Asking,
    wrapped: &[u8],
) -> Result<Option<DataKey>, Failure> {
    // Before anything is loaded: what is no wrapped key needs no token.
    let wrapped = match asking {
        Asking::Unwrapping => Some(Wrapped::parse(wrapped)?),
        Asking::Description | Asking::DataKey | Asking::Signing => None,
    };
    in_session(settings, asking, |session| {
        operate(session, settings, asking, wrapped.as_ref())
    })
}

/// Does work in the token as its user.
pub(super) fn in_session<T>(
    settings: &Settings,
    asking: Asking,
    work: impl FnOnce(&Session) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let mut modules = MODULES.lock().unwrap_or_else(PoisonError::into_inner);
    let modules = modules.get_or_insert_default();
    let done = with(modules, settings, asking, work);
    let gone = matches!(&done, Err(failure) if failure.class == Class::Unavailable);
    // A module often learns of tokens only when it is initialised.
    if gone && let Some(module) = modules.remove(&settings.module) {
        drop(module.finalize());
    }
    done
}

fn with<T>(
    modules: &mut HashMap<PathBuf, Module>,
    settings: &Settings,
    asking: Asking,
    work: impl FnOnce(&Session) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let failed = |error: Error| classify(&error, asking);
    let module = loaded(modules, &settings.module).map_err(failed)?;
    let slot = slot(&module, &settings.token, asking)?;
    let pin = settings.pin.read(&settings.token)?;
    // AWS CloudHSM has no sessions for reading only.
    let session = module.open_ro_session(slot);
    let session = session.or_else(|_| module.open_rw_session(slot));
    let session = session.map_err(failed)?;
    let secret = AuthPin::new(pin.text.as_str().into());
    match session.login(UserType::User, Some(&secret)) {
        Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {}
        Err(error) => {
            let refused = matches!(
                error,
                Error::Pkcs11(
                    RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange,
                    _
                )
            );
            if refused {
                pin.refused();
            }
            return Err(failed(error));
        }
    }
    let done = work(&session);
    // The session is closed in any case, and with the last one the login ends.
    drop(session.logout());
    done
}

fn loaded(modules: &mut HashMap<PathBuf, Module>, path: &Path) -> Result<Module, Error> {
    if let Some(module) = modules.get(path) {
        return Ok(module.clone());
    }
    let module = Module::new(path)?;
    match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
        Err(error) => return Err(error),
    }
    modules.insert(path.to_owned(), module.clone());
    Ok(module)
}

fn slot(module: &Module, label: &str, asking: Asking) -> Result<Slot, Failure> {
    let failed = |error: Error| classify(&error, asking);
    for slot in module.get_slots_with_initialized_token().map_err(failed)? {
        // One that is just being taken away is none of ours.
        if module
            .get_token_info(slot)
            .is_ok_and(|info| info.label().trim_end() == label)
        {
            return Ok(slot);
        }
    }
    let message = format!("no slot has a token with the label {label:?}");
    Err(Failure::new(Class::Unavailable, message))
}

fn operate(
    session: &Session,
    settings: &Settings,
    asking: Asking,
    wrapped: Option<&Wrapped>,
) -> Result<Option<DataKey>, Failure> {
    let failed = |error: Error| classify(&error, asking);
    let key = find(session, &settings.key, asking)?;
    usable(session, key, asking)?;
    match (asking, wrapped) {
        (Asking::Unwrapping, Some(wrapped)) => {
            let mut nonce = wrapped.nonce.clone();
            let params = GcmParams::new(&mut nonce, &[], tag_bits()).map_err(failed)?;
            let plain = session.decrypt(&Mechanism::AesGcm(params), key, &wrapped.sealed);
            let plaintext = SecretBytes::new(plain.map_err(failed)?);
            let wrapped = Vec::new();
            if plaintext.expose().len() == 32 {
                Ok(Some(DataKey { plaintext, wrapped }))
            } else {
                let message = "what was unwrapped is not 32 bytes long";
                Err(Failure::new(Class::Malformed, message))
            }
        }
        (Asking::DataKey, _) => {
            let random = session.generate_random_vec(32).map_err(failed)?;
            let plaintext = SecretBytes::new(random);
            let wrapped = seal(session, key, &plaintext, asking)?;
            let wrapped = wrapped.to_text().into_bytes();
            Ok(Some(DataKey { plaintext, wrapped }))
        }
        (Asking::Description | Asking::Unwrapping | Asking::Signing, _) => Ok(None),
    }
}

/// Seals a key under a nonce of ours, unless the module insists on one of its own.
fn seal(
    session: &Session,
    key: ObjectHandle,
    plaintext: &SecretBytes,
    asking: Asking,
) -> Result<Wrapped, Failure> {
    let failed = |error: Error| classify(&error, asking);
    let encrypt = |nonce: &mut [u8; NONCE]| {
        let params = GcmParams::new(nonce, &[], tag_bits())?;
        session.encrypt(&Mechanism::AesGcm(params), key, plaintext.expose())
    };
    let mut nonce = rng::bytes::<NONCE>()
        .map_err(|error| Failure::new(Class::Unavailable, error.to_string()))?;
    let sealed = match encrypt(&mut nonce) {
        // AWS CloudHSM wants zeros, and writes its own nonce over them.
        Err(Error::Pkcs11(RvError::MechanismParamInvalid | RvError::ArgumentsBad, _)) => {
            nonce = [0; NONCE];
            let sealed = encrypt(&mut nonce).map_err(failed)?;
            if nonce == [0; NONCE] {
                let message = "the module encrypts under a nonce of zeros";
                return Err(Failure::new(Class::Malformed, message));
            }
            sealed
        }
        other => other.map_err(failed)?,
    };
    Wrapped::of(&nonce, sealed)
}

fn tag_bits() -> cryptoki::types::Ulong {
    (8 * TAG as u64).into()
}

fn find(session: &Session, label: &str, asking: Asking) -> Result<ObjectHandle, Failure> {
    let template = [
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::Label(label.as_bytes().to_vec()),
    ];
    let found = session
        .find_objects(&template)
        .map_err(|error| classify(&error, asking))?;
    match found.as_slice() {
        [key] => Ok(*key),
        [] => {
            // A key pair of this name is another mistake than none.
            let any = session.find_objects(&template[1..]).unwrap_or_default();
            if any.is_empty() {
                let message = format!("the token has no key with the label {label:?}");
                Err(Failure::new(Class::NotFound, message))
            } else {
                let message = format!("{label:?} is no secret key; an AES key is needed");
                Err(Failure::new(Class::WrongKey, message))
            }
        }
        several => {
            let message = format!("{} keys have the label {label:?}", several.len());
            Err(Failure::new(Class::Malformed, message))
        }
    }
}

/// Whether it can wrap and unwrap.
fn usable(session: &Session, key: ObjectHandle, asking: Asking) -> Result<(), Failure> {
    let wanted = [
        AttributeType::KeyType,
        AttributeType::Encrypt,
        AttributeType::Decrypt,
        AttributeType::ValueLen,
    ];
    let found = session
        .get_attributes(key, &wanted)
        .map_err(|error| classify(&error, asking))?;
    for attribute in found {
        match attribute {
            Attribute::KeyType(kind) if kind != KeyType::AES => {
                return Err(Failure::new(Class::WrongKey, "it is no AES key"));
            }
            // What it wraps has 256 bits and must not be weaker for it.
            Attribute::ValueLen(length) if *length != 32 => {
                let message = format!("it has {} bytes; 32 are needed", *length);
                return Err(Failure::new(Class::WrongKey, message));
            }
            Attribute::Encrypt(false) => {
                return Err(Failure::new(Class::Disabled, "CKA_ENCRYPT is false"));
            }
            Attribute::Decrypt(false) => {
                return Err(Failure::new(Class::Disabled, "CKA_DECRYPT is false"));
            }
            _ => {}
        }
    }
    Ok(())
}
