//! AWS KMS by its protocol, with requests that are signed (Signature Version 4).

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use openssl::base64;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sha::sha256;
use openssl::sign::Signer;
use openssl::ssl::{SslConnector, SslMethod};
use serde_json::{Value, json};

use super::master::Wrapped;
use crate::options::Options;
use crate::{Result, date, log, now};

// TiKV tries 15 times, with pauses that grow to 32 seconds.
const TRIES: u32 = 15;
const LONGEST_PAUSE: u64 = 32;
const PATIENCE: Duration = Duration::from_secs(10);

/// One key of one KMS.
pub struct Kms {
    endpoint: String,
    region: String,
    key_id: String,
    access_key: String,
    secret_key: String,
    token: Option<String>,
}

enum Failure {
    Again(String),
    Final(String),
}

impl Kms {
    /// By a table of the configuration; credentials stand there or in the environment.
    pub fn configured(options: &Options, section: &str) -> Result<Self> {
        let text = |name: &str| {
            options
                .text(&format!("{section}.{name}"))
                .unwrap_or_default()
        };
        if !["", "aws"].contains(&text("vendor").as_str()) {
            return Err(format!("provider not found {}", text("vendor")));
        }
        if text("key-id").is_empty() {
            return Err("KMS key id can not be empty".into());
        }
        let variable = |name: &str| std::env::var(name).unwrap_or_default();
        let written = (text("aws.access-key"), text("aws.secret-access-key"));
        let from_file = !written.0.is_empty() && !written.1.is_empty();
        let (access_key, secret_key) = if from_file {
            written
        } else {
            (
                variable("AWS_ACCESS_KEY_ID"),
                variable("AWS_SECRET_ACCESS_KEY"),
            )
        };
        let regions = [
            text("region"),
            variable("AWS_REGION"),
            variable("AWS_DEFAULT_REGION"),
            "us-east-1".to_owned(),
        ];
        let region = regions
            .into_iter()
            .find(|region| !region.is_empty())
            .unwrap_or_default();
        let endpoint = match text("endpoint") {
            none if none.is_empty() => format!("https://kms.{region}.amazonaws.com"),
            endpoint => endpoint,
        };
        let token =
            Some(variable("AWS_SESSION_TOKEN")).filter(|token| !from_file && !token.is_empty());
        log(&format!(
            "Encryption init KMS backend. region={region} endpoint={endpoint} key_id={}",
            text("key-id")
        ));
        Ok(Self {
            endpoint,
            region,
            key_id: text("key-id"),
            access_key,
            secret_key,
            token,
        })
    }

    /// A new key.
    pub fn generate(&self) -> Result<Wrapped> {
        let answer = self.ask(
            "GenerateDataKey",
            &json!({"KeyId": self.key_id, "KeySpec": "AES_256"}),
        )?;
        Ok(Wrapped {
            plain: part(&answer, "Plaintext")?,
            blob: part(&answer, "CiphertextBlob")?,
        })
    }

    /// What a key was before the KMS encrypted it.
    pub fn decrypt(&self, blob: &[u8]) -> Result<Vec<u8>> {
        let blob = base64::encode_block(blob);
        part(
            &self.ask(
                "Decrypt",
                &json!({"CiphertextBlob": blob, "KeyId": self.key_id}),
            )?,
            "Plaintext",
        )
    }

    fn ask(&self, action: &str, body: &Value) -> Result<Value> {
        if self.access_key.is_empty() || self.secret_key.is_empty() {
            return Err("KMS: no AWS credentials in the configuration or the environment".into());
        }
        let mut pause = 1;
        for attempt in 1.. {
            match self.attempt(action, &body.to_string()) {
                Ok(answer) => return Ok(answer),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Again(error)) if attempt == TRIES => return Err(error),
                Err(Failure::Again(error)) => {
                    log(&format!("[WARN] {error}; trying again in {pause} s"))
                }
            }
            std::thread::sleep(Duration::from_secs(pause));
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        Err("KMS: not reached".into())
    }

