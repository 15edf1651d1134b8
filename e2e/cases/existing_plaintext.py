"""A plaintext cluster with data gets TLS and has its old data encrypted, while a client works on."""

from functools import partial
from typing import Any

from lib import kube
from lib.console import step
from lib.context import Context
from lib.scenario import proof, setup, volumes
from lib.wait import until

MINUTES = 3


def run(context: Context) -> None:
    client = setup.plaintext_cluster(context)
    for store in context.cluster.stores:
        # PD places the second and third replica of a region in its own time.
        with step(f"before: known text is found on the volume of {store}"):
            until("known text on the volume", partial(volumes.marker_count, context.namespace, f"data-{store}"), 120)
    written = _data(context)

    setup.make_resource(context, _forbid_downtime)
    with step("Blocked=True, because TLS needs downtime that is not allowed"):
        blocked = context.resource.wait_condition("Blocked", timeout=setup.READY)
    context.check("the reason is DowntimeNotAllowed", blocked["reason"] == "DowntimeNotAllowed", blocked["message"])
    with step("encryption goes on all the same: DataEncrypted=True"):
        context.resource.wait_condition("DataEncrypted", timeout=setup.READY)
    context.resource.patch({"rollout": {"allowDowntime": True}})
    with step("downtime allowed: Ready=True"):
        context.resource.wait_condition("Ready", timeout=setup.READY)

    proof.certificates_served(context)
    proof.strangers_refused(context)
    context.check("the ConfigMap that the user wrote is as it was", _data(context) == written)
    proof.end(context, client)


def _data(context: Context) -> object:
    return (kube.get("configmap", "demo-tikv", context.namespace) or {}).get("data")


def _forbid_downtime(spec: dict[str, Any]) -> None:
    spec["rollout"]["allowDowntime"] = False
