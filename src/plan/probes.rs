//! Probes and hooks that speak plaintext to a port that is about to speak TLS.

use serde_json::{Value, json};

use super::desired::Blocker;
use super::detect::Layout;
use super::names::Part;

/// Programs that speak plaintext unless they are told otherwise.
const CLIENTS: [&str; 5] = ["curl", "wget", "pd-ctl", "tikv-ctl", "grpc_health_probe"];

/// Asks only whether the main port is open: the kubelet has no client certificate (facts, TLS §3.1), and an idle
/// connection to the status port would block it (facts, TLS §2.2). A command that speaks plaintext would fail for ever.
pub fn adapt(probe: &mut Value, port: u16) {
    let Some(fields) = probe.as_object_mut() else {
        return;
    };
    let spoken = fields.get("exec").is_some_and(is_plain);
    if spoken {
        fields.remove("exec");
    }
    let asked = fields.remove("httpGet").is_some() | fields.remove("grpc").is_some();
    if asked || spoken {
        fields.insert("tcpSocket".into(), json!({"port": port}));
    }
}

/// A hook has a purpose that only its owner knows: it is not taken away, and not left to fail.
pub fn refuse_plain_hooks(part: Part, layout: &Layout<'_>) -> Result<(), Blocker> {
    let set = super::template::as_json(layout.stateful_set);
    let container = &set["spec"]["template"]["spec"]["containers"][layout.container];
    for hook in ["postStart", "preStop"] {
        let handler = &container["lifecycle"][hook];
        let http = &handler["httpGet"];
        let by_kubelet = !http.is_null() && http["scheme"] != "HTTPS";
        if !by_kubelet && !is_plain(&handler["exec"]) {
            continue;
        }
        let name = container["name"].as_str().unwrap_or_default();
        let set = set["metadata"]["name"].as_str().unwrap_or_default();
        return Err(Blocker::new(
            "HookSpeaksPlaintext",
            format!(
                "the {hook} hook of container {name} in StatefulSet {set} speaks plaintext to a port that will speak TLS"
            ),
            format!(
                "Take it out (leaders are moved before each restart anyway), or let it use https with the certificate in {}.",
                super::template::tls_directory(part)
            ),
        ));
    }
    Ok(())
}

/// True for a command that calls a client without TLS.
fn is_plain(exec: &Value) -> bool {
    let command = exec["command"].as_array().into_iter().flatten();
    let words: Vec<&str> = command
        .filter_map(Value::as_str)
        .flat_map(|text| text.split_whitespace())
        .collect();
    let client = words.iter().any(|word| {
        let program = word.rsplit('/').next().unwrap_or_default();
        CLIENTS.contains(&program.trim_matches(['"', '\'', ';']))
    });
    let secure = |word: &&str| {
        ["https://", "--cacert", "--ca-path", "-tls"]
            .iter()
            .any(|sign| word.contains(sign))
    };
    words.iter().any(|word| word.contains("http://")) || (client && !words.iter().any(secure))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_speaks_plaintext_is_replaced_and_any_other_stays() {
        for (command, replaced) in [
            (json!(["curl", "-f", "http://127.0.0.1:20180/status"]), true),
            (
                json!(["sh", "-c", "wget -q -O- 127.0.0.1:20180/status || exit 1"]),
                true,
            ),
            (json!(["/pd-ctl", "member"]), true),
            (
                json!(["curl", "--cacert", "/ca", "https://127.0.0.1:2379/"]),
                false,
            ),
            (json!(["test", "-f", "/tmp/ready"]), false),
        ] {
            let mut probe = json!({"exec": {"command": command}, "periodSeconds": 7});
            adapt(&mut probe, 20160);
            assert_eq!(probe["exec"].is_null(), replaced, "{command}");
            assert_eq!(probe["tcpSocket"]["port"] == 20160, replaced, "{command}");
            assert_eq!(probe["periodSeconds"], 7);
        }
    }
}
