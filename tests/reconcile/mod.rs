//! What the reconcile tests share.
#![allow(dead_code, missing_docs, clippy::unwrap_used)]

pub mod apiserver;
pub mod calls;
pub mod kms;
pub mod lives;
pub mod node;
pub mod pd;
pub mod server;
pub mod world;

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::{Client, Config};

/// A client whose config may be changed, in a namespace of its own.
pub async fn namespace(config: Config) -> (Client, String) {
    let client = Client::try_from(config).unwrap();
    let wanted = Namespace {
        metadata: ObjectMeta {
            generate_name: Some("test-".to_owned()),
            ..ObjectMeta::default()
        },
        ..Namespace::default()
    };
    let made = Api::<Namespace>::all(client.clone())
        .create(&PostParams::default(), &wanted)
        .await
        .unwrap();
    (client, made.metadata.name.unwrap())
}
