//! The members' peer URLs, which PD keeps in etcd and not in its configuration (facts, TLS §1.5).

use hyper::Method;
use serde::Deserialize;
use serde_json::json;

use super::client::{PdClient, PdError, parse, succeed};

const LIST: &str = "/v3/cluster/member/list";
const UPDATE: &str = "/v3/cluster/member/update";

/// A member as etcd stores it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct EtcdMember {
    /// Identifier, a decimal number as text.
    #[serde(rename = "ID")]
    pub id: String,
    /// Name; empty while it was never started.
    pub name: String,
    /// URLs at which its peers dial it.
    #[serde(rename = "peerURLs")]
    pub peer_urls: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct List {
    members: Vec<EtcdMember>,
}

impl PdClient {
    /// The members as etcd stores them.
    pub async fn etcd_members(&self) -> Result<Vec<EtcdMember>, PdError> {
        let answer = self.ask(Method::POST, LIST, Some(json!({}))).await?;
        succeed(&Method::POST, LIST, &answer)?;
        parse(LIST, &answer).map(|list: List| list.members)
    }

    /// Replaces a member's peer URLs; the running streams stay up (facts, TLS §1.5).
    pub async fn set_peer_urls(&self, id: &str, urls: &[String]) -> Result<(), PdError> {
        let body = json!({"ID": id, "peerURLs": urls});
        self.write(Method::POST, UPDATE, Some(body)).await
    }
}
