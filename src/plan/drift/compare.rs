//! Where an object does not say what was applied.

use serde_json::Value;

/// What identifies an element of a list.
const KEYS: [&str; 2] = ["mountPath", "name"];

/// A difference: where, and what is there.
pub type Difference = (String, String);

/// Every place at which `present` lacks what `applied` says, or says otherwise. Elements of lists are told apart by their
/// names, in any order. `present` may say more, because the API server adds defaults and people add what is theirs; below
/// `exact` elements of lists may not be more.
pub fn differences(present: &Value, applied: &Value, exact: &str) -> Vec<Difference> {
    let mut found = Vec::new();
    look(present, applied, "", exact, &mut found);
    found
}

fn look(present: &Value, applied: &Value, path: &str, exact: &str, found: &mut Vec<Difference>) {
    match (present, applied) {
        (Value::Object(there), Value::Object(wanted)) => {
            for (key, value) in wanted {
                let place = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                match there.get(key) {
                    Some(one) => look(one, value, &place, exact, found),
                    None => found.push((place, "absent".to_owned())),
                }
            }
        }
        (Value::Array(there), Value::Array(wanted)) => lists(there, wanted, path, exact, found),
        _ if present == applied => {}
        _ => found.push((path.to_owned(), short(present))),
    }
}

fn lists(there: &[Value], wanted: &[Value], path: &str, exact: &str, found: &mut Vec<Difference>) {
    let Some(key) = KEYS
        .into_iter()
        .find(|key| !wanted.is_empty() && wanted.iter().all(|one| one[*key].is_string()))
    else {
        let same = there.len() == wanted.len()
            && there
                .iter()
                .zip(wanted)
                .all(|(there, wanted)| differences(there, wanted, exact).is_empty());
        if !same {
            found.push((path.to_owned(), "another list".to_owned()));
        }
        return;
    };
    let name = |one: &Value| one[key].as_str().unwrap_or_default().to_owned();
    for one in wanted {
        let place = format!("{path}[{}]", name(one));
        match there.iter().find(|other| other[key] == one[key]) {
            Some(other) => look(other, one, &place, exact, found),
            None => found.push((place, "absent".to_owned())),
        }
    }
    if path.contains(exact) {
        let more = there
            .iter()
            .filter(|other| !wanted.iter().any(|one| one[key] == other[key]));
        found.extend(more.map(|other| (format!("{path}[{}]", name(other)), "added".to_owned())));
    }
}

/// A value, if it is short enough to be told.
fn short(value: &Value) -> String {
    match value {
        Value::String(text) if text.len() <= 100 => format!("{text:?}"),
        Value::Number(_) | Value::Bool(_) | Value::Null => value.to_string(),
        _ => "something else".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::differences;
    use serde_json::json;

    #[test]
    fn defaults_order_and_what_is_somebody_elses_are_no_difference() {
        let applied = json!({"spec": {"volumes": [{"name": "a", "secret": {"secretName": "s"}}],
            "initContainers": [{"name": "agent", "volumeMounts": [{"name": "x", "mountPath": "/x"}, {"name": "y", "mountPath": "/y"}]}]}});
        let present = json!({"spec": {"volumes": [{"name": "theirs"}, {"name": "a", "secret": {"secretName": "s", "defaultMode": 420}}],
            "initContainers": [{"name": "theirs"}, {"name": "agent", "terminationMessagePath": "/dev/x",
                "volumeMounts": [{"name": "y", "mountPath": "/y"}, {"name": "x", "mountPath": "/x"}]}]}});
        assert_eq!(differences(&present, &applied, "[agent]"), []);
    }

    #[test]
    fn a_change_is_told_with_its_place() {
        let applied = json!({"spec": {"strategy": {"type": "OnDelete"}, "initContainers": [{"name": "agent", "image": "a:1", "args": ["x"],
            "env": [{"name": "A", "value": "1"}]}]}});
        let present = json!({"spec": {"strategy": {"type": "RollingUpdate"}, "initContainers": [{"name": "agent", "image": "a:2", "args": ["x", "y"],
            "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "secret"}]}]}});
        let found = differences(&present, &applied, "[agent]");
        let found: Vec<String> = found
            .iter()
            .map(|(at, what)| format!("{at}: {what}"))
            .collect();
        assert_eq!(
            found,
            [
                "spec.initContainers[agent].args: another list",
                "spec.initContainers[agent].env[B]: added",
                "spec.initContainers[agent].image: \"a:2\"",
                "spec.strategy.type: \"RollingUpdate\"",
            ]
        );
        let gone = differences(
            &json!({"spec": {"strategy": {"type": "OnDelete"}}}),
            &applied,
            "[agent]",
        );
        assert_eq!(
            gone,
            [("spec.initContainers".to_owned(), "absent".to_owned())]
        );
    }
}
