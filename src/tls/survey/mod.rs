//! What a port does with callers of every kind: protocol versions, suites, certificates, plaintext. For a person who looks.

mod crude;
mod findings;
mod handshake;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, SupportedProtocolVersion};
use serde::Serialize;

use super::bundle::unix;
use super::client::provider;
use super::parse::{CertificateInfo, parse_der};
use super::probe::{ProbeError, Protocol};
pub use crude::Crude;
pub use findings::findings;
pub use handshake::{Admission, Agreed, Identity};

/// Whom to ask, and as whom.
pub struct Question {
    /// Where the port is.
    pub address: SocketAddr,
    /// Name that its certificate must carry.
    pub name: ServerName<'static>,
    /// What is on it.
    pub protocol: Protocol,
    /// Whom we trust; without it nobody is held against anything.
    pub roots: Option<RootCertStore>,
    /// The certificate that we show when asked.
    pub identity: Option<Identity>,
    /// For each single attempt.
    pub patience: Duration,
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Survey {
    /// The chain that the port shows, leaf first.
    pub chain: Vec<CertificateInfo>,
    /// Whether it is trusted.
    pub trust: Trust,
    /// The newest versions, each tried alone.
    pub versions: Vec<Attempt>,
    /// Suites that were accepted when offered alone, of those that are good.
    pub suites: Vec<String>,
    /// What must be refused.
    pub crude: Vec<Crude>,
}

/// Whether the chain leads to somebody we trust, is valid, and is good for the name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Trust {
    /// No roots were given.
    NotAsked,
    /// Yes.
    Trusted,
    /// No, in words.
    Untrusted(String),
}

/// One protocol version, tried alone.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// As `TLS 1.3`.
    pub version: &'static str,
    /// What was agreed upon, or in words why nothing was.
    pub outcome: Result<Agreed, String>,
}

/// Looks at the port from all sides: about fifteen short connections, one after the other, each closed at once, because an
/// idle one blocks TiKV's status port for everybody (facts, TLS §2.2). Fails when it shows no certificate at all.
pub async fn survey(question: &Question, now: Timestamp) -> Result<Survey, ProbeError> {
    let mut versions = Vec::new();
    let mut shown: Option<Vec<CertificateDer<'static>>> = None;
    for (name, version) in [("TLS 1.3", &TLS13), ("TLS 1.2", &TLS12)] {
        let tried = handshake::attempt(question, provider(), version).await;
        shown = shown.or(tried.chain);
        versions.push(Attempt {
            version: name,
            outcome: tried.outcome,
        });
    }
    let Some(shown) = shown else {
        return Err(nothing_shown(question, &versions));
    };
    let chain = shown
        .iter()
        .map(|der| parse_der(der))
        .collect::<Result<_, _>>()
        .map_err(|error| ProbeError::Unreadable(question.address, error))?;
    Ok(Survey {
        chain,
        trust: trust(question, &shown, now),
        suites: suites(question, &versions).await,
        versions,
        crude: crude::all(question).await,
    })
}

/// Time of a full handshake, in the newest version that the port speaks, and of one that takes the session up again, where the port
/// does that. `None` when it does not shake hands with us, or does not answer.
pub async fn handshake_times(question: &Question) -> Option<(Duration, Option<Duration>)> {
    for version in [&TLS13, &TLS12] {
        let tried = handshake::attempt(question, provider(), version).await;
        if let Ok(agreed) = tried.outcome
            && agreed.admission == Admission::Answered
        {
            return Some((agreed.full, agreed.resumed));
        }
    }
    None
}

fn nothing_shown(question: &Question, versions: &[Attempt]) -> ProbeError {
    let why = versions
        .iter()
        .find_map(|attempt| attempt.outcome.as_ref().err())
        .cloned();
    let why = std::io::Error::other(why.unwrap_or_else(|| "no certificate was shown".to_owned()));
    ProbeError::NoTls(question.address, why)
}

fn trust(question: &Question, shown: &[CertificateDer<'static>], now: Timestamp) -> Trust {
    let Some(roots) = &question.roots else {
        return Trust::NotAsked;
    };
    let Some((leaf, intermediates)) = shown.split_first() else {
        return Trust::Untrusted("no certificate was shown".to_owned());
    };
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots.clone()), provider()).build();
    let verified = verifier
        .map_err(|error| error.to_string())
        .and_then(|verifier| {
            let verified =
                verifier.verify_server_cert(leaf, intermediates, &question.name, &[], unix(now));
            verified.map_err(|error| error.to_string())
        });
    match verified {
        Ok(_) => Trust::Trusted,
        Err(why) => Trust::Untrusted(why),
    }
}

/// Each good suite offered alone, in the versions that the port speaks.
async fn suites(question: &Question, versions: &[Attempt]) -> Vec<String> {
    let whole = provider();
    let mut accepted = Vec::new();
    for suite in &whole.cipher_suites {
        let version: &'static SupportedProtocolVersion = suite.version();
        let spoken = versions.iter().any(|attempt| {
            let same = attempt.version == handshake::version_name(version.version);
            same && attempt.outcome.is_ok()
        });
        if !spoken {
            continue;
        }
        let alone = CryptoProvider {
            cipher_suites: vec![*suite],
            ..(*whole).clone()
        };
        let tried = handshake::attempt(question, Arc::new(alone), version).await;
        if tried.outcome.is_ok() {
            accepted.push(handshake::suite_name(suite.suite()));
        }
    }
    accepted
}
