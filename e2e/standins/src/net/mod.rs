//! HTTP/1.1, HTTP/2 and gRPC, plaintext and TLS.

pub mod client;
pub mod server;
pub mod stream;
pub mod tls;
