//! Azure: Key Vault, a managed HSM's random bytes, and Entra ID's token endpoint.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, BigNumContext};
use openssl::ecdsa::EcdsaSig;
use openssl::encrypt::{Decrypter, Encrypter};
use openssl::hash::MessageDigest;
use openssl::pkcs12::Pkcs12;
use openssl::pkey::{PKey, Private};
use openssl::rsa::{Padding, Rsa};
use openssl::x509::{X509, X509Name};
use serde_json::{Value, json};
use tikv_security::crypto::secret::SecretBytes;
use tikv_security::kms::Kms;
use tikv_security::kms::azure::{AzureKeyVault, Credential, Settings};
use zeroize::Zeroizing;

use super::tape::Tape;
use super::{Asked, Said, Standin, Weather, claims, html, serve};

/// The version of every key that signs.
pub const VERSION: &str = "0123456789abcdef0123456789abcdef";
pub const SECRET: &str = "of-the-application";
const CLIENT: &str = "11111111-1111-1111-1111-111111111111";

pub struct Azure {
    url: String,
    tape: Tape,
    state: Arc<Mutex<State>>,
    key: PKey<Private>,
    certificate: X509,
}

struct State {
    weather: Weather,
    /// Versions by key; the last one is current.
    keys: BTreeMap<String, Vec<PKey<Private>>>,
    /// Keys with the one version that signs.
    signing: BTreeMap<String, PKey<Private>>,
    certificate: X509,
}

impl Azure {
    pub async fn start() -> Self {
        let (key, certificate) = identity();
        let keys = ["one", "other", "signing"].map(|name| (name.to_owned(), vec![rsa()]));
        let state = Arc::new(Mutex::new(State {
            weather: Weather::Fair,
            keys: keys.into(),
            signing: BTreeMap::new(),
            certificate: certificate.clone(),
        }));
        let (looks, works) = (state.clone(), state.clone());
        let tape = Tape::default();
        let weather = move || looks.lock().unwrap().weather;
        let url = serve(tape.clone(), weather, move |asked| {
            works.lock().unwrap().answer(&asked)
        })
        .await;
        Self {
            url,
            tape,
            state,
            key,
            certificate,
        }
    }

    /// A key whose version [`VERSION`] may sign.
    pub fn new_signing(&self, name: &str, key: PKey<Private>) {
        let mut state = self.state.lock().unwrap();
        state.signing.insert(name.to_owned(), key);
    }

    /// The application's certificate and key as Key Vault exports them.
    pub fn pkcs12(&self, password: &str) -> Vec<u8> {
        let mut builder = Pkcs12::builder();
        builder.name("tikv").pkey(&self.key).cert(&self.certificate);
        builder.build2(password).unwrap().to_der().unwrap()
    }

    pub fn certificate(&self, password: &str) -> Credential {
        Credential::Certificate {
            content: SecretBytes::new(self.pkcs12(password)),
            password: Zeroizing::new(password.to_owned()),
        }
    }

    pub fn with(&self, key: &str, credential: Credential) -> AzureKeyVault {
        AzureKeyVault::new(Settings {
            key_name: key.to_owned(),
            vault_url: self.url.clone(),
            hsm_url: format!("{}/hsm/", self.url),
            tenant_id: "tenant".to_owned(),
            client_id: CLIENT.to_owned(),
            credential,
            authority: format!("{}/login", self.url),
        })
    }
}

impl Standin for Azure {
    fn kms(&self, key: &str) -> Box<dyn Kms> {
        Box::new(self.with(key, self.certificate("")))
    }

    fn tape(&self) -> &Tape {
        &self.tape
    }

    fn set(&self, weather: Weather) {
        self.state.lock().unwrap().weather = weather;
    }

    fn rotate(&self, key: &str) {
        let mut state = self.state.lock().unwrap();
        state.keys.get_mut(key).unwrap().push(rsa());
    }
}

