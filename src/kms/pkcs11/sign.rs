//! A key pair in a token that signs.

use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use sha2::{Digest, Sha256};

use super::classify::classify;
use super::token::in_session;
use super::{Asking, Settings, TokenKey};
use crate::kms::der::{P256_CURVE, ecdsa_signature, p256_key, rsa_key};
use crate::kms::error::Class;
use crate::kms::rest::Failure;

const ASKING: Asking = Asking::Signing;
/// Shortest RSA modulus, in bytes.
const SHORTEST: usize = 256;
/// An uncompressed point on P-256, in bytes.
const POINT: usize = 65;

/// The public half.
pub(super) fn public_key(settings: &Settings) -> Result<TokenKey, Failure> {
    in_session(settings, ASKING, |session| {
        find(session, &settings.key, ObjectClass::PRIVATE_KEY)?;
        let key = find(session, &settings.key, ObjectClass::PUBLIC_KEY)?;
        read(session, key)
    })
}

/// Signs the message.
pub(super) fn signature(settings: &Settings, message: &[u8]) -> Result<Vec<u8>, Failure> {
    in_session(settings, ASKING, |session| {
        let key = find(session, &settings.key, ObjectClass::PRIVATE_KEY)?;
        let failed = |error| classify(&error, ASKING);
        let kinds = session.get_attributes(key, &[AttributeType::KeyType]);
        let kinds = kinds.map_err(failed)?;
        if kinds.contains(&Attribute::KeyType(KeyType::RSA)) {
            let signed = session.sign(&Mechanism::Sha256RsaPkcs, key, message);
            return signed.map_err(failed);
        }
        let hash = Sha256::digest(message);
        let sides = session
            .sign(&Mechanism::Ecdsa, key, &hash)
            .map_err(failed)?;
        ecdsa_signature(&sides).ok_or_else(|| {
            Failure::new(
                Class::Malformed,
                "its signature is not two numbers of one size",
            )
        })
    })
}

fn find(session: &Session, label: &str, class: ObjectClass) -> Result<ObjectHandle, Failure> {
    let what = if class == ObjectClass::PRIVATE_KEY {
        "private"
    } else {
        "public"
    };
    let template = [
        Attribute::Class(class),
        Attribute::Label(label.as_bytes().to_vec()),
    ];
    let found = session.find_objects(&template);
    match found.map_err(|error| classify(&error, ASKING))?.as_slice() {
        [key] => Ok(*key),
        [] => {
            let message = format!("the token has no {what} key with the label {label:?}");
            Err(Failure::new(Class::NotFound, message))
        }
        several => {
            let message = format!("{} {what} keys have the label {label:?}", several.len());
            Err(Failure::new(Class::Malformed, message))
        }
    }
}

fn read(session: &Session, key: ObjectHandle) -> Result<TokenKey, Failure> {
    let wrong = |message: &str| Err(Failure::new(Class::WrongKey, message));
    let wanted = [
        AttributeType::EcParams,
        AttributeType::EcPoint,
        AttributeType::Modulus,
        AttributeType::PublicExponent,
    ];
    let found = session
        .get_attributes(key, &wanted)
        .map_err(|error| classify(&error, ASKING))?;
    let (mut curve, mut point, mut modulus, mut exponent) = (None, None, None, None);
    for attribute in found {
        match attribute {
            Attribute::EcParams(bytes) => curve = Some(bytes),
            Attribute::EcPoint(bytes) => point = Some(bytes),
            Attribute::Modulus(bytes) => modulus = Some(bytes),
            Attribute::PublicExponent(bytes) => exponent = Some(bytes),
            _ => {}
        }
    }
    match (curve, point, modulus, exponent) {
        (_, _, Some(modulus), Some(exponent)) if !modulus.is_empty() => {
            let bytes = modulus.iter().skip_while(|byte| **byte == 0).count();
            if bytes < SHORTEST {
                return wrong("it is an RSA key of fewer than 2048 bits");
            }
            Ok(TokenKey {
                public_key: rsa_key(&modulus, &exponent),
                rsa: true,
            })
        }
        (Some(curve), Some(point), ..) if curve == P256_CURVE => {
            // As PKCS#11 has it an octet string around the point; some modules leave it out.
            let start = point.len().saturating_sub(POINT);
            match point.get(start..) {
                Some(bare @ [4, ..]) if bare.len() == POINT => Ok(TokenKey {
                    public_key: p256_key(bare),
                    rsa: false,
                }),
                _ => wrong("its point is not an uncompressed one"),
            }
        }
        (Some(_), ..) => wrong("it is on another curve than P-256, which alone every TiKV takes"),
        _ => wrong("it is neither an RSA key nor one on the curve P-256"),
    }
}
