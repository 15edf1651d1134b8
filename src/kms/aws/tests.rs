//! The classes of failures, told by a server that answers what it is given.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::{AwsKms, Settings, StaticCredentials};
use crate::kms::{Class, Kms, KmsError};

/// Answers every request with `status` and the error `code`; gives its URL.
async fn answering(status: u16, code: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut request = [0; 8192];
            let _ = socket.read(&mut request).await;
            let body = if code.is_empty() {
                "<html>".to_owned()
            } else {
                format!(r#"{{"__type":"{code}","message":"said so"}}"#)
            };
            let head = format!(
                "HTTP/1.1 {status} X\r\ncontent-type: application/x-amz-json-1.1\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            let _ = socket.write_all((head + &body).as_bytes()).await;
        }
    });
    url
}

fn kms(endpoint: String) -> AwsKms {
    AwsKms::new(Settings {
        key_id: "alias/stores".to_owned(),
        region: Some("eu-central-1".to_owned()),
        endpoint: Some(endpoint),
        credentials: Some(StaticCredentials::new("id", "do-not-print", None)),
    })
}

async fn failure(status: u16, code: &'static str) -> KmsError {
    kms(answering(status, code).await)
        .unwrap(b"blob")
        .await
        .unwrap_err()
}

#[tokio::test]
async fn each_failure_keeps_its_class() {
    for (status, code, class) in [
        (400, "AccessDeniedException", Class::Denied),
        (400, "UnrecognizedClientException", Class::Denied),
        (400, "IncorrectKeyException", Class::WrongKey),
        (400, "InvalidCiphertextException", Class::WrongKey),
        (400, "NotFoundException", Class::NotFound),
        (400, "DisabledException", Class::Disabled),
        (400, "KMSInvalidStateException", Class::Disabled),
        (400, "ThrottlingException", Class::Unavailable),
        (500, "KMSInternalException", Class::Unavailable),
        (400, "ValidationException", Class::Malformed),
        (503, "", Class::Unavailable),
        (404, "", Class::Malformed),
        (403, "", Class::Denied),
        (200, "", Class::Malformed),
    ] {
        let error = failure(status, code).await;
        assert_eq!(error.class, class, "{status} {code}: {error}");
    }
}

#[tokio::test]
async fn a_message_names_the_key_and_the_cause() {
    let error = failure(400, "AccessDeniedException").await;
    assert_eq!(
        error.to_string(),
        "KMS key alias/stores refuses access: AccessDeniedException: said so"
    );
    assert!(error.remedy().contains("kms:Decrypt"));
}

#[tokio::test]
async fn nobody_listening_is_an_outage() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = kms(url).describe().await.unwrap_err();
    assert_eq!(error.class, Class::Unavailable, "{error}");
}

#[test]
fn credentials_are_never_shown() {
    let shown = format!("{:?}", kms("http://localhost".to_owned()));
    assert!(!shown.contains("do-not-print"), "{shown}");
}
