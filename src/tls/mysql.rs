//! The few bytes of MySQL's protocol that come before TLS (MySQL client/server protocol, `Protocol::HandshakeV10` and
//! `Protocol::SSLRequest`): the server speaks first, in plaintext, and TLS begins when the client has asked for it.

use std::io::{Error, ErrorKind};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Longest greeting that is read; real ones have about a hundred bytes.
const LONGEST: usize = 4096;
/// The version of the protocol that MySQL 3.21 and later speak, TiDB included.
const PROTOCOL: u8 = 10;
/// First byte of a refusal, such as "too many connections".
const REFUSAL: u8 = 0xff;
/// The server, or the client, can go over to TLS.
const SSL: u16 = 0x0800;

/// `CLIENT_PROTOCOL_41`, `CLIENT_SSL`, `CLIENT_SECURE_CONNECTION`, `CLIENT_PLUGIN_AUTH`; packets of 16 MiB; UTF-8; then 23 bytes without
/// a meaning. The first four bytes are the header: length 32, second packet of the exchange.
const SSL_REQUEST: [u8; 36] = request(32, 1);

/// The first message within TLS: as before, and a user without name and password. It is answered with a refusal, which is an answer.
pub(super) const NOBODY: [u8; 38] = {
    let head: [u8; 36] = request(34, 2);
    let mut whole = [0_u8; 38];
    let mut at = 0;
    while at < head.len() {
        whole[at] = head[at];
        at += 1;
    }
    whole
};

const fn request(length: u8, number: u8) -> [u8; 36] {
    let mut packet = [0_u8; 36];
    packet[0] = length;
    packet[3] = number;
    // 0x0008_8a00, least significant byte first.
    packet[5] = 0x8a;
    packet[6] = 0x08;
    packet[11] = 0x01;
    packet[12] = 45;
    packet
}

/// Brings a new connection to where TLS begins.
///
/// # Errors
/// When the server says nothing that is a greeting, refuses, or has no TLS; in words for a person, without what it said.
pub(super) async fn ask_for_tls(stream: &mut TcpStream) -> Result<(), Error> {
    let mut header = [0_u8; 4];
    stream.read_exact(&mut header).await?;
    let length =
        usize::from(header[0]) | usize::from(header[1]) << 8 | usize::from(header[2]) << 16;
    if length == 0 || length > LONGEST {
        return Err(Error::new(
            ErrorKind::InvalidData,
            "it does not greet as MySQL does",
        ));
    }
    let mut greeting = vec![0_u8; length];
    stream.read_exact(&mut greeting).await?;
    offers_tls(&greeting)?;
    stream.write_all(&SSL_REQUEST).await?;
    stream.flush().await
}

/// Whether the greeting has TLS among what the server can do.
fn offers_tls(greeting: &[u8]) -> Result<(), Error> {
    let invalid = || Error::new(ErrorKind::InvalidData, "it does not greet as MySQL does");
    match greeting.first() {
        Some(&PROTOCOL) => {}
        Some(&REFUSAL) => {
            let code = greeting.get(1..3).ok_or_else(invalid)?;
            let code = u16::from_le_bytes([code[0], code[1]]);
            return Err(Error::other(format!(
                "it refuses connections, MySQL error {code}"
            )));
        }
        _ => return Err(invalid()),
    }
    let version = greeting.iter().skip(1).position(|byte| *byte == 0);
    // After the version: connection id (4), first part of the challenge (8), a zero.
    let at = version.map(|length| 1 + length + 1 + 4 + 8 + 1);
    let flags = at
        .and_then(|at| greeting.get(at..at + 2))
        .ok_or_else(invalid)?;
    if u16::from_le_bytes([flags[0], flags[1]]) & SSL == 0 {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "its MySQL offers no TLS",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// As TiDB 8.5 greets, with these flags.
    fn greeting(flags: u16) -> Vec<u8> {
        let mut text = vec![PROTOCOL];
        text.extend(b"8.0.11-TiDB-v8.5.0\0");
        text.extend([1, 0, 0, 0]);
        text.extend(b"challeng\0");
        text.extend(flags.to_le_bytes());
        text.extend([45, 2, 0, 0x8f, 0x19, 21]);
        text.extend([0; 10]);
        text.extend(b"e-and-rest--\0mysql_native_password\0");
        text
    }

    #[test]
    fn what_it_can_do_is_read_behind_a_version_of_any_length() {
        assert!(offers_tls(&greeting(SSL | 0x8287)).is_ok());
        let plain = offers_tls(&greeting(0x8287)).unwrap_err();
        assert_eq!(plain.to_string(), "its MySQL offers no TLS");
    }

    #[test]
    fn a_refusal_is_told_by_its_number_alone() {
        let refusal = [&[REFUSAL, 0x10, 0x04][..], b"#08004Too many connections"].concat();
        let told = offers_tls(&refusal).unwrap_err().to_string();
        assert_eq!(told, "it refuses connections, MySQL error 1040");
    }

    #[test]
    fn whatever_else_is_said_is_no_greeting() {
        let whole = greeting(SSL);
        for length in 0..34 {
            assert!(offers_tls(&whole[..length]).is_err(), "{length}");
        }
        for text in [&b"HTTP/1.1 400 Bad Request"[..], &[PROTOCOL], &[REFUSAL]] {
            assert!(offers_tls(text).is_err());
        }
    }

    #[tokio::test]
    async fn tls_begins_after_one_request() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let text = greeting(SSL);
            let mut packet = vec![u8::try_from(text.len()).unwrap(), 0, 0, 0];
            packet.extend(text);
            stream.write_all(&packet).await.unwrap();
            let mut asked = [0_u8; 36];
            stream.read_exact(&mut asked).await.unwrap();
            asked
        });
        let mut stream = TcpStream::connect(address).await.unwrap();
        ask_for_tls(&mut stream).await.unwrap();
        let asked = server.await.unwrap();
        assert_eq!(asked[..4], [32, 0, 0, 1]);
        let flags = u32::from_le_bytes([asked[4], asked[5], asked[6], asked[7]]);
        assert_eq!(flags, 0x0008_8a00, "TLS, protocol 4.1");
        assert!(asked[13..].iter().all(|byte| *byte == 0));
    }
}
