"""The CA becomes another one while a client goes on and the operator is killed; then once more in an emergency."""

from typing import Any, Optional

from lib import kube
from lib.console import say, step
from lib.context import Context
from lib.scenario import certificates, operator, proof, setup
from lib.scenario.client import Client
from lib.wait import until

# There is one operator for all.
ALONE = True
LONG = True
# The kubelet takes up to two minutes to bring the client its files.
OVERLAP = "150s"
NEXT = "demo-ca-next"


def run(context: Context) -> None:
    client = setup.secured_cluster(context, change=_overlap)
    old = certificates.secret_serial_of(context.namespace, "demo-ca")
    _rotate(context, client, {"ca": "e2e-1"}, kill_in="Leaves")
    middle = certificates.secret_serial_of(context.namespace, "demo-ca")
    context.check("the CA is another one", middle != old, f"{old[:16]}… -> {middle[:16]}…")

    _rotate(context, client, {"caEmergency": "e2e-2"})
    new = certificates.secret_serial_of(context.namespace, "demo-ca")
    context.check("in an emergency it is another one again", new not in (old, middle), f"{new[:16]}…")

    entries = context.resource.get()["status"].get("rotations", [])
    done = [entry for entry in entries if entry["kind"].endswith("Authority")]
    told = [f"{entry.get('request')} by {entry.get('by')}" for entry in done]
    context.check("the status lists both", len(done) == 2 and all(entry.get("finishedAt") for entry in done), str(told))
    proof.strangers_refused(context)
    proof.end(context, client)


def _overlap(spec: dict[str, Any]) -> None:
    spec["tls"]["ca"] = {"overlap": OVERLAP}


def _rotate(context: Context, client: Client, word: dict[str, str], kill_in: str = "") -> None:
    pods, before = context.cluster.pod_ids(), client.report()
    context.resource.patch({"rotate": word})
    phases: list[str] = []
    with step(f"{word}: from one CA to the next"):
        until("the rotation to begin", lambda: _phase(context), 120, context.resource.summary)
        until("the rotation to end", lambda: _over(context, phases, kill_in), 3 * setup.READY, context.resource.summary)
        context.resource.wait_condition("Ready", timeout=setup.READY)
    say(f"          phases: {', '.join(phases)}")
    proof.certificates_served(context)
    now = context.cluster.pod_ids()
    stayed = sorted(pod for pod, uid in now.items() if pods.get(pod) == uid)
    context.check("every store and every member of PD restarted", not stayed, ", ".join(stayed))
    left = (kube.get("secret", NEXT, context.namespace) or {}).get("data", {})
    context.check("the place of the next CA is empty", not any(left.values()))
    after = client.report()
    failed = after.get("failed", 0) - before.get("failed", 0)
    requests = after.get("requests", 0) - before.get("requests", 0)
    say(f"          {failed} of {requests} client requests failed meanwhile")
    context.check("the client went on", requests > 0)


def _phase(context: Context) -> Optional[str]:
    found = context.resource.get().get("status", {}).get("certificateAuthority")
    return str(found["phase"]) if found else None


def _over(context: Context, phases: list[str], kill_in: str) -> bool:
    phase = _phase(context)
    if phase is None:
        return True
    if phase not in phases:
        phases.append(phase)
        if phase == kill_in:
            operator.kill()
    return False
