"""A master key that Vault wraps: only its wrapped form is stored, and a sealed Vault stops one pod and nothing else."""

import base64
from typing import Any, Optional

from lib import kube
from lib.console import step
from lib.context import Context
from lib.scenario import canary, proof, resource, setup
from lib.scenario.client import Client
from lib.scenario.vault import Vault
from lib.wait import until


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
        context.cluster.deploy()
        context.resource.wait_condition("Ready", timeout=setup.READY)
    client = Client(context.namespace)
    with step("2000 rows written, client keeps reading and writing"):
        client.start(2000)
    key = _master_key(context, vault)
    proof.data_encrypted(context, "aes256-ctr")
    canary.nowhere(context, key, "the unwrapped master key")
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
    proof.data_encrypted(context, "aes256-ctr")
    proof.nothing_left_behind(context)
    proof.no_row_lost(context, client)
    canary.nowhere(context, key, "the unwrapped master key")


def _master_key(context: Context, vault: Vault) -> bytes:
    """The key, by root of Vault from the one Secret that has it wrapped."""
    selector = "security.tikv.org/part=master-key"
    secrets = kube.listing("secrets", context.namespace, selector)
    immutable = [secret.get("immutable") for secret in secrets]
    context.check("one Secret has the wrapped key, and cannot be changed", immutable == [True])
    wrapped = base64.b64decode(secrets[0]["data"]["wrapped"]).decode()
    context.check("it is what Vault wrapped", wrapped.startswith("vault:v1:"))
    key = vault.unwrap(wrapped)
    context.check("a key of 256 bits is behind it", len(key) == 32)
    return key


def _who_asked(context: Context, vault: Vault) -> None:
    """Pods unwrap; only the operator, once, had a key made."""
    lines = vault.log().splitlines()
    denied = [line for line in lines if line.endswith(" 403")]
    context.check("nobody was refused anything", not denied, "; ".join(denied[:3]))
    unwrapped = sum("transit/decrypt/" in line for line in lines)
    enough = unwrapped >= len(context.cluster.stores)
    context.check("Vault unwrapped the key for each pod", enough, f"{unwrapped} times")


def _volume(context: Context, store: str) -> dict[str, Any]:
    return context.resource.volumes().get(store, {})


def _started(context: Context, store: str) -> bool:
    found: Optional[dict[str, Any]] = kube.get("pod", store, context.namespace)
    statuses = (found or {}).get("status", {}).get("containerStatuses", [])
    return any("running" in entry.get("state", {}) for entry in statuses)
