//! A KMS that answers as it is told, in AWS's protocol.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::server::{Identity, serve};

/// What the KMS answers to each request.
pub type Answer = Arc<Mutex<(u16, Value)>>;

/// A KMS on an address of its own.
pub struct Kms {
    /// Where it is.
    pub endpoint: String,
    /// What it says.
    pub answer: Answer,
    server: JoinHandle<()>,
}

impl Drop for Kms {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Kms {
    /// Starts it.
    pub fn start(address: SocketAddr) -> Self {
        let answer: Answer = Arc::new(Mutex::new((500, json!({}))));
        let said = answer.clone();
        let handler = Arc::new(move |_: &str, _: &str| {
            let (code, body) = said.lock().unwrap().clone();
            (code, body.to_string())
        });
        Self {
            endpoint: format!("http://{address}"),
            answer,
            server: serve(address, Identity::default(), handler),
        }
    }

    /// From now on.
    pub fn say(&self, code: u16, body: Value) {
        *self.answer.lock().unwrap() = (code, body);
    }
}
