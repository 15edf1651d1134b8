//! What the agents are told: the desired state, its generation and since when it holds. All of it is read back from
//! the ConfigMap itself, so that losing the status loses nothing.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;

use super::compaction;
use super::desired::{Blocker, EncryptionDesired};
use super::names::{Part, agent_config};
use super::objects::{annotation, is_ours, metadata};
use super::observed::Observed;
use crate::api::desired::DesiredState;
use crate::api::v1alpha1::ReencryptionPolicy;
use crate::api::{ANNOTATION_ROTATION, ANNOTATION_SINCE, DESIRED_KEY};

/// The desired state of the agents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// What they read.
    pub state: DesiredState,
    /// Since when. A pod made before has not tried it.
    pub since: Timestamp,
}

/// What they should be told, and the ConfigMap to apply when that is new.
pub fn tell(
    observed: &Observed,
    encryption: &EncryptionDesired,
    now: Timestamp,
) -> Result<(Told, Option<ConfigMap>), Blocker> {
    let name = agent_config(observed.name());
    if let Some(map) = &observed.agent_config
        && !is_ours(observed, &map.metadata)
    {
        return Err(Blocker::new(
            "ForeignObject",
            format!("ConfigMap {name} exists and was not made for this TikvSecurity"),
            "Rename or delete it, or give the TikvSecurity another name.",
        ));
    }
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    let request = observed
        .resource
        .spec
        .rotate
        .data_key
        .clone()
        .unwrap_or_default();
    let before = told(observed.agent_config.as_ref());
    let method = encryption.config.method;
    let mut state = DesiredState {
        generation: 1,
        method,
        data_key_not_before: None,
        reencrypt: encryption.policy != ReencryptionPolicy::Never,
        verification: encryption.verification,
        limits: encryption.limits,
        decrypt: !method.encrypts(),
        compaction: compaction::order(encryption, before.as_ref()),
        allowed_names: vec![Part::Client.common_name(observed.name(), observed.namespace())],
    };
    let mut since = now;
    if let Some(before) = &before {
        let answered = observed
            .agent_config
            .as_ref()
            .and_then(|map| annotation(&map.metadata, ANNOTATION_ROTATION));
        let asked = answered.unwrap_or_default() != request && !request.is_empty();
        let base = before.state.data_key_not_before.unwrap_or(before.since);
        let passed = encryption.policy == ReencryptionPolicy::Always
            && now.duration_since(base) >= encryption.rotation_period;
        state.data_key_not_before = before.state.data_key_not_before;
        if (asked || passed) && method.encrypts() {
            state.data_key_not_before = Some(now);
        }
        if passed && !asked && state.compaction.is_some() {
            // Keys that TiKV has made itself meanwhile are new enough: nothing has to be waited for.
            let since = compaction::present_keys_since(observed);
            state.data_key_not_before = before.state.data_key_not_before.max(since);
        }
        state.generation = before.state.generation;
        if state == before.state {
            since = before.since;
        } else {
            state.generation += 1;
        }
        let told = Told { state, since };
        let turn = compaction::turn(observed, &told, now);
        state = told.state;
        // Whose turn it is is news for two pods, and nobody has to answer it.
        if let Some(order) = &mut state.compaction {
            order.turn = turn;
        }
        if state == before.state && answered.unwrap_or_default() == request {
            return Ok((before.clone(), None));
        }
    }
    let notes = [
        (ANNOTATION_SINCE, since.to_string()),
        (ANNOTATION_ROTATION, request),
    ];
    let text = serde_json::to_string_pretty(&state).unwrap_or_default();
    let map = ConfigMap {
        metadata: metadata(observed, &name, "agent", &notes),
        data: Some([(DESIRED_KEY.to_owned(), text)].into()),
        ..ConfigMap::default()
    };
    Ok((Told { state, since }, Some(map)))
}

/// What a ConfigMap tells; `None` when it is not there or was damaged.
pub fn told(map: Option<&ConfigMap>) -> Option<Told> {
    let map = map?;
    let text = map.data.as_ref()?.get(DESIRED_KEY)?;
    let state = serde_json::from_str(text).ok()?;
    let since = annotation(&map.metadata, ANNOTATION_SINCE)?.parse().ok()?;
    Some(Told { state, since })
}
