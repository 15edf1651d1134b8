//! The little of DER (ITU-T X.690) that signatures and public keys of a token need: a token has their numbers alone.

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;

/// Algorithm of an RSA key: rsaEncryption (RFC 8017, appendix A.1) without parameters.
const RSA: [u8; 15] = [
    0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
];
/// Algorithm of a key on P-256: id-ecPublicKey, prime256v1 (RFC 5480).
const P256: [u8; 21] = [
    0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
    0xce, 0x3d, 0x03, 0x01, 0x07,
];
/// The object identifier of the curve, as `CKA_EC_PARAMS` has it.
pub(super) const P256_CURVE: [u8; 10] =
    [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];

/// ECDSA-Sig-Value (RFC 3279, 2.2.3) of r and s side by side.
pub(super) fn ecdsa_signature(sides: &[u8]) -> Option<Vec<u8>> {
    if sides.is_empty() || !sides.len().is_multiple_of(2) {
        return None;
    }
    let (r, s) = sides.split_at(sides.len() / 2);
    Some(value(SEQUENCE, &[integer(r), integer(s)].concat()))
}

/// Subject public key info of a point on P-256, uncompressed.
pub(super) fn p256_key(point: &[u8]) -> Vec<u8> {
    value(SEQUENCE, &[P256.to_vec(), bits(point)].concat())
}

/// Subject public key info of an RSA key.
pub(super) fn rsa_key(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    let numbers = value(SEQUENCE, &[integer(modulus), integer(exponent)].concat());
    value(SEQUENCE, &[RSA.to_vec(), bits(&numbers)].concat())
}

fn integer(number: &[u8]) -> Vec<u8> {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let mut bytes = number.get(zeros..).unwrap_or_default().to_vec();
    // A leading one bit would make it negative, and no byte at all is no number.
    if bytes.first().is_none_or(|first| first & 0x80 != 0) {
        bytes.insert(0, 0);
    }
    value(INTEGER, &bytes)
}

fn bits(bytes: &[u8]) -> Vec<u8> {
    value(BIT_STRING, &[&[0], bytes].concat())
}

fn value(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut all = vec![tag];
    match u8::try_from(content.len()) {
        Ok(short @ 0..0x80) => all.push(short),
        _ => {
            let length = content.len().to_be_bytes();
            let zeros = length.iter().take_while(|byte| **byte == 0).count();
            let length = length.get(zeros..).unwrap_or_default();
            // At most eight bytes of length.
            all.push(0x80 | u8::try_from(length.len()).unwrap_or_default());
            all.extend(length);
        }
    }
    all.extend(content);
    all
}

#[cfg(test)]
mod tests {
    use openssl::bn::BigNum;
    use openssl::ecdsa::EcdsaSig;
    use openssl::rsa::Rsa;

    use super::{ecdsa_signature, rsa_key};

    #[test]
    fn openssl_reads_what_is_written() {
        for (r, s) in [(1_u32, 0x80_u32), (0xff00, 0x7fff_ffff), (0, 0x8000_0000)] {
            let mut sides = [[0_u8; 32]; 2];
            sides[0][28..].copy_from_slice(&r.to_be_bytes());
            sides[1][28..].copy_from_slice(&s.to_be_bytes());
            let der = ecdsa_signature(sides.as_flattened()).unwrap();
            let read = EcdsaSig::from_der(&der).unwrap();
            assert_eq!(*read.r(), *BigNum::from_u32(r).unwrap());
            assert_eq!(*read.s(), *BigNum::from_u32(s).unwrap());
            assert_eq!(read.to_der().unwrap(), der);
        }
        assert_eq!(ecdsa_signature(&[1, 2, 3]), None);
        let key = Rsa::generate(2048).unwrap();
        let der = rsa_key(&key.n().to_vec(), &key.e().to_vec());
        let read = Rsa::public_key_from_der(&der).unwrap();
        assert_eq!(*read.n(), *key.n());
        assert_eq!(read.public_key_to_der().unwrap(), der);
    }
}
