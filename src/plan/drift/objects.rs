//! ConfigMaps, Secrets and volume objects.

use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::Value;

use super::template::given;
use super::{Found, TOLD, author, by_policy, differences};
use crate::api::v1alpha1::DriftAnswer;
use crate::api::{ANNOTATION_APPLIED, ANNOTATION_SOURCE, DESIRED_KEY};
use crate::plan::keys;
use crate::plan::names::authority_secret;
use crate::plan::objects::{annotation, fingerprint, is_ours};
use crate::plan::observed::{Observed, SecretContent, WorkloadFacts};
use crate::tikv::tikv_toml::text_at;

/// The ConfigMap that the template was given.
pub(super) fn derived(observed: &Observed, facts: &WorkloadFacts) -> Vec<Found> {
    let Some(name) = given(facts) else {
        return Vec::new();
    };
    let found = |path: &str, what: &str, map: Option<&ConfigMap>| Found {
        kind: "ConfigMap",
        name: name.clone(),
        path: path.to_owned(),
        found: what.to_owned(),
        by: map.and_then(|map| author(&map.metadata)),
        answer: by_policy(observed),
    };
    match facts.config_maps.get(&name) {
        None => vec![found("", "deleted", None)],
        Some(map) => {
            let data = map.data.clone().unwrap_or_default();
            let same = !is_ours(observed, &map.metadata) || name.ends_with(&fingerprint(&data));
            let other = || vec![found("data", "made anew with another content", Some(map))];
            if same { Vec::new() } else { other() }
        }
    }
}

/// What the agents are told.
pub(super) fn agent_config(observed: &Observed) -> Vec<Found> {
    let name = crate::plan::names::agent_config(observed.name());
    let told = observed.resource.status.as_ref();
    let told = told.is_some_and(|status| status.encryption.is_some());
    let found = |path: String, what: String, map: Option<&ConfigMap>| Found {
        kind: "ConfigMap",
        name: name.clone(),
        path,
        found: what,
        by: map.and_then(|map| author(&map.metadata)),
        answer: by_policy(observed),
    };
    let Some(map) = &observed.agent_config else {
        let deleted = told && observed.resource.spec.encryption.is_some();
        let all = deleted.then(|| found(String::new(), "deleted".to_owned(), None));
        return all.into_iter().collect();
    };
    let Some(applied) = annotation(&map.metadata, ANNOTATION_APPLIED) else {
        return Vec::new();
    };
    let there = map.data.as_ref().and_then(|data| data.get(DESIRED_KEY));
    let path = format!("data[{DESIRED_KEY}]");
    let parse = |text: &str| serde_json::from_str::<Value>(text).ok();
    match there {
        None => vec![found(path, "absent".to_owned(), Some(map))],
        Some(there) if there == applied => Vec::new(),
        Some(there) => {
            let both = parse(there).zip(parse(applied));
            let mut fields = both.map_or_else(Vec::new, |(there, applied)| {
                let mut fields = differences(&there, &applied, "");
                let more = differences(&applied, &there, "");
                fields.extend(
                    more.into_iter()
                        .filter(|(_, what)| what == "absent")
                        .map(|(field, _)| (field, "added".to_owned())),
                );
                fields
            });
            if fields.is_empty() {
                fields.push((String::new(), "another text".to_owned()));
            }
            let all = fields.into_iter().take(TOLD).map(|(field, what)| {
                let place = [path.clone(), field].join(".");
                found(place.trim_end_matches('.').to_owned(), what, Some(map))
            });
            all.collect()
        }
    }
}

