//! JSON merge patches (RFC 7386), and the question whether an object already says what it should.

use serde_json::{Map, Value};

/// The patch that makes `to` of `from`; `None` when they are equal. Lists are replaced whole.
pub fn diff(from: &Value, to: &Value) -> Option<Value> {
    if from == to {
        return None;
    }
    let (Value::Object(old), Value::Object(new)) = (from, to) else {
        return Some(to.clone());
    };
    let mut patch = Map::new();
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, value) in new {
        let change = old
            .get(key)
            .map_or(Some(value.clone()), |old| diff(old, value));
        if let Some(change) = change {
            patch.insert(key.clone(), change);
        }
    }
    Some(Value::Object(patch))
}

/// Applies a patch.
pub fn apply(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    if let Value::Object(target) = target {
        for (key, value) in patch {
            if value.is_null() {
                target.remove(key);
            } else {
                apply(target.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
    }
}

/// True when `present` says everything that `wanted` says; it may say more, because the apiserver adds defaults.
pub fn covers(present: &Value, wanted: &Value) -> bool {
    match (present, wanted) {
        (Value::Object(present), Value::Object(wanted)) => wanted
            .iter()
            .all(|(key, value)| present.get(key).is_some_and(|there| covers(there, value))),
        (Value::Array(present), Value::Array(wanted)) => {
            present.len() == wanted.len()
                && present
                    .iter()
                    .zip(wanted)
                    .all(|(there, value)| covers(there, value))
        }
        _ => present == wanted,
    }
}

/// Puts `wanted` into a list whose elements are told apart by `key`; one that says it already stays as it is.
pub fn put(list: &mut Value, key: &str, wanted: Value) {
    if !list.is_array() {
        *list = Value::Array(Vec::new());
    }
    let Value::Array(list) = list else { return };
    match list.iter_mut().find(|there| there[key] == wanted[key]) {
        Some(there) if covers(there, &wanted) => {}
        Some(there) => *there = wanted,
        None => list.push(wanted),
    }
}