impl State {
    fn answer(&self, asked: &Asked) -> Said {
        match self.weather {
            Weather::Throttled => {
                let message = "Request was not processed because too many requests were received.";
                let mut said = refusal(429, "Throttled", "", message);
                said.after = Some(2);
                return said;
            }
            Weather::Down => return refusal(503, "ServiceUnavailable", "", "The service is busy."),
            Weather::Proxy => return html(502),
            Weather::Nonsense => return Said::json(200, &json!({"hello": "world"})),
            _ => {}
        }
        if asked.path == "/login/tenant/oauth2/v2.0/token" {
            return self.grant(asked);
        }
        let path = asked.path.strip_suffix("?api-version=7.4");
        let path = path.expect("every request names its version of the API");
        // Written by the stand-in into the token: which service it is for.
        let bearer = asked.header("authorization");
        if self.weather == Weather::Expired || !bearer.starts_with("Bearer token-for-http://") {
            let message = "AKV10000: Request is missing a Bearer or PoP token.";
            return refusal(401, "Unauthorized", "", message);
        }
        if self.weather == Weather::Forbidden {
            let message = "Caller is not authorized to perform action on resource.";
            return refusal(403, "Forbidden", "ForbiddenByRbac", message);
        }
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        match parts.as_slice() {
            ["hsm", "rng"] => {
                assert_eq!(asked.json(), json!({"count": 32}));
                value(&tikv_security::crypto::rng::bytes::<32>().unwrap())
            }
            ["keys", name] => self.describe(name),
            ["deletedkeys", name] if self.weather == Weather::PendingDeletion => {
                let id = format!("https://vault/deletedkeys/{name}");
                Said::json(
                    200,
                    &json!({"recoveryId": id, "scheduledPurgeDate": 4_102_444_800_u64}),
                )
            }
            ["keys", name, VERSION] => self.describe_signing(name),
            ["keys", name, VERSION, "sign"] => self.sign(name, asked),
            ["keys", name, "", "encrypt"] => self.operate(name, asked, true),
            ["keys", name, "", "decrypt"] => self.operate(name, asked, false),
            _ => refusal(404, "KeyNotFound", "", "no such thing"),
        }
    }

    fn grant(&self, asked: &Asked) -> Said {
        let refused = |word: &str, why: &str| {
            Said::json(401, &json!({"error": word, "error_description": why}))
        };
        assert_eq!(asked.field("grant_type"), "client_credentials");
        assert_eq!(asked.field("client_id"), CLIENT);
        if self.weather == Weather::ClockSkew {
            return refused(
                "invalid_client",
                "AADSTS700024: Client assertion is not within its valid time range.",
            );
        }
        let secret = asked.field("client_secret");
        if !secret.is_empty() && secret != SECRET {
            return refused(
                "invalid_client",
                "AADSTS7000215: Invalid client secret provided.",
            );
        }
        if secret.is_empty() {
            let key = self.certificate.public_key().unwrap();
            let Some((header, claims)) = claims(&asked.field("client_assertion"), &key) else {
                return refused(
                    "invalid_client",
                    "AADSTS700027: Client assertion failed signature validation.",
                );
            };
            let thumbprint = self.certificate.digest(MessageDigest::sha1()).unwrap();
            assert_eq!(header["x5t"], json!(URL_SAFE_NO_PAD.encode(thumbprint)));
            let der = self.certificate.to_der().unwrap();
            assert_eq!(header["x5c"], json!([STANDARD.encode(der)]));
            assert_eq!(claims["iss"], CLIENT);
            assert_eq!(claims["sub"], CLIENT);
            assert!(claims["aud"].as_str().unwrap().ends_with(&asked.path));
            assert!(claims["exp"].as_u64() > claims["nbf"].as_u64());
        }
        let token = format!("token-for-{}", asked.field("scope"));
        Said::json(
            200,
            &json!({"access_token": token, "expires_in": 3599, "token_type": "Bearer"}),
        )
    }

    fn describe(&self, name: &str) -> Said {
        let (Some(_), false) = (
            self.keys.get(name),
            self.weather == Weather::PendingDeletion,
        ) else {
            return missing(name);
        };
        let operations = if name == "signing" {
            json!(["sign", "verify"])
        } else {
            json!(["encrypt", "decrypt", "wrapKey", "unwrapKey"])
        };
        let enabled = self.weather != Weather::Disabled;
        Said::json(
            200,
            &json!({
                "key": {"kid": format!("https://vault/keys/{name}/1"), "kty": "RSA-HSM", "key_ops": operations, "n": "", "e": "AQAB"},
                "attributes": {"enabled": enabled, "created": 1, "updated": 1, "recoveryLevel": "Recoverable+Purgeable"},
            }),
        )
    }

    fn signing(&self, name: &str) -> Result<&PKey<Private>, Said> {
        let there = self.weather != Weather::PendingDeletion;
        let found = self.signing.get(name).filter(|_| there);
        let found = found.ok_or_else(|| missing(name))?;
        if self.weather == Weather::Disabled {
            let message = "Operation is not allowed on a disabled key.";
            return Err(refusal(403, "Forbidden", "KeyDisabled", message));
        }
        Ok(found)
    }

