//! The port for MySQL clients: greeting, TLS where it is asked for, login as `root` without a password, `COM_PING`.

use std::pin::Pin;
use std::sync::Arc;

use openssl::ssl::Ssl;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_openssl::SslStream;

use crate::Result;
use crate::net::tls::Acceptor;

const SSL: u32 = 0x0800;
// CLIENT_PROTOCOL_41, CLIENT_SECURE_CONNECTION, CLIENT_PLUGIN_AUTH and what else TiDB always says.
const CAPABILITIES: u32 = 0x0008_a207;
const QUIT: u8 = 1;
const PING: u8 = 14;

/// Serves for ever; without `tls` the greeting does not offer it.
pub async fn serve(address: &str, tls: Option<Arc<Acceptor>>) -> Result<()> {
    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| format!("cannot listen on {address}: {error}"))?;
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let tls = tls.clone();
        // A caller that goes away is no event.
        tokio::spawn(async move { drop(converse(stream, tls).await) });
    }
}

async fn converse(mut stream: TcpStream, tls: Option<Arc<Acceptor>>) -> std::io::Result<()> {
    write(&mut stream, 0, &greeting(tls.is_some())).await?;
    let (number, first) = read(&mut stream).await?;
    let flags = first.get(..4).map_or(0, |bytes| {
        u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
    });
    if flags & SSL == 0 {
        return session(stream, number, &first).await;
    }
    let current = tls.and_then(|tls| tls.current());
    let current = current.ok_or_else(|| std::io::Error::other("no TLS"))?;
    let ssl = Ssl::new(current.context()).map_err(std::io::Error::other)?;
    let mut stream = SslStream::new(ssl, stream).map_err(std::io::Error::other)?;
    Pin::new(&mut stream)
        .accept()
        .await
        .map_err(std::io::Error::other)?;
    let (number, login) = read(&mut stream).await?;
    session(stream, number, &login).await
}

async fn session<S>(mut stream: S, number: u8, login: &[u8]) -> std::io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // Flags (4), packet size (4), character set (1), 23 bytes; then the name.
    let name = login.get(32..).unwrap_or_default();
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    if name != b"root" {
        return write(&mut stream, number + 1, &refusal(1045, "Access denied")).await;
    }
    write(&mut stream, number + 1, OK).await?;
    loop {
        let (number, command) = read(&mut stream).await?;
        match command.first() {
            None | Some(&QUIT) => return Ok(()),
            Some(&PING) => write(&mut stream, number + 1, OK).await?,
            Some(_) => {
                let answer = refusal(1105, "a stand-in knows no SQL");
                write(&mut stream, number + 1, &answer).await?;
            }
        }
    }
}

const OK: &[u8] = &[0, 0, 0, 2, 0, 0, 0];

fn refusal(code: u16, text: &str) -> Vec<u8> {
    [&[0xff], &code.to_le_bytes()[..], b"#HY000", text.as_bytes()].concat()
}

fn greeting(tls: bool) -> Vec<u8> {
    let flags = if tls {
        CAPABILITIES | SSL
    } else {
        CAPABILITIES
    }
    .to_le_bytes();
    let mut text = vec![10];
    text.extend(b"8.0.11-TiDB-v8.5.7-standin\0");
    text.extend([1, 0, 0, 0]);
    text.extend(b"standin0\0");
    text.extend(&flags[..2]);
    text.extend([45, 2, 0]);
    text.extend(&flags[2..]);
    text.push(21);
    text.extend([0; 10]);
    text.extend(b"standin01234\0mysql_native_password\0");
    text
}

async fn write<S: AsyncWrite + Unpin>(
    stream: &mut S,
    number: u8,
    text: &[u8],
) -> std::io::Result<()> {
    let length = u32::try_from(text.len()).unwrap_or_default().to_le_bytes();
    let packet = [&length[..3], &[number], text].concat();
    stream.write_all(&packet).await?;
    stream.flush().await
}

async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> std::io::Result<(u8, Vec<u8>)> {
    let mut header = [0_u8; 4];
    stream.read_exact(&mut header).await?;
    let length = u32::from_le_bytes([header[0], header[1], header[2], 0]);
    let mut text = vec![0; usize::try_from(length.min(65_536)).unwrap_or_default()];
    stream.read_exact(&mut text).await?;
    Ok((header[3], text))
}