    fn attempt(&self, action: &str, body: &str) -> std::result::Result<Value, Failure> {
        let again = |error: &dyn std::fmt::Display| {
            Failure::Again(format!("KMS {}: {action}: {error}", self.endpoint))
        };
        let (secure, rest) = match self.endpoint.split_once("://") {
            Some((scheme, rest)) => (scheme == "https", rest),
            None => (true, self.endpoint.as_str()),
        };
        let host = rest.trim_end_matches('/');
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        let address = if name == host {
            format!("{host}:{}", if secure { 443 } else { 80 })
        } else {
            host.to_owned()
        };
        let request = self.request(action, host, body).map_err(Failure::Final)?;
        let stream = TcpStream::connect(address).map_err(|e| again(&e))?;
        stream
            .set_read_timeout(Some(PATIENCE))
            .map_err(|e| again(&e))?;
        let answer = if secure {
            let connector = SslConnector::builder(SslMethod::tls_client())
                .map_err(|e| again(&e))?
                .build();
            converse(
                connector.connect(name, stream).map_err(|e| again(&e))?,
                &request,
            )
        } else {
            converse(stream, &request)
        };
        let answer = answer.map_err(|e| again(&e))?;
        let (head, content) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse::<u16>().ok())
            .unwrap_or(0);
        match status {
            200 => serde_json::from_str(content).map_err(|e| again(&e)),
            400..=499 => Err(Failure::Final(format!(
                "KMS {}: {action}: {status} {content}",
                self.endpoint
            ))),
            _ => Err(again(&format!("{status} {content}"))),
        }
    }

    fn request(&self, action: &str, host: &str, body: &str) -> Result<String> {
        let (day, time) = date::basic(now());
        let target = format!("TrentService.{action}");
        let mut headers = vec![
            ("content-type", "application/x-amz-json-1.1".to_owned()),
            ("host", host.to_owned()),
            ("x-amz-date", time.clone()),
            ("x-amz-target", target),
        ];
        if let Some(token) = &self.token {
            headers.insert(3, ("x-amz-security-token", token.clone()));
        }
        let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        let lines: String = headers
            .iter()
            .map(|(name, value)| format!("{name}:{value}\n"))
            .collect();
        let canonical = format!(
            "POST\n/\n\n{lines}\n{names}\n{}",
            hex(&sha256(body.as_bytes()))
        );
        let scope = format!("{day}/{}/kms/aws4_request", self.region);
        let text = format!(
            "AWS4-HMAC-SHA256\n{time}\n{scope}\n{}",
            hex(&sha256(canonical.as_bytes()))
        );
        let mut key = format!("AWS4{}", self.secret_key).into_bytes();
        for part in [day.as_str(), &self.region, "kms", "aws4_request"] {
            key = hmac(&key, part)?;
        }
        let signature = hex(&hmac(&key, &text)?);
        let credential = format!(
            "Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
            self.access_key
        );
        Ok(format!(
            "POST / HTTP/1.1\r\n{}authorization: AWS4-HMAC-SHA256 {credential}\r\nconnection: close\r\n\
             content-length: {}\r\n\r\n{body}",
            lines.replace('\n', "\r\n"),
            body.len()
        ))
    }
}

fn converse(mut stream: impl Read + Write, request: &str) -> std::io::Result<String> {
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn part(answer: &Value, name: &str) -> Result<Vec<u8>> {
    base64::decode_block(answer[name].as_str().unwrap_or_default())
        .map_err(|error| format!("KMS: {name}: {error}"))
}

fn hmac(key: &[u8], text: &str) -> Result<Vec<u8>> {
    let sign = || {
        let key = PKey::hmac(key)?;
        Signer::new(MessageDigest::sha256(), &key)?.sign_oneshot_to_vec(text.as_bytes())
    };
    sign().map_err(|error: openssl::error::ErrorStack| error.to_string())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::Kms;

    #[test]
    fn requests_name_what_is_signed() {
        let kms = Kms {
            endpoint: "http://kms:1".into(),
            region: "eu-west-1".into(),
            key_id: "k".into(),
            access_key: "id".into(),
            secret_key: "secret".into(),
            token: None,
        };
        let request = kms.request("Decrypt", "kms:1", "{}").unwrap();
        assert!(
            request.contains("SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature=")
        );
        assert!(!request.contains("secret"));
    }
}
