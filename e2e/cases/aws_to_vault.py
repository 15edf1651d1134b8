"""The master key moves from a KMS that TiKV knows to Vault, which it does not, and the report says so."""

import base64

from lib import kube
from lib.console import step
from lib.context import Context
from lib.scenario import leaks, master_key, proof, setup
from lib.scenario.kms import Kms
from lib.scenario.vault import Vault

IMAGES = ("vault",)
MINUTES = 3


def run(context: Context) -> None:
    client = setup.secured_cluster(context)
    kms, vault = Kms(context.namespace), Vault(context.namespace)
    before = master_key.asked_for(context)
    proof.key_dicts_under(context, "aws", before.name)
    proof.reported(context, "aes256-ctr", before)

    with step("Vault with a key, roles for operator and pods"):
        vault.start()
    pods = context.cluster.pod_ids()
    context.resource.patch({"encryption": {"masterKey": {**vault.master_key(), "awsKms": None}}})
    with step("the master key becomes one in Vault: Ready=True"):
        context.resource.wait_condition("Ready", timeout=setup.READY)
    now = context.cluster.pod_ids()
    stayed = [pod for pod in context.cluster.stores if now[pod] == pods[pod]]
    context.check("every store restarted", not stayed, ", ".join(stayed))
    needles = {**before.needles, "the master key that Vault wrapped": leaks.of_bytes(_wrapped_key(context, vault))}
    now_in_vault = master_key.asked_for(context)
    proof.key_dicts_under(context, now_in_vault.kind, now_in_vault.name)
    proof.no_row_lost(context, client)

    with step("the old key is disabled in the KMS, a store restarts"):
        kms.call("DisableKey", {"KeyId": before.id})
        kube.kubectl("delete", "pod", context.cluster.stores[-1], f"--namespace={context.namespace}")
        context.cluster.wait_ready()
        context.resource.wait_condition("Ready", timeout=setup.READY)
    done = context.resource.get()["status"].get("rotations", [])
    told = [(entry["kind"], entry.get("to", ""), bool(entry.get("finishedAt"))) for entry in done]
    ended = len(told) == 1 and told[0][0] == "MasterKey" and "vaultTransit" in told[0][1] and told[0][2]
    context.check("the status lists the rotation with its end", ended, str(told))
    proof.end(context, client, also=needles)


def _wrapped_key(context: Context, vault: Vault) -> bytes:
    """The master key, by root of Vault from the one Secret that has it wrapped."""
    wrapped = base64.b64decode(master_key.wrapped(context)["data"]["wrapped"]).decode()
    context.check("it is what Vault wrapped", wrapped.startswith("vault:v1:"))
    return vault.unwrap(wrapped)
