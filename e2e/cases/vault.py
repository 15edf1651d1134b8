"""A master key that Vault wraps: only its wrapped form is stored, and a sealed Vault stops one pod and nothing else."""

import base64
from typing import Any, Optional

from lib import kube
from lib.console import step
from lib.context import Context
from lib.scenario import leaks, master_key, proof, resource, setup
from lib.scenario.vault import OPERATOR_ACCOUNT, POD_ACCOUNT, Vault
from lib.wait import until

IMAGES = ("vault",)
MINUTES = 3


def run(context: Context) -> None:
    vault = Vault(context.namespace)
    with step("volumes"):
        context.cluster.prepare_volumes()
    with step("Vault with a key, roles for operator and pods"):
        vault.start()
    content = resource.example(context.namespace, "unused")
    content["spec"]["environment"] = "production"
    content["spec"]["encryption"]["masterKey"] = vault.master_key()
    with step("TikvSecurity applied; PD and TiKV deployed, Ready=True"):
        context.resource.apply(content)
        context.cluster.deploy_secured()
        context.resource.wait_condition("Ready", timeout=setup.READY)
    client = setup.start_client(context)
    key = _master_key(context, vault)
    _who_asked(context, vault)

    store, others = context.cluster.stores[-1], context.cluster.stores[:-1]
    before = context.cluster.pod_ids()
    with step(f"Vault sealed, pod of {store} deleted"):
        vault.seal()
        kube.kubectl("delete", "pod", store, f"--namespace={context.namespace}", "--wait=true", timeout=180)
    with step(f"{store} is held, and the status says why"):
        held = lambda: _volume(context, store).get("phase") == "Held"  # noqa: E731
        until("the volume to be Held", held, 180, context.resource.summary)
        reachable = context.resource.wait_condition("MasterKeyReachable", "False", timeout=120)
        blocked = context.resource.wait_condition("Blocked", "True", timeout=120)
    message = _volume(context, store).get("message", "")
    context.check("the volume names Vault's own words", "Vault is sealed" in message, message)
    context.check("so does the condition", "Vault is sealed" in reachable["message"], reachable["message"])
    context.check("Blocked says so", blocked["reason"] == "MasterKeyUnavailable", blocked["message"])
    context.check("TiKV's container waits", not _started(context, store))
    context.resource.patch({"rotate": {"dataKey": "e2e-while-sealed"}})
    with step("the rotation that is asked for meanwhile begins nowhere"):
        context.resource.wait_condition("Blocked", "True", timeout=120)
        verdict = client.verify()
    after = context.cluster.pod_ids()
    context.check("the other stores were not disturbed", all(before[pod] == after[pod] for pod in others))
    context.check("PD was not either", all(before[pod] == after[pod] for pod in context.cluster.members))
    context.check(f"the other stores serve {verdict.rows} rows", verdict.good, verdict.describe())

    with step("Vault unsealed: everything goes on by itself, Ready=True"):
        vault.unseal()
        context.resource.wait_condition("Ready", timeout=setup.READY)
    context.check("the key is the same", _master_key(context, vault) == key)
    proof.end(context, client, also={"the unwrapped master key": leaks.of_bytes(key)})


def _master_key(context: Context, vault: Vault) -> bytes:
    """The key, by root of Vault from the one Secret that has it wrapped."""
    wrapped = base64.b64decode(master_key.wrapped(context)["data"]["wrapped"]).decode()
    context.check("it is what Vault wrapped", wrapped.startswith("vault:v1:"))
    key = vault.unwrap(wrapped)
    context.check("a key of 256 bits is behind it", len(key) == 32)
    return key


def _who_asked(context: Context, vault: Vault) -> None:
    """By Vault's own audit: pods unwrap and nothing else; only the operator had a key made; nobody was refused."""
    entries = [entry for entry in vault.audit() if not entry["request"]["path"].startswith("sys/")]
    refused = [f"{entry['request']['path']}: {entry['error']}" for entry in entries if entry.get("error")]
    context.check("nobody was refused anything", not refused, "; ".join(refused[:3]))
    asked: dict[str, list[str]] = {}
    for entry in entries:
        account = (entry.get("auth", {}).get("metadata") or {}).get("service_account_name")
        if account and entry["request"]["mount_type"] == "transit":
            asked.setdefault(account, []).append(entry["request"]["path"])
    pods = asked.get(POD_ACCOUNT, [])
    only = set(pods) == {"transit/decrypt/tikv"} and len(pods) >= len(context.cluster.stores)
    context.check("each pod had the key unwrapped, and asked for nothing else", only, f"{len(pods)} times")
    made = {account for account, paths in asked.items() if "transit/datakey/plaintext/tikv" in paths}
    context.check("only the operator had a key made", made == {OPERATOR_ACCOUNT}, ", ".join(sorted(made)))


def _volume(context: Context, store: str) -> dict[str, Any]:
    return context.resource.volumes().get(store, {})


def _started(context: Context, store: str) -> bool:
    found: Optional[dict[str, Any]] = kube.get("pod", store, context.namespace)
    statuses = (found or {}).get("status", {}).get("containerStatuses", [])
    return any("running" in entry.get("state", {}) for entry in statuses)
