//! What the agents are told: the desired state, its generation and since when it holds. All of it is read back from
//! the ConfigMap itself, so that losing the status loses nothing.

use jiff::{Span, Timestamp};
use k8s_openapi::api::core::v1::ConfigMap;

use super::compaction;
use super::desired::{Blocker, EncryptionDesired};
use super::names::{Part, agent_config};
use super::objects::{annotation, is_ours, metadata};
use super::observed::Observed;
use crate::api::desired::DesiredState;
use crate::api::v1alpha1::{KeyRing, ReencryptionPolicy};
use crate::api::{
    ANNOTATION_APPLIED, ANNOTATION_CAUSE, ANNOTATION_MASTER_KEYS, ANNOTATION_ROTATION,
    ANNOTATION_SCHEDULE, ANNOTATION_SINCE, ANNOTATION_VERIFICATION, DESIRED_KEY,
};

/// The desired state of the agents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// What they read.
    pub state: DesiredState,
    /// Since when. A pod made before has not tried it.
    pub since: Timestamp,
    /// What moved `dataKeyNotBefore` last: `request`, `schedule` or `period`.
    pub cause: Option<String>,
}

/// What they should be told, and the ConfigMap to apply when that is new.
pub fn tell(
    observed: &Observed,
    encryption: &EncryptionDesired,
    ring: &KeyRing,
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
    let rotate = &observed.resource.spec.rotate;
    let request = rotate.data_key.clone().unwrap_or_default();
    let verification = rotate.verification.clone().unwrap_or_default();
    let map = observed.agent_config.as_ref();
    let note = |key| map.and_then(|map| annotation(&map.metadata, key));
    let before = told(map);
    let method = encryption.config.method;
    let mut state = DesiredState {
        generation: next_generation(observed),
        method,
        data_key_not_before: lost(observed),
        reencrypt: encryption.policy != ReencryptionPolicy::Never,
        verification: encryption.verification,
        limits: encryption.limits,
        envelope: ring.envelope.clone(),
        decrypt: !method.encrypts(),
        compaction: compaction::order(encryption, before.as_ref()),
        allowed_names: vec![Part::Client.common_name(observed.name(), observed.namespace())],
        proof: None,
    };
    let keys = serde_json::to_string(ring).unwrap_or_default();
    // Kubernetes tells the times of pods in whole seconds: what was made within this one has not tried what is new now.
    let fresh = now.saturating_add(Span::new().seconds(1)).unwrap_or(now);
    // Who was made after the moment that was lost has tried what it asked for.
    let mut since = lost(observed).unwrap_or(fresh);
    let mut cause = note(ANNOTATION_CAUSE).unwrap_or_default().to_owned();
    if let Some(before) = &before {
        state.data_key_not_before = before.state.data_key_not_before;
        if method.encrypts()
            && let Some(why) = due(encryption, before, map, &request, now)
        {
            state.data_key_not_before = Some(now);
            if why == "period" && state.compaction.is_some() {
                // Keys that TiKV has made itself meanwhile are new enough: nothing has to be waited for.
                let since = compaction::present_keys_since(observed);
                state.data_key_not_before = before.state.data_key_not_before.max(since);
            }
            if state.data_key_not_before != before.state.data_key_not_before {
                why.clone_into(&mut cause);
            }
        }
        state.generation = before.state.generation;
        // A verification is no reason to try anything else again.
        state.proof = before.state.proof;
        if state == before.state {
            since = before.since;
        } else {
            since = fresh;
            state.generation += 1;
        }
        let told = Told {
            state,
            since,
            cause: None,
        };
        let turn = compaction::turn(observed, &told, now);
        state = told.state;
        // Whose turn it is is news for two pods, and nobody has to answer it.
        if let Some(order) = &mut state.compaction {
            order.turn = turn;
        }
    }
    let proof = before.and_then(|before| before.state.proof);
    state.proof = encryption.clock.proof(proof, map, &verification, now);
    let text = serde_json::to_string_pretty(&state).unwrap_or_default();
    let told = Told {
        state,
        since,
        cause: (!cause.is_empty()).then(|| cause.clone()),
    };
    let notes = [
        (ANNOTATION_SINCE, since.to_string()),
        (ANNOTATION_ROTATION, request),
        (ANNOTATION_MASTER_KEYS, keys),
        (ANNOTATION_VERIFICATION, verification),
        (ANNOTATION_SCHEDULE, encryption.clock.note(map, now)),
        (ANNOTATION_CAUSE, cause),
        (ANNOTATION_APPLIED, text.clone()),
    ];
    let wanted = ConfigMap {
        metadata: metadata(observed, &name, "agent", &notes),
        data: Some([(DESIRED_KEY.to_owned(), text)].into()),
        ..ConfigMap::default()
    };
    let same = map.is_some_and(|map| map.data == wanted.data)
        && notes
            .iter()
            .all(|(key, value)| note(key).unwrap_or_default() == value);
    Ok((told, (!same).then_some(wanted)))
}

/// Why every file is to get a new data key now, if so.
fn due(
    encryption: &EncryptionDesired,
    before: &Told,
    map: Option<&ConfigMap>,
    request: &str,
    now: Timestamp,
) -> Option<&'static str> {
    let answered = map.and_then(|map| annotation(&map.metadata, ANNOTATION_ROTATION));
    let base = before.state.data_key_not_before.unwrap_or(before.since);
    if !request.is_empty() && answered.unwrap_or_default() != request {
        return Some("request");
    }
    if encryption.clock.reencrypts(map, base, now) {
        return Some("schedule");
    }
    let passed = now.duration_since(base) >= encryption.rotation_period;
    (encryption.policy == ReencryptionPolicy::Always && passed).then_some("period")
}

/// Where generations begin: after all that was ever told, also when the ConfigMap was deleted.
fn next_generation(observed: &Observed) -> i64 {
    let told = observed.volumes.values().map(|one| one.spec.generation);
    told.max().unwrap_or_default() + 1
}

/// The moment that a ConfigMap which was deleted had told.
fn lost(observed: &Observed) -> Option<Timestamp> {
    let status = observed.resource.status.as_ref()?;
    status.encryption.as_ref()?.data_key_not_before
}

/// What a ConfigMap was made to tell; `None` when it is not there or was damaged. What somebody else wrote into it since
/// does not count.
pub fn told(map: Option<&ConfigMap>) -> Option<Told> {
    let map = map?;
    let parse = |text: &str| serde_json::from_str(text).ok();
    let applied = annotation(&map.metadata, ANNOTATION_APPLIED).and_then(parse);
    let there = || parse(map.data.as_ref()?.get(DESIRED_KEY)?);
    let state = applied.or_else(there)?;
    let since = annotation(&map.metadata, ANNOTATION_SINCE)?.parse().ok()?;
    let cause = annotation(&map.metadata, ANNOTATION_CAUSE).filter(|cause| !cause.is_empty());
    let cause = cause.map(str::to_owned);
    Some(Told {
        state,
        since,
        cause,
    })
}
