"""The master key becomes another one, from a file to a KMS and on, store by store; the old one is not needed then."""

import secrets
from typing import Any

from lib import kube
from lib.console import step
from lib.context import Context
from lib.scenario import agent, key_dict, leaks, measure, proof, setup
from lib.scenario.kms import Kms

SECRET = "demo-master-key"
ENTRY = "master.key"
MINUTES = 4


def run(context: Context) -> None:
    canary = secrets.token_hex(32)
    kms_key: dict[str, Any] = {}
    _store(context, canary)

    def begin_with_a_file(spec: dict[str, Any]) -> None:
        kms_key.update(spec["encryption"]["masterKey"]["awsKms"])
        spec["encryption"]["masterKey"] = {"file": {"secret": {"name": SECRET, "key": ENTRY}}}

    client = setup.secured_cluster(context, change=begin_with_a_file)
    kms = Kms(context.namespace)
    needles = {"the file master key": leaks.of_text(canary)}
    proof.key_dicts_under(context, "file", "/key")
    store = f"data-{context.cluster.stores[0]}"
    opened, said = key_dict.opens(context.namespace, store, SECRET, ENTRY)
    context.check("the file master key opens the store's keys", opened, "" if opened else said)
    proof.no_secret_leaked(context, needles, {SECRET})
    # What finds nothing must be able to find.
    seen, _ = leaks.hits(context, needles, set())
    context.check("where it does lie it is found", any(SECRET in place for place in seen), "; ".join(seen))

    first = {"awsKms": kms_key, "file": None}
    _rotate(context, first, "from the file to a key in the KMS")
    proof.key_dicts_under(context, "aws", kms_key["keyId"])
    opened, said = key_dict.opens(context.namespace, store, SECRET, ENTRY)
    context.check("the old key does not open the store's keys any more", not opened, said.splitlines()[-1])
    with step("the Secret of the old key is deleted, a store restarts"):
        kube.kubectl("delete", "secret", SECRET, f"--namespace={context.namespace}")
        _restart(context)
    proof.no_row_lost(context, client)
    if agent.can_watch():
        needles["the key that the KMS made"] = leaks.of_bytes(key_dict.unwrapped(context.namespace, store, kms))

    answer = kms.call("CreateKey", {"KeyUsage": "ENCRYPT_DECRYPT", "KeySpec": "SYMMETRIC_DEFAULT"})
    second = str(answer["KeyMetadata"]["KeyId"])
    _rotate(context, {"awsKms": {"keyId": second}}, "to another key of the KMS")
    proof.key_dicts_under(context, "aws", second)
    with step("the old key is disabled in the KMS, a store restarts"):
        kms.call("DisableKey", {"KeyId": kms_key["keyId"]})
        _restart(context)
    proof.no_row_lost(context, client)

    before = _envelopes(context)
    context.resource.patch({"rotate": {"masterKey": "e2e-1"}})
    with step("a new key of the KMS's making is asked for: Ready=True"):
        context.resource.wait_condition("Ready", timeout=setup.READY)
    kept = before & _envelopes(context)
    context.check("no store is under a key of the KMS's making from before", not kept, ", ".join(sorted(kept)))
    if agent.can_watch():
        needles["the next key that it made"] = leaks.of_bytes(key_dict.unwrapped(context.namespace, store, kms))

    done = context.resource.get()["status"].get("rotations", [])
    told = [f"{entry['kind']} {entry.get('from', '')} -> {entry.get('to', '')}" for entry in done]
    kinds = [entry["kind"] for entry in done]
    context.check("the status lists what was rotated", kinds == ["MasterKey", "MasterKey", "Envelope"], "; ".join(told))
    open_ones = [entry for entry in done if not entry.get("finishedAt") or not entry.get("by")]
    context.check("each with its end and who asked", not open_ones, str([entry.get("by") for entry in done]))
    proof.end(context, client, also=needles)


def _rotate(context: Context, key: dict[str, Any], what: str) -> None:
    pods = context.cluster.pod_ids()
    context.resource.patch({"encryption": {"masterKey": key}})
    with step(f"{what}: Ready=True"):
        context.resource.wait_condition("Ready", timeout=setup.READY)
    now = context.cluster.pod_ids()
    stayed = [pod for pod in context.cluster.stores if now[pod] == pods[pod]]
    context.check("every store restarted", not stayed, ", ".join(stayed))
    toml = _configuration(context)
    context.check("the old key has left the configuration", "previous-master-key" not in toml)
    # The end of the old key alone is no reason for another restart.
    mounted = [pod for pod in context.cluster.stores if "previous-master-key" in _configuration(context, pod)]
    context.check("without another restart", bool(mounted), f"still mounted, and not needed, by {', '.join(mounted)}")


def _configuration(context: Context, pod: str = "") -> str:
    """TiKV's file in the pod template, or in a pod."""
    if pod:
        spec = (kube.get("pod", pod, context.namespace) or {})["spec"]
    else:
        spec = (kube.get("statefulset", "demo-tikv", context.namespace) or {})["spec"]["template"]["spec"]
    names = [volume["configMap"]["name"] for volume in spec["volumes"] if "configMap" in volume]
    maps = [kube.get("configmap", name, context.namespace) or {} for name in names]
    return "\n".join(text for found in maps for key, text in found.get("data", {}).items() if key.endswith(".toml"))


def _envelopes(context: Context) -> set[str]:
    return {str(found.get("envelope")) for found in measure.key_dicts(context.resource).values()}


def _restart(context: Context) -> None:
    pod = context.cluster.stores[-1]
    kube.kubectl("delete", "pod", pod, f"--namespace={context.namespace}")
    context.cluster.wait_ready()
    context.resource.wait_condition("Ready", timeout=setup.READY)


def _store(context: Context, key: str) -> None:
    kube.kubectl("create", "--filename=-", stdin=_manifest(context.namespace, key))


def _manifest(namespace: str, key: str) -> str:
    return (
        f"apiVersion: v1\nkind: Secret\nmetadata: {{name: {SECRET}, namespace: {namespace}}}\n"
        f'stringData: {{{ENTRY}: "{key}\\n"}}\n'
    )
