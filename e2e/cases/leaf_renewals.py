"""Twenty renewals of all leaf certificates in a row, each proven at every port, while a client works on."""

from lib.console import say, step
from lib.context import Context
from lib.scenario import certificates, proof, setup
from lib.wait import until

LONG = True
TIMES = 20
PARTS = ("tikv", "pd", "agent", "client")


def run(context: Context) -> None:
    client = setup.secured_cluster(context)
    starts = context.cluster.container_starts()
    first = client.report()
    seen = {_serials(context)}
    with step(f"{TIMES} renewals, each served by every port"):
        for number in range(TIMES):
            old = _serials(context)
            context.resource.patch({"rotate": {"certificates": f"e2e-{number}"}})
            new = lambda: not set(old) & set(_serials(context))  # noqa: B023, E731
            until("new serial numbers in all leaf Secrets", new, 120, context.resource.summary)
            context.resource.wait_condition("Ready", timeout=300)
            seen.add(_serials(context))
    context.check(f"{TIMES} different sets followed the first", len(seen) == TIMES + 1)
    proof.certificates_served(context)
    now = context.cluster.container_starts()
    context.check("no container of TiKV or PD was restarted", now == starts, f"{len(starts)} containers")
    last = client.report()
    failed, requests = (last.get(key, 0) - first.get(key, 0) for key in ("failed", "requests"))
    say(f"          {failed} of {requests} client requests failed meanwhile")
    context.check("the client went on", requests > 0)
    proof.end(context, client)


def _serials(context: Context) -> tuple[str, ...]:
    return tuple(certificates.secret_serial(context.namespace, part) for part in PARTS)
