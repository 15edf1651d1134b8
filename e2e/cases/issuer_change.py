"""Vault becomes the issuer while a client works on and the operator is killed; then it is left, sealed as it is."""

from typing import Any, Optional

from lib import kube
from lib.console import say, step
from lib.context import Context
from lib.scenario import certificates, operator, proof, setup
from lib.scenario.client import Client
from lib.scenario.vault import Vault
from lib.wait import until

IMAGES = ("vault",)
# There is one operator for all.
ALONE = True
LONG = True
# The kubelet takes up to two minutes to bring the client its files.
OVERLAP = "150s"


def run(context: Context) -> None:
    client = setup.secured_cluster(context, change=_overlap)
    first = certificates.secret_serial_of(context.namespace, "demo-ca")
    vault = Vault(context.namespace)
    with step("Vault with an intermediate CA under a root"):
        vault.start()
        vault.sign_certificates()
    _change(context, client, {**vault.issuer(), "selfSigned": None}, kill_in="Bundle")
    second = certificates.secret_serial_of(context.namespace, "demo-ca")
    context.check("Vault's CA is the cluster's", second != first, f"{first[:16]}… -> {second[:16]}…")
    stored = (kube.get("secret", "demo-ca", context.namespace) or {})["data"]
    context.check("its key is not in the cluster", not stored["tls.key"])
    pods = context.cluster.pod_ids()
    with step("all certificates renewed by Vault"):
        before = certificates.secret_serial(context.namespace, "tikv")
        context.resource.patch({"rotate": {"certificates": "e2e"}})
        renewed = lambda: certificates.secret_serial(context.namespace, "tikv") != before  # noqa: E731
        until("another certificate for TiKV", renewed, 120, context.resource.summary)
        context.resource.wait_condition("Ready", timeout=setup.READY)
    proof.certificates_served(context)
    context.check("nothing restarted for it", context.cluster.pod_ids() == pods)

    vault.seal()
    _change(context, client, {"selfSigned": {}, "vault": None})
    third = certificates.secret_serial_of(context.namespace, "demo-ca")
    context.check("the CA is one of our own again", third not in (first, second), f"{third[:16]}…")
    proof.strangers_refused(context)
    proof.end(context, client)


def _overlap(spec: dict[str, Any]) -> None:
    spec["tls"]["ca"] = {"overlap": OVERLAP}


def _change(context: Context, client: Client, issuer: dict[str, Any], kill_in: str = "") -> None:
    before = client.report()
    context.resource.patch({"tls": {"issuer": issuer}})
    phases: list[str] = []
    kind = next(kind for kind, value in issuer.items() if value is not None)
    with step(f"issuer {kind}: from one CA to the next"):
        until("the rotation to begin", lambda: _phase(context), 180, context.resource.summary)
        until("the rotation to end", lambda: _over(context, phases, kill_in), 3 * setup.READY, context.resource.summary)
        context.resource.wait_condition("Ready", timeout=setup.READY)
    say(f"          phases: {', '.join(phases)}")
    proof.certificates_served(context)
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
