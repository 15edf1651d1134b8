//! Against a small server: what goes over the wire, and each way in which a call can end.

use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use tokio::net::TcpListener;

use super::{ColumnFamily, CompactRequest, DebugError, DebugService};
use crate::tikv::http::Endpoint;

type Seen = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

/// A server whose calls end as `handler` says: with a status of gRPC and its text.
pub(crate) async fn played<H, F>(handler: H) -> DebugService
where
    H: Fn(String, Vec<u8>) -> F + Clone + Send + 'static,
    F: Future<Output = (&'static str, &'static str)> + Send,
{
    played_as(handler, true).await
}

/// The status comes in trailers after a message or, without one, at once.
async fn played_as<H, F>(handler: H, message: bool) -> DebugService
where
    H: Fn(String, Vec<u8>) -> F + Clone + Send + 'static,
    F: Future<Output = (&'static str, &'static str)> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let handler = handler.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let handler = handler.clone();
                async move {
                    let path = request.uri().path().to_owned();
                    assert_eq!(request.headers()["content-type"], "application/grpc");
                    assert_eq!(request.headers()["te"], "trailers");
                    let body = request.into_body().collect().await?.to_bytes();
                    let (code, text) = handler(path, body.to_vec()).await;
                    let mut status = HeaderMap::new();
                    status.insert("grpc-status", code.parse().unwrap());
                    status.insert("grpc-message", text.parse().unwrap());
                    let frames = if message {
                        let data = Frame::data(Bytes::from_static(&[0; 5]));
                        vec![data, Frame::trailers(status.clone())]
                    } else {
                        Vec::new()
                    };
                    let frames = frames.into_iter().map(Ok::<_, hyper::Error>);
                    let body = StreamBody::new(futures::stream::iter(frames));
                    let mut response = Response::new(BodyExt::boxed_unsync(body));
                    if !message {
                        response.headers_mut().extend(status);
                    }
                    Ok::<_, hyper::Error>(response)
                }
            });
            tokio::spawn(
                hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(socket), service),
            );
        }
    });
    client(port)
}

async fn server(code: &'static str, text: &'static str, message: bool) -> (DebugService, Seen) {
    let seen = Seen::default();
    let log = seen.clone();
    let handler = move |path, body| {
        log.lock().unwrap().push((path, body));
        std::future::ready((code, text))
    };
    (played_as(handler, message).await, seen)
}

fn client(port: u16) -> DebugService {
    DebugService {
        endpoint: Endpoint::new("127.0.0.1", port),
        tls: None,
    }
}

#[tokio::test]
async fn a_compaction_is_asked_for_as_kvproto_has_it() {
    let (service, seen) = server("0", "", true).await;
    let threads = 3.try_into().unwrap();
    service.compact(ColumnFamily::Write, threads).await.unwrap();
    service.settled().await.unwrap();
    let seen = seen.lock().unwrap().clone();
    assert_eq!(seen[0].0, "/debugpb.Debug/Compact");
    // Frame; db = KV, cf = "write", threads = 3, bottommost_level_compaction = Force.
    let message = b"\x08\x01\x12\x05write\x28\x03\x30\x01";
    assert_eq!(seen[0].1[..5], [0, 0, 0, 0, 13]);
    assert_eq!(&seen[0].1[5..], message);
    assert_eq!(CompactRequest::decode(&message[..]).unwrap().cf, "write");
    assert_eq!(
        seen[1],
        ("/debugpb.Debug/GetStoreInfo".to_owned(), vec![0; 5])
    );
}

#[tokio::test]
async fn a_refusal_tells_who_refused_what_and_why() {
    for message in [true, false] {
        let (service, _) = server("3", "invalid cf raft", message).await;
        let error = service
            .compact(ColumnFamily::Raft, 1.try_into().unwrap())
            .await;
        let error = error.unwrap_err();
        assert!(error.is_unknown());
        let text = error.to_string();
        for part in ["127.0.0.1", "Compact", "3", "invalid cf raft"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
    let (service, _) = server("2", "disk full", true).await;
    assert!(!service.settled().await.unwrap_err().is_unknown());
}

#[tokio::test]
async fn silence_and_nonsense_are_no_success() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        use tokio::io::AsyncWriteExt as _;
        while let Ok((mut socket, _)) = listener.accept().await {
            let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let error = client(port).settled().await.unwrap_err();
    assert!(matches!(error, DebugError::Http(_)), "{error}");
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let error = client(port).settled().await.unwrap_err();
    assert!(
        error.to_string().contains("can not be connected"),
        "{error}"
    );
}

#[tokio::test]
async fn an_answer_of_http_without_a_status_of_grpc_is_no_success() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let service = service_fn(|_| async {
                Ok::<_, hyper::Error>(Response::new(Full::new(Bytes::from_static(b"hello"))))
            });
            tokio::spawn(
                hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(socket), service),
            );
        }
    });
    let error = client(port).settled().await.unwrap_err();
    assert!(error.to_string().contains("without a status"), "{error}");
}
