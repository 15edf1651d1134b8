"""The master key moves from a KMS that TiKV knows to Vault, which it does not, and the report says so."""

import base64
from typing import Any

from lib import kube
from lib.console import step
from lib.context import Context
from lib.scenario import agent, canary, key_dict, leaks, proof, setup
from lib.scenario.kms import Kms
from lib.scenario.report import report
from lib.scenario.vault import Vault


def run(context: Context) -> None:
    client = setup.secured_cluster(context)
    kms, vault = Kms(context.namespace), Vault(context.namespace)
    aws = context.resource.get()["spec"]["encryption"]["masterKey"]["awsKms"]["keyId"]
    proof.key_dicts_under(context, "aws", aws)
    _reported(context, "awsKms", aws)
    needles: dict[str, list[bytes]] = {}
    if agent.can_watch():
        store = f"data-{context.cluster.stores[0]}"
        needles["the key that the KMS made"] = leaks.of_bytes(key_dict.unwrapped(context.namespace, store, kms))

    with step("Vault with a key, roles for operator and pods"):
        vault.start()
    pods = context.cluster.pod_ids()
    context.resource.patch({"encryption": {"masterKey": {**vault.master_key(), "awsKms": None}}})
    with step("the master key becomes one in Vault: Ready=True"):
        context.resource.wait_condition("Ready", timeout=setup.READY)
    now = context.cluster.pod_ids()
    stayed = [pod for pod in context.cluster.stores if now[pod] == pods[pod]]
    context.check("every store restarted", not stayed, ", ".join(stayed))
    key, identity = _wrapped_key(context, vault)
    needles["the master key that Vault wrapped"] = leaks.of_bytes(key)
    proof.key_dicts_under(context, "file", f"/keys/{identity}")
    _reported(context, "vaultTransit", "transit/tikv")
    proof.no_row_lost(context, client)

    with step("the old key is disabled in the KMS, a store restarts"):
        kms.call("DisableKey", {"KeyId": aws})
        kube.kubectl("delete", "pod", context.cluster.stores[-1], f"--namespace={context.namespace}")
        context.cluster.wait_ready()
        context.resource.wait_condition("Ready", timeout=setup.READY)
    proof.key_dicts_under(context, "file", f"/keys/{identity}")
    done = context.resource.get()["status"].get("rotations", [])
    told = [(entry["kind"], entry.get("to", ""), bool(entry.get("finishedAt"))) for entry in done]
    ended = len(told) == 1 and told[0][0] == "MasterKey" and "vaultTransit" in told[0][1] and told[0][2]
    context.check("the status lists the rotation with its end", ended, str(told))
    proof.data_encrypted(context, "aes256-ctr")
    proof.nothing_left_behind(context)
    proof.no_secret_leaked(context, needles, set())
    canary.nowhere(context, key, "the master key that Vault wrapped")
    proof.no_row_lost(context, client)


def _reported(context: Context, provider: str, key: str) -> None:
    said: dict[str, Any] = report(context.namespace)
    master = said.get("masterKey") or {}
    right = master.get("provider") == provider and key in master.get("id", "")
    context.check(f"the report names the {provider} key", right, f"{master.get('provider')} {master.get('id')}")
    proven = master.get("proof", {}).get("status") == "True"
    context.check("and that it was proven", proven, str(master.get("proof", {}).get("message", "")))
    verdict = said.get("atRest", {}).get("verdict")
    context.check("and that all data at rest is proven encrypted", verdict == "Proven", str(verdict))


def _wrapped_key(context: Context, vault: Vault) -> tuple[bytes, str]:
    """The master key, by root of Vault from the one Secret that has it wrapped, and what its file is called."""
    secrets = kube.listing("secrets", context.namespace, "security.tikv.org/part=master-key")
    immutable = [secret.get("immutable") for secret in secrets]
    context.check("one Secret has the wrapped key, and cannot be changed", immutable == [True])
    wrapped = base64.b64decode(secrets[0]["data"]["wrapped"]).decode()
    context.check("it is what Vault wrapped", wrapped.startswith("vault:v1:"))
    return vault.unwrap(wrapped), str(secrets[0]["metadata"]["name"]).rpartition("-")[2]