/// Leaf certificates. What would break connections is put back whatever the policy says.
pub(super) fn secrets(observed: &Observed) -> Vec<Found> {
    let status = observed.resource.status.as_ref();
    let known = |name: &str| {
        let mut certificates = status.iter().flat_map(|status| &status.certificates);
        certificates.any(|one| one.name == name)
    };
    let ca = observed.secrets.get(&authority_secret(observed.name()));
    let ca = ca.and_then(|secret| match &secret.content {
        SecretContent::Authority(facts) => Some(&facts.anchor),
        _ => None,
    });
    let mut all = Vec::new();
    for part in observed.parts() {
        let name = part.secret(observed.name());
        let secret = observed.secrets.get(&name);
        let (path, what, answer) = match secret.map(|secret| &secret.content) {
            None if known(&name) => ("", "deleted".to_owned(), DriftAnswer::PutBack),
            None => continue,
            Some(SecretContent::Unusable(why)) if known(&name) => {
                ("data", why.clone(), DriftAnswer::PutBack)
            }
            Some(SecretContent::Leaf {
                certificate,
                trusts,
                ..
            }) => {
                let applied = secret.and_then(|one| annotation(&one.metadata, ANNOTATION_APPLIED));
                let trusted =
                    ca.is_none_or(|ca| trusts.iter().any(|one| one.public_key == ca.public_key));
                match applied {
                    Some(serial) if serial != certificate.serial => {
                        let what = format!("another certificate, serial {}", certificate.serial);
                        let named = certificate.common_name.as_deref()
                            == Some(&*part.common_name(observed.name(), observed.namespace()));
                        let harmless = trusted && named;
                        let answer = if harmless {
                            by_policy(observed)
                        } else {
                            DriftAnswer::PutBack
                        };
                        ("data[tls.crt]", what, answer)
                    }
                    Some(_) if !trusted => {
                        let what = "it lacks this cluster's CA".to_owned();
                        ("data[ca.crt]", what, DriftAnswer::PutBack)
                    }
                    _ => continue,
                }
            }
            Some(_) => continue,
        };
        all.push(Found {
            kind: "Secret",
            name,
            path: path.to_owned(),
            found: what,
            by: secret.and_then(|secret| author(&secret.metadata)),
            answer,
        });
    }
    all
}

/// Volume objects. One of an older generation is only behind.
pub(super) fn volumes(observed: &Observed) -> Vec<Found> {
    let Some(told) = keys::told(observed.agent_config.as_ref()) else {
        return Vec::new();
    };
    let mut all = Vec::new();
    for (name, volume) in &observed.volumes {
        let (spec, state) = (&volume.spec, &told.state);
        let same = spec.generation == state.generation;
        let field = match () {
            () if spec.security != observed.name() => "spec.security",
            () if spec.pod != *name => "spec.pod",
            () if same && spec.method != state.method => "spec.method",
            () if same && spec.data_key_not_before != state.data_key_not_before => {
                "spec.dataKeyNotBefore"
            }
            () if same && spec.reencrypt != state.reencrypt => "spec.reencrypt",
            () => continue,
        };
        all.push(Found {
            kind: "TikvVolume",
            name: name.clone(),
            path: field.to_owned(),
            found: "something else than the agents are told".to_owned(),
            by: author(&volume.metadata),
            answer: by_policy(observed),
        });
    }
    all
}

/// Settings of TiKV's security in the ConfigMap that a person wrote, which the derived one says otherwise.
pub(super) fn overridden(observed: &Observed) -> Vec<Found> {
    const SETTINGS: [&[&str]; 5] = [
        &["security", "ca-path"],
        &["security", "cert-path"],
        &["security", "key-path"],
        &["security", "encryption", "data-encryption-method"],
        &["security", "encryption", "master-key", "type"],
    ];
    let facts = &observed.tikv;
    let derived = given(facts).and_then(|name| facts.config_maps.get(&name));
    let source = derived.and_then(|map| annotation(&map.metadata, ANNOTATION_SOURCE));
    let source = source.and_then(|name| facts.config_maps.get(name));
    let (Some(derived), Some(source)) = (derived, source) else {
        return Vec::new();
    };
    let mut all = Vec::new();
    for (key, text) in source.data.iter().flatten() {
        let ours = derived.data.as_ref().and_then(|data| data.get(key));
        for setting in SETTINGS {
            let there = text_at(text, setting).ok().flatten();
            let wanted = ours.and_then(|ours| text_at(ours, setting).ok().flatten());
            let (Some(there), Some(wanted)) = (there, wanted) else {
                continue;
            };
            if there != wanted {
                all.push(Found {
                    kind: "ConfigMap",
                    name: source.metadata.name.clone().unwrap_or_default(),
                    path: format!("data[{key}].{}", setting.join(".")),
                    found: format!("{there:?} where {wanted:?} is in force"),
                    by: author(&source.metadata),
                    answer: DriftAnswer::Overridden,
                });
            }
        }
    }
    all
}
