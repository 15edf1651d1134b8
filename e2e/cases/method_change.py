"""Changing the method rewrites every file under a new data key, one store at a time."""

from lib.console import step
from lib.context import Context
from lib.scenario import measure, proof, setup

MINUTES = 2


def run(context: Context) -> None:
    client = setup.secured_cluster(context)
    before = {store: set(measure.key_ids(context.resource, store)) for store in context.cluster.stores}
    context.resource.patch({"encryption": {"method": "sm4-ctr"}})
    with step("method changed to sm4-ctr: Ready=True"):
        context.resource.wait_condition("Ready", timeout=setup.READY)
    for store in context.cluster.stores:
        kept = before[store] & set(measure.key_ids(context.resource, store))
        context.check(f"{store}: no byte is left under an old data key", not kept, ", ".join(sorted(kept)))
    proof.end(context, client, "sm4-ctr")
