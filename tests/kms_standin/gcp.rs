//! Google Cloud KMS, its token endpoints and the metadata server.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use openssl::pkey::{PKey, Private, Public};
use openssl::rsa::Rsa;
use openssl::symm::{Cipher, decrypt_aead, encrypt_aead};
use serde_json::{Value, json};
use tikv_security::crypto::secret::SecretBytes;
use tikv_security::kms::Kms;
use tikv_security::kms::gcp::{Credentials, GcpKms, Settings, Vendor};

use super::tape::Tape;
use super::{Asked, Said, Standin, Weather, claims, html, serve};

const RING: &str = "projects/p/locations/europe-west3/keyRings/r/cryptoKeys";
const LOCATION: &str = "projects/p/locations/europe-west3";
const EMAIL: &str = "tikv@p.iam.gserviceaccount.com";

pub struct Gcp {
    pub url: String,
    tape: Tape,
    state: Arc<Mutex<State>>,
    private_key: String,
}

struct State {
    weather: Weather,
    /// Versions by key; the last one is the primary.
    keys: BTreeMap<String, Vec<[u8; 32]>>,
    /// Versions that sign, and their algorithms.
    signing: BTreeMap<String, (PKey<Private>, &'static str)>,
    signer: PKey<Public>,
    /// Corrupts one byte of each answer with content.
    flips: bool,
}

impl Gcp {
    pub async fn start() -> Self {
        let rsa = Rsa::generate(2048).unwrap();
        let key = PKey::from_rsa(rsa).unwrap();
        let private_key = String::from_utf8(key.private_key_to_pem_pkcs8().unwrap()).unwrap();
        let signer = PKey::public_key_from_pem(&key.public_key_to_pem().unwrap()).unwrap();
        let keys = ["one", "other", "signing"].map(|name| (format!("{RING}/{name}"), vec![new()]));
        let state = Arc::new(Mutex::new(State {
            weather: Weather::Fair,
            keys: keys.into(),
            signing: BTreeMap::new(),
            signer,
            flips: false,
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
            private_key,
        }
    }

    pub fn flip_bits(&self) {
        self.state.lock().unwrap().flips = true;
    }

    /// A key with one version that signs; where the version is.
    pub fn new_signing(&self, name: &str, key: PKey<Private>, algorithm: &'static str) -> String {
        let version = format!("{name}/cryptoKeyVersions/1");
        let mut state = self.state.lock().unwrap();
        let path = format!("{RING}/{version}");
        state.signing.insert(path, (key, algorithm));
        version
    }

    pub fn service_account(&self) -> Value {
        json!({
            "type": "service_account", "project_id": "p", "private_key_id": "k1", "private_key": self.private_key,
            "client_email": EMAIL, "client_id": "1", "token_uri": format!("{}/token", self.url),
        })
    }

    /// Workload identity federation: the token of a Kubernetes service account in a file.
    pub fn external_account(&self, token_file: &std::path::Path, impersonate: bool) -> Value {
        let mut file = json!({
            "type": "external_account", "audience": "//iam.googleapis.com/pool",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": format!("{}/sts", self.url), "credential_source": {"file": token_file},
        });
        if impersonate {
            let url = format!("{}/impersonate:generateAccessToken", self.url);
            file["service_account_impersonation_url"] = json!(url);
        }
        file
    }

    pub fn with(&self, key: &str, credentials: &Value) -> GcpKms {
        self.as_vendor(key, credentials, Vendor::V2)
    }

    pub fn as_vendor(&self, key: &str, credentials: &Value, vendor: Vendor) -> GcpKms {
        GcpKms::new(Settings {
            key_id: format!("{RING}/{key}"),
            vendor,
            endpoint: Some(self.url.clone()),
            credentials: Credentials::Json(SecretBytes::new(credentials.to_string().into_bytes())),
        })
    }
}

impl Standin for Gcp {
    fn kms(&self, key: &str) -> Box<dyn Kms> {
        Box::new(self.with(key, &self.service_account()))
    }

    fn tape(&self) -> &Tape {
        &self.tape
    }

    fn set(&self, weather: Weather) {
        self.state.lock().unwrap().weather = weather;
    }

    fn rotate(&self, key: &str) {
        let mut state = self.state.lock().unwrap();
        let versions = state.keys.get_mut(&format!("{RING}/{key}")).unwrap();
        versions.push(new());
    }
}

impl State {
    fn answer(&self, asked: &Asked) -> Said {
        let path = asked.path.as_str();
        match self.weather {
            Weather::Throttled => {
                let mut said =
                    refusal(429, "RESOURCE_EXHAUSTED", "Quota exceeded for quota metric");
                said.after = Some(2);
                return said;
            }
            Weather::Down => return refusal(503, "UNAVAILABLE", "The service is unavailable."),
            Weather::Proxy => return html(502),
            Weather::Nonsense => return Said::json(200, &json!({"hello": "world"})),
            _ => {}
        }
        match path {
            "/token" => return self.grant(asked),
            "/sts" => return exchange(asked),
            "/impersonate:generateAccessToken" => {
                let known = asked.header("authorization") == "Bearer federated";
                return if known {
                    Said::json(
                        200,
                        &json!({"accessToken": "token", "expireTime": "2099-01-01T00:00:00Z"}),
                    )
                } else {
                    refusal(
                        403,
                        "PERMISSION_DENIED",
                        "iam.serviceAccounts.getAccessToken",
                    )
                };
            }
            _ => {}
        }
        if self.weather == Weather::Expired || asked.header("authorization") != "Bearer token" {
            return refusal(
                401,
                "UNAUTHENTICATED",
                "Request had invalid authentication credentials.",
            );
        }
        if self.weather == Weather::Forbidden {
            return refusal(
                403,
                "PERMISSION_DENIED",
                "Permission denied on resource (or it may not exist).",
            );
        }
        let object = path.trim_start_matches("/v1/");
        if let Some(version) = object.strip_suffix("/publicKey") {
            return self.public_key(version);
        }
        match object.split_once(':') {
            Some((version, "asymmetricSign")) => self.sign(version, asked),
            None => self.describe(object),
            Some((LOCATION, "generateRandomBytes")) => {
                let body = asked.json();
                assert_eq!(body, json!({"lengthBytes": 32, "protectionLevel": "HSM"}));
                self.content("data", &new(), json!({}))
            }
            Some((key, "encrypt")) => self.encrypt(key, asked),
            Some((key, "decrypt")) => self.decrypt(key, asked),
            Some(_) => refusal(404, "NOT_FOUND", "no such method"),
        }
    }

    fn grant(&self, asked: &Asked) -> Said {
        let refused = |why: &str| {
            let body = json!({"error": "invalid_grant", "error_description": why});
            Said::json(400, &body)
        };
        if asked.field("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" {
            return refused("unsupported grant");
        }
        if self.weather == Weather::ClockSkew {
            return refused(
                "Invalid JWT: Token must be a short-lived token and in a reasonable timeframe. Check your iat and exp values in the JWT claim.",
            );
        }
        let Some((header, claims)) = claims(&asked.field("assertion"), &self.signer) else {
            return refused("Invalid JWT Signature.");
        };
        assert_eq!(header["alg"], "RS256");
        assert_eq!(header["kid"], "k1");
        assert_eq!(claims["iss"], EMAIL);
        assert_eq!(
            claims["scope"],
            "https://www.googleapis.com/auth/cloud-platform"
        );
        assert!(claims["aud"].as_str().unwrap().ends_with("/token"));
        let now = std::time::SystemTime::now();
        let now = now.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        assert!(claims["iat"].as_u64().unwrap().abs_diff(now) < 60);
        assert_eq!(
            claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(),
            3600
        );
        Said::json(
            200,
            &json!({"access_token": "token", "expires_in": 3599, "token_type": "Bearer"}),
        )
    }

    fn describe(&self, key: &str) -> Said {
        let Some(versions) = self.keys.get(key) else {
            return refusal(404, "NOT_FOUND", &format!("CryptoKey {key} not found."));
        };
        let state = match self.weather {
            Weather::Disabled => "DISABLED",
            Weather::PendingDeletion => "DESTROY_SCHEDULED",
            _ => "ENABLED",
        };
        if key.ends_with("signing") {
            return Said::json(200, &json!({"name": key, "purpose": "ASYMMETRIC_SIGN"}));
        }
        let version = format!("{key}/cryptoKeyVersions/{}", versions.len());
        let primary = json!({"name": version, "state": state, "protectionLevel": "HSM"});
        Said::json(
            200,
            &json!({"name": key, "purpose": "ENCRYPT_DECRYPT", "primary": primary}),
        )
    }

    /// Refuses what is not there or not enabled, in Google's words.
    fn usable(&self, key: &str) -> Result<&Vec<[u8; 32]>, Said> {
        let versions = self
            .keys
            .get(key)
            .ok_or_else(|| refusal(404, "NOT_FOUND", &format!("CryptoKey {key} not found.")))?;
        let state = match self.weather {
            Weather::Disabled => "DISABLED",
            Weather::PendingDeletion => "DESTROY_SCHEDULED",
            _ => return Ok(versions),
        };
        let message =
            format!("{key}/cryptoKeyVersions/1 is not enabled, current state is: {state}.");
        Err(refusal(400, "FAILED_PRECONDITION", &message))
    }

    /// Refuses what is not there or not enabled.
    fn signing(&self, version: &str) -> Result<&(PKey<Private>, &'static str), Said> {
        let found = self.signing.get(version);
        let found = found.ok_or_else(|| {
            let message = format!("CryptoKeyVersion {version} not found.");
            refusal(404, "NOT_FOUND", &message)
        })?;
        let state = match self.weather {
            Weather::Disabled => "DISABLED",
            Weather::PendingDeletion => "DESTROY_SCHEDULED",
            _ => return Ok(found),
        };
        let message = format!("{version} is not enabled, current state is: {state}.");
        Err(refusal(400, "FAILED_PRECONDITION", &message))
    }

    fn public_key(&self, version: &str) -> Said {
        let (key, algorithm) = match self.signing(version) {
            Ok(found) => found,
            Err(said) => return said,
        };
        let mut pem = String::from_utf8(key.public_key_to_pem().unwrap()).unwrap();
        let crc = crc32c::crc32c(pem.as_bytes()).to_string();
        if self.flips {
            pem = pem.replacen('A', "B", 1);
        }
        Said::json(
            200,
            &json!({
                "name": version, "pem": pem, "pemCrc32c": crc, "algorithm": algorithm, "protectionLevel": "HSM",
            }),
        )
    }

    fn sign(&self, version: &str, asked: &Asked) -> Said {
        let (key, algorithm) = match self.signing(version) {
            Ok(found) => found,
            Err(said) => return said,
        };
        assert!(algorithm.ends_with("SHA256"), "{algorithm}");
        let body = asked.json();
        let digest = STANDARD
            .decode(body["digest"]["sha256"].as_str().unwrap())
            .unwrap();
        let crc = body["digestCrc32c"].as_str().unwrap();
        assert_eq!(crc, crc32c::crc32c(&digest).to_string());
        let signature = super::sign_digest(key, &digest);
        let more = json!({"name": version, "verifiedDigestCrc32c": true});
        self.content("signature", &signature, more)
    }

    fn encrypt(&self, key: &str, asked: &Asked) -> Said {
        let versions = match self.usable(key) {
            Ok(versions) => versions,
            Err(said) => return said,
        };
        let plain = match sent(asked, "plaintext") {
            Ok(plain) => plain,
            Err(said) => return said,
        };
        let (nonce, mut tag) = (new(), [0; 16]);
        let cipher = Cipher::aes_256_gcm();
        let secret = versions.last().unwrap();
        let text = encrypt_aead(
            cipher,
            secret,
            Some(&nonce[..12]),
            key.as_bytes(),
            &plain,
            &mut tag,
        );
        let version = u8::try_from(versions.len()).unwrap();
        let blob = [&[version], &nonce[..12], &tag, text.unwrap().as_slice()].concat();
        self.content(
            "ciphertext",
            &blob,
            json!({"verifiedPlaintextCrc32c": true}),
        )
    }

    fn decrypt(&self, key: &str, asked: &Asked) -> Said {
        let versions = match self.usable(key) {
            Ok(versions) => versions,
            Err(said) => return said,
        };
        let blob = match sent(asked, "ciphertext") {
            Ok(blob) => blob,
            Err(said) => return said,
        };
        let wrong = || {
            let message = "Decryption failed: verify that 'name' refers to the correct CryptoKey.";
            refusal(400, "INVALID_ARGUMENT", message)
        };
        if blob.len() < 29 {
            return wrong();
        }
        let (version, nonce) = (usize::from(blob[0]), Some(&blob[1..13]));
        let Some(secret) = version.checked_sub(1).and_then(|at| versions.get(at)) else {
            return wrong();
        };
        let (tag, text) = blob[13..].split_at(16);
        match decrypt_aead(
            Cipher::aes_256_gcm(),
            secret,
            nonce,
            key.as_bytes(),
            text,
            tag,
        ) {
            Ok(plain) => self.content("plaintext", &plain, json!({"usedPrimary": true})),
            Err(_) => wrong(),
        }
    }

    fn content(&self, name: &str, bytes: &[u8], mut body: Value) -> Said {
        body[format!("{name}Crc32c")] = json!(crc32c::crc32c(bytes).to_string());
        let mut bytes = bytes.to_vec();
        if self.flips {
            bytes[0] ^= 1;
        }
        body[name] = json!(STANDARD.encode(bytes));
        Said::json(200, &body)
    }
}

/// What was sent, if it is what its checksum says.
fn sent(asked: &Asked, name: &str) -> Result<Vec<u8>, Said> {
    let body = asked.json();
    let bytes = STANDARD.decode(body[name].as_str().unwrap()).unwrap();
    let crc = body[format!("{name}Crc32c")].as_str().unwrap().to_owned();
    if crc == crc32c::crc32c(&bytes).to_string() {
        Ok(bytes)
    } else {
        Err(refusal(
            400,
            "INVALID_ARGUMENT",
            "The checksum did not match the data.",
        ))
    }
}

fn exchange(asked: &Asked) -> Said {
    assert_eq!(
        asked.field("grant_type"),
        "urn:ietf:params:oauth:grant-type:token-exchange"
    );
    assert_eq!(asked.field("audience"), "//iam.googleapis.com/pool");
    match asked.field("subject_token").as_str() {
        "of-the-pod" => Said::json(200, &json!({"access_token": "token", "expires_in": 3600})),
        "to-impersonate" => Said::json(
            200,
            &json!({"access_token": "federated", "expires_in": 3600}),
        ),
        _ => Said::json(
            400,
            &json!({"error": "invalid_grant", "error_description": "The given credential is rejected by the attribute condition."}),
        ),
    }
}

fn refusal(status: u16, word: &str, message: &str) -> Said {
    let error = json!({"code": status, "message": message, "status": word});
    Said::json(status, &json!({"error": error}))
}

fn new() -> [u8; 32] {
    tikv_security::crypto::rng::bytes().unwrap()
}
