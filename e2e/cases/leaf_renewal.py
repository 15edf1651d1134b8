"""New leaf certificates are served by every port without a restart."""

from lib.console import step
from lib.context import Context
from lib.scenario import certificates, proof, setup
from lib.wait import until


def run(context: Context) -> None:
    client = setup.secured_cluster(context)
    starts = context.cluster.container_starts()
    before = {part: certificates.secret_serial(context.namespace, part) for part in ("tikv", "pd", "agent", "client")}
    context.resource.patch({"rotate": {"certificates": "e2e-1"}})
    with step("new certificates in the Secrets"):
        until(
            "new serial numbers in all leaf Secrets", lambda: _all_new(context, before), 120, context.resource.summary
        )
    with step("proven: Ready=True"):
        context.resource.wait_condition("Ready", timeout=300)
    proof.certificates_served(context)
    now = context.cluster.container_starts()
    context.check("no container of TiKV or PD was restarted", now == starts, f"{len(starts)} containers")
    proof.end(context, client)


def _all_new(context: Context, before: dict[str, str]) -> bool:
    return all(certificates.secret_serial(context.namespace, part) != serial for part, serial in before.items())
