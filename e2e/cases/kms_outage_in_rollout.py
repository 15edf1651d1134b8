"""The KMS is lost while a rotation has rolled one of three stores: all stores serve, and it goes on by itself."""

from typing import Any

from lib.console import step
from lib.context import Context
from lib.scenario import measure, proof, setup
from lib.scenario.kms import Kms
from lib.wait import until

MINUTES = 3


def run(context: Context) -> None:
    client = setup.secured_cluster(context, change=_with_quiet_times)
    kms = Kms(context.namespace)
    before = context.cluster.pod_ids()
    keys = {store: set(measure.key_ids(context.resource, store)) for store in context.cluster.stores}
    context.resource.patch({"rotate": {"dataKey": "e2e-outage"}})
    with step("the first store is rewritten and back"):
        until("one store to be rolled", lambda: len(_rolled(context, before)) == 1, 300, context.resource.summary)
        context.cluster.wait_ready()
    kms.cut_off()
    with step("KMS lost: MasterKeyReachable=False, Blocked=True"):
        context.resource.wait_condition("MasterKeyReachable", "False", timeout=120)
        context.resource.wait_condition("Blocked", timeout=60)
    rolled = _rolled(context, before)
    context.check("one store was rolled, the others were left alone", len(rolled) == 1, ", ".join(rolled))
    context.cluster.wait_ready(60)
    proof.nothing_left_behind(context)
    proof.no_row_lost(context, client)
    context.check("still one", _rolled(context, before) == rolled)

    kms.restore()
    with step("KMS back: the rotation ends by itself, Ready=True"):
        context.resource.wait_condition("Ready", timeout=setup.READY)
    context.check("all stores were rolled", len(_rolled(context, before)) == 3)
    for store in context.cluster.stores:
        kept = keys[store] & set(measure.key_ids(context.resource, store))
        context.check(f"{store}: no byte is left under an old data key", not kept, ", ".join(sorted(kept)))
    records = context.resource.get()["status"].get("rotations", [])
    ended = [one for one in records if one["kind"] == "DataKey" and "finishedAt" in one]
    context.check("the rotation is recorded with its word", any(one.get("request") == "e2e-outage" for one in ended))
    proof.end(context, client)


def _with_quiet_times(spec: dict[str, Any]) -> None:
    # Time between two stores in which the outage is noticed.
    spec.setdefault("rollout", {})["settle"] = "40s"


def _rolled(context: Context, before: dict[str, str]) -> list[str]:
    """Stores whose pod is another one than before."""
    now = context.cluster.pod_ids()
    return [store for store in context.cluster.stores if store in now and now[store] != before[store]]
