//! The PKI engine of an OpenBao.

use serde_json::json;

use super::openbao::OpenBao;

/// An engine with an intermediate CA under a root of another engine, and roles.
pub fn engine(server: &OpenBao) {
    for mount in ["root", "pki"] {
        let kind = json!({"type": "pki", "config": {"max_lease_ttl": "87600h"}});
        server.root("POST", &format!("sys/mounts/{mount}"), &kind);
    }
    let root = json!({"common_name": "Company Root", "ttl": "8000h", "key_type": "ec"});
    server.root("POST", "root/root/generate/internal", &root);
    intermediate(server, "Company Issuing");
    let role = |server_flag: bool| {
        json!({
            "allow_any_name": true, "allow_ip_sans": true,
            "server_flag": server_flag, "client_flag": true,
            "key_usage": ["DigitalSignature"], "key_type": "any", "max_ttl": "720h",
        })
    };
    server.root("POST", "pki/roles/tikv", &role(true));
    server.root("POST", "pki/roles/clients", &role(false));
    let mut narrow = role(true);
    narrow["allow_any_name"] = json!(false);
    narrow["allowed_domains"] = json!(["shop.example"]);
    server.root("POST", "pki/roles/narrow", &narrow);
    server.policy(
        "operator",
        r#"path "pki/sign/*" { capabilities = ["update"] }"#,
    );
}

/// Another intermediate CA, which is the default from now on.
pub fn intermediate(server: &OpenBao, name: &str) {
    let wanted = json!({"common_name": name, "key_type": "ec"});
    let made = server.root("POST", "pki/intermediate/generate/internal", &wanted);
    let csr = json!({"csr": made["data"]["csr"], "common_name": name, "ttl": "4000h"});
    let signed = server.root("POST", "root/root/sign-intermediate", &csr);
    let chain: Vec<&str> = signed["data"]["ca_chain"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one.as_str().unwrap())
        .collect();
    let set = json!({"certificate": chain.join("\n")});
    let set = server.root("POST", "pki/intermediate/set-signed", &set);
    let imported = set["data"]["imported_issuers"].as_array().unwrap();
    let mapping = set["data"]["mapping"].as_object().unwrap();
    // The one that has a key is to sign.
    let issuer = imported.iter().find(|id| {
        mapping[id.as_str().unwrap()]
            .as_str()
            .is_some_and(|key| !key.is_empty())
    });
    let default = json!({"default": issuer.unwrap()});
    server.root("POST", "pki/config/issuers", &default);
}