    fn describe_signing(&self, name: &str) -> Said {
        let Some(key) = self.signing.get(name) else {
            return self.describe(name);
        };
        if self.weather == Weather::PendingDeletion {
            return missing(name);
        }
        let text = |bytes: &[u8]| json!(URL_SAFE_NO_PAD.encode(bytes));
        let mut told = match (key.rsa(), key.ec_key()) {
            (Ok(key), _) => {
                json!({"kty": "RSA-HSM", "n": text(&key.n().to_vec()), "e": text(&key.e().to_vec())})
            }
            (_, Ok(key)) => {
                let (mut x, mut y) = (BigNum::new().unwrap(), BigNum::new().unwrap());
                let mut context = BigNumContext::new().unwrap();
                let point = key.public_key();
                point
                    .affine_coordinates(key.group(), &mut x, &mut y, &mut context)
                    .unwrap();
                let bits = key.group().degree();
                let side = i32::try_from(bits.div_ceil(8)).unwrap();
                let [x, y] = [x, y].map(|side_of| side_of.to_vec_padded(side).unwrap());
                json!({"kty": "EC-HSM", "crv": format!("P-{bits}"), "x": text(&x), "y": text(&y)})
            }
            _ => unreachable!("a key is RSA or on a curve"),
        };
        told["kid"] = json!(format!("https://vault/keys/{name}/{VERSION}"));
        told["key_ops"] = json!(["sign", "verify"]);
        let enabled = self.weather != Weather::Disabled;
        Said::json(
            200,
            &json!({"key": told, "attributes": {"enabled": enabled}}),
        )
    }

    /// As Azure: r and s side by side for a curve.
    fn sign(&self, name: &str, asked: &Asked) -> Said {
        let key = match self.signing(name) {
            Ok(key) => key,
            Err(said) => return said,
        };
        let body = asked.json();
        let digest = URL_SAFE_NO_PAD
            .decode(body["value"].as_str().unwrap())
            .unwrap();
        let signature = super::sign_digest(key, &digest);
        if body["alg"] == "RS256" {
            return value(&signature);
        }
        assert_eq!(body["alg"], "ES256");
        let signature = EcdsaSig::from_der(&signature).unwrap();
        let [r, s] = [signature.r(), signature.s()].map(|side| side.to_vec_padded(32).unwrap());
        value(&[r, s].concat())
    }

    fn operate(&self, name: &str, asked: &Asked, wraps: bool) -> Said {
        let (Some(versions), false) = (
            self.keys.get(name),
            self.weather == Weather::PendingDeletion,
        ) else {
            return missing(name);
        };
        if self.weather == Weather::Disabled {
            let message = "Operation is not allowed on a disabled key.";
            return refusal(403, "Forbidden", "KeyDisabled", message);
        }
        let key = versions.last().unwrap();
        let body = asked.json();
        assert_eq!(body["alg"], "RSA-OAEP-256");
        let content = URL_SAFE_NO_PAD
            .decode(body["value"].as_str().unwrap())
            .unwrap();
        let done = if wraps {
            let mut work = Encrypter::new(key).unwrap();
            work.set_rsa_padding(Padding::PKCS1_OAEP).unwrap();
            work.set_rsa_oaep_md(MessageDigest::sha256()).unwrap();
            let mut out = vec![0; work.encrypt_len(&content).unwrap()];
            let length = work.encrypt(&content, &mut out);
            length.map(|length| out[..length].to_vec())
        } else {
            let mut work = Decrypter::new(key).unwrap();
            work.set_rsa_padding(Padding::PKCS1_OAEP).unwrap();
            work.set_rsa_oaep_md(MessageDigest::sha256()).unwrap();
            let mut out = vec![0; work.decrypt_len(&content).unwrap_or(256)];
            let length = work.decrypt(&content, &mut out);
            length.map(|length| out[..length].to_vec())
        };
        match done {
            Ok(bytes) => value(&bytes),
            Err(_) => refusal(400, "BadParameter", "", "The parameter is incorrect."),
        }
    }
}

fn value(bytes: &[u8]) -> Said {
    let value = URL_SAFE_NO_PAD.encode(bytes);
    Said::json(
        200,
        &json!({"kid": "https://vault/keys/one/1", "value": value}),
    )
}

fn missing(name: &str) -> Said {
    let message = format!(
        "A key with (name/id) {name} was not found in this key vault. If you recently deleted this key you may be able to recover it."
    );
    refusal(404, "KeyNotFound", "", &message)
}

fn refusal(status: u16, code: &str, inner: &str, message: &str) -> Said {
    let mut error: Value = json!({"code": code, "message": message});
    if !inner.is_empty() {
        error["innererror"] = json!({"code": inner});
    }
    Said::json(status, &json!({"error": error}))
}

fn rsa() -> PKey<Private> {
    PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap()
}

fn identity() -> (PKey<Private>, X509) {
    let key = rsa();
    let mut name = X509Name::builder().unwrap();
    name.append_entry_by_text("CN", "tikv").unwrap();
    let name = name.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_subject_name(&name).unwrap();
    builder.set_issuer_name(&name).unwrap();
    builder.set_pubkey(&key).unwrap();
    builder
        .set_not_before(&Asn1Time::days_from_now(0).unwrap())
        .unwrap();
    builder
        .set_not_after(&Asn1Time::days_from_now(1).unwrap())
        .unwrap();
    builder.sign(&key, MessageDigest::sha256()).unwrap();
    (key, builder.build())
}
