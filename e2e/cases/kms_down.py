"""Without the KMS nothing is touched; with it the work goes on; and a running cluster outlives its loss."""

from lib import kube
from lib.console import step
from lib.context import Context
from lib.scenario import proof, resource, setup
from lib.scenario.kms import Kms

MINUTES = 4


def run(context: Context) -> None:
    client = setup.plaintext_cluster(context)
    pods = context.cluster.pod_ids()
    templates = _generations(context)
    kms = Kms(context.namespace)
    with step("KMS with a master key, then cut off"):
        key = kms.start()
        kms.cut_off()
    context.resource.apply(resource.example(context.namespace, key))
    with step("MasterKeyReachable=False and Blocked=True"):
        missing = context.resource.wait_condition("MasterKeyReachable", "False", timeout=120)
        blocked = context.resource.wait_condition("Blocked", "True", timeout=120)
    context.check("the message names the key", key in missing["message"], missing["message"])
    context.check("the work is said to be held by it", blocked["status"] == "True", blocked["message"])
    context.check("no pod was restarted", context.cluster.pod_ids() == pods)
    context.check("no template was changed", _generations(context) == templates)

    kms.restore()
    with step("KMS back: Ready=True"):
        context.resource.wait_condition("Ready", timeout=setup.READY)
    proof.data_encrypted(context, "aes256-ctr")

    pods = context.cluster.pod_ids()
    kms.cut_off()
    with step("KMS lost: MasterKeyReachable=False"):
        # Asked again every few minutes; a change makes it look now.
        context.resource.patch({"rotate": {"dataKey": "e2e-1"}})
        context.resource.wait_condition("MasterKeyReachable", "False", timeout=420)
    context.check("no pod was restarted for it", context.cluster.pod_ids() == pods)
    context.cluster.wait_ready(60)
    proof.no_row_lost(context, client)

    kms.restore()
    with step("KMS back: the rotation that was asked for is done, Ready=True"):
        context.resource.wait_condition("Ready", timeout=setup.READY)
    proof.end(context, client)


def _generations(context: Context) -> dict[str, int]:
    found = kube.listing("statefulset", context.namespace)
    return {entry["metadata"]["name"]: entry["metadata"]["generation"] for entry in found}
