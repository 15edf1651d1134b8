"""From one CA to the next: asked for, and followed to the end while a client works on."""

from typing import Any, Optional

from lib.console import say, step
from lib.context import Context
from lib.scenario import operator, proof, setup
from lib.scenario.client import Client
from lib.wait import until

# The kubelet takes up to two minutes to bring the client its files.
OVERLAP = "150s"


def overlap(spec: dict[str, Any]) -> None:
    """Time for the client to read what is new."""
    spec["tls"]["ca"] = {"overlap": OVERLAP}


def follow(context: Context, client: Client, what: str, change: dict[str, Any], kill_in: str = "") -> None:
    """Changes the resource and waits until another CA alone is trusted; kills the operator in the phase `kill_in`."""
    before = client.report()
    context.resource.patch(change)
    phases: list[str] = []
    with step(f"{what}: from one CA to the next"):
        until("the rotation to begin", lambda: _phase(context), 180, context.resource.summary)
        until("the rotation to end", lambda: _over(context, phases, kill_in), 3 * setup.READY, context.resource.summary)
        context.resource.wait_condition("Ready", timeout=setup.READY)
    say(f"          phases: {', '.join(phases)}")
    proof.certificates_served(context)
    after = client.report()
    failed, requests = (after.get(key, 0) - before.get(key, 0) for key in ("failed", "requests"))
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
