//! gRPC's framing.

use std::convert::Infallible;

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::{BodyExt, StreamBody, combinators::BoxBody};
use hyper::HeaderMap;
use hyper::Response;
use hyper::body::{Frame, Incoming};
use hyper::header::HeaderValue;
use tokio::sync::mpsc::Receiver;

/// Status codes of gRPC that are in use.
pub const UNKNOWN: u32 = 2;
pub const INVALID_ARGUMENT: u32 = 3;
pub const FAILED_PRECONDITION: u32 = 9;
pub const UNIMPLEMENTED: u32 = 12;
pub const UNAVAILABLE: u32 = 14;
pub const UNAUTHENTICATED: u32 = 16;

const KIND: &str = "application/grpc";

/// What every response is made of.
pub type Body = BoxBody<Bytes, Infallible>;

/// A message: a flag, the length, the bytes.
pub fn framed(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    [&[0], &length.to_be_bytes()[..], body].concat()
}

/// Cuts a body into messages as they come.
pub struct Messages {
    body: Incoming,
    pending: BytesMut,
}

impl Messages {
    pub fn new(body: Incoming) -> Self {
        Self {
            body,
            pending: BytesMut::new(),
        }
    }

    /// The next message; `None` at the end, and when the caller is gone.
    pub async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(length) = self.pending.get(1..5) {
                let length = u32::from_be_bytes(length.try_into().unwrap_or_default());
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                if self.pending.len() - 5 >= length {
                    self.pending.advance(5);
                    return Some(self.pending.split_to(length).freeze());
                }
            }
            let frame = self.body.frame().await?.ok()?;
            if let Ok(data) = frame.into_data() {
                self.pending.extend_from_slice(&data);
            }
        }
    }
}

/// A response with one message, or a failure.
pub fn unary(outcome: Result<Vec<u8>, (u32, String)>) -> Response<Body> {
    let frames = match outcome {
        Ok(body) => vec![
            Ok(Frame::data(Bytes::from(framed(&body)))),
            Ok(Frame::trailers(trailers(0))),
        ],
        Err((code, message)) => {
            let mut response = Response::new(http_body_util::Empty::new().boxed());
            let headers = response.headers_mut();
            headers.extend(trailers(code));
            headers.insert("content-type", HeaderValue::from_static(KIND));
            let message = message.replace(
                |letter: char| !(' '..='~').contains(&letter) || letter == '%',
                " ",
            );
            headers.insert(
                "grpc-message",
                HeaderValue::from_str(&message).unwrap_or(HeaderValue::from_static("")),
            );
            return response;
        }
    };
    with_kind(BodyExt::boxed(StreamBody::new(futures_util::stream::iter(
        frames,
    ))))
}

/// A response with the messages of a channel.
pub fn streaming(mut messages: Receiver<Result<Vec<u8>, (u32, String)>>) -> Response<Body> {
    let mut over = false;
    let frames = futures_util::stream::poll_fn(move |context| {
        if over {
            return std::task::Poll::Ready(None);
        }
        messages.poll_recv(context).map(|message| {
            Some(Ok(match message {
                Some(Ok(body)) => Frame::data(Bytes::from(framed(&body))),
                Some(Err((code, _))) => {
                    over = true;
                    Frame::trailers(trailers(code))
                }
                None => {
                    over = true;
                    Frame::trailers(trailers(0))
                }
            }))
        })
    });
    with_kind(BodyExt::boxed(StreamBody::new(frames)))
}

fn with_kind(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert("content-type", HeaderValue::from_static(KIND));
    response
}

fn trailers(code: u32) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from(code));
    trailers
}
