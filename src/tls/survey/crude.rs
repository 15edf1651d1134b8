//! What no port should accept: plaintext, TLS before 1.2, suites that are broken. No library offers these any more, so the
//! first message is written here; nothing beyond the first answer is read.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::Question;
use super::handshake::{PREFACE, REQUEST};
use crate::tls::probe::Protocol;

/// Something that must be refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crude {
    /// What was offered.
    pub what: &'static str,
    /// True when the port went along.
    pub accepted: bool,
}

/// Suites with CBC, RC4, 3DES, a static RSA key or no authentication (RFC 9325 §4.2, RFC 7465).
const WEAK: [u16; 14] = [
    0xc009, 0xc00a, 0xc013, 0xc014, 0xc023, 0xc024, 0xc027, 0xc028, // CBC
    0x002f, 0x0035, 0x009c, 0x009d, // static RSA
    0x000a, 0x0005, // 3DES, RC4
];

/// Everything that must be refused, tried once each.
pub(super) async fn all(question: &Question) -> Vec<Crude> {
    let mut found = Vec::new();
    if let Some(accepted) = plaintext(question).await {
        let what = "plaintext";
        found.push(Crude { what, accepted });
    }
    for (what, version) in [
        ("TLS 1.0", 0x0301),
        ("TLS 1.1", 0x0302),
        ("weak suites in TLS 1.2", 0x0303),
    ] {
        let answer = exchange(question, &hello(version)).await;
        found.push(Crude {
            what,
            accepted: is_server_hello(&answer),
        });
    }
    found
}

/// `None` for MySQL, which begins in plaintext; whether a login may stay there is a matter of accounts.
async fn plaintext(question: &Question) -> Option<bool> {
    let words = match question.protocol {
        Protocol::Grpc => PREFACE,
        Protocol::Http => REQUEST,
        Protocol::Mysql => return None,
    };
    let answer = exchange(question, words).await;
    Some(match question.protocol {
        // A SETTINGS frame.
        Protocol::Grpc => answer.len() >= 9 && answer[3] == 4,
        // PD's server answers in plaintext that it wants TLS.
        _ => {
            let text = String::from_utf8_lossy(&answer);
            text.starts_with("HTTP/") && !text.contains("HTTPS server")
        }
    })
}

/// The first bytes of the answer; none when there was none.
async fn exchange(question: &Question, words: &[u8]) -> Vec<u8> {
    let work = async {
        let mut stream = question.protocol.open(question.address).await?;
        stream.write_all(words).await?;
        let mut answer = vec![0_u8; 512];
        let read = stream.read(&mut answer).await?;
        answer.truncate(read);
        Ok::<_, std::io::Error>(answer)
    };
    match tokio::time::timeout(question.patience, work).await {
        Ok(Ok(answer)) => answer,
        _ => Vec::new(),
    }
}

/// A record of type 22 (handshake) with a message of type 2 (RFC 5246 §7.4).
fn is_server_hello(answer: &[u8]) -> bool {
    answer.len() > 5 && answer[0] == 22 && answer[5] == 2
}

/// A `ClientHello` of `version` with weak suites only (RFC 5246 §7.4.1.2).
fn hello(version: u16) -> Vec<u8> {
    let extensions: [&[u8]; 3] = [
        // supported_groups: P-256, P-384
        &[0, 10, 0, 6, 0, 4, 0, 23, 0, 24],
        // ec_point_formats: uncompressed
        &[0, 11, 0, 2, 1, 0],
        // signature_algorithms: ECDSA and RSA with SHA-256 and SHA-1
        &[0, 13, 0, 10, 0, 8, 4, 3, 4, 1, 2, 3, 2, 1],
    ];
    let extensions = extensions.concat();
    let mut body = version.to_be_bytes().to_vec();
    // Nothing is agreed upon with it, so it need not be random.
    body.extend([0x5a; 32]);
    body.push(0);
    body.extend(length(WEAK.len() * 2));
    body.extend(WEAK.iter().flat_map(|suite| suite.to_be_bytes()));
    body.extend([1, 0]);
    body.extend(length(extensions.len()));
    body.extend(extensions);
    let mut message = vec![1, 0];
    message.extend(length(body.len()));
    message.extend(body);
    let mut record = vec![22, 3, 1];
    record.extend(length(message.len()));
    record.extend(message);
    record
}

/// Lengths here are far below 65,536.
fn length(length: usize) -> [u8; 2] {
    u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes()
}
