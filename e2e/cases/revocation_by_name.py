"""A client with a name of its own is revoked: the stores restart without that name, and each refuses a call with it."""

from typing import Any

from lib import kube
from lib.console import say, step
from lib.context import Context
from lib.scenario import certificates, proof, revocation, setup
from lib.wait import until

KIND = "tikvclientcertificates.security.tikv.org"
CLIENT = "orders"
COMMON_NAME = "orders.shop.example"


def run(context: Context) -> None:
    client = setup.secured_cluster(context, change=_cut)
    kube.apply(
        {
            "apiVersion": "security.tikv.org/v1alpha1",
            "kind": "TikvClientCertificate",
            "metadata": {"name": CLIENT, "namespace": context.namespace},
            "spec": {"securityRef": {"name": "demo"}, "commonName": COMMON_NAME},
        }
    )
    with step("another client has a certificate with a name of its own"):
        until("its Secret", lambda: kube.get("secret", CLIENT, context.namespace), 60)
    serial = certificates.secret_serial_of(context.namespace, CLIENT)
    pods, before = context.cluster.pod_ids(), client.report()
    kube.kubectl(
        "patch",
        KIND,
        CLIENT,
        f"--namespace={context.namespace}",
        "--type=merge",
        '--patch={"spec":{"revoked":"KeyCompromise"}}',
    )
    with step("revoked: its name leaves the list, store by store"):
        until("the proof", lambda: _phase(context, serial) == "Refused", 2 * setup.READY, context.resource.summary)
        context.resource.wait_condition("Ready", timeout=setup.READY)
    end = revocation.told(context, serial) or {}
    named = all(f"{store}:20160" in end["message"] for store in context.cluster.stores)
    context.check("each store refused a call with that name", end.get("proof") == "Tried" and named, end["message"])
    now = context.cluster.pod_ids()
    stayed = {pod for pod, uid in now.items() if pods.get(pod) == uid}
    context.check("the stores restarted, PD did not", stayed == set(context.cluster.members), ", ".join(sorted(stayed)))
    after = client.report()
    failed = after.get("failed", 0) - before.get("failed", 0)
    requests = after.get("requests", 0) - before.get("requests", 0)
    say(f"          {failed} of {requests} client requests failed meanwhile")
    context.check("the client went on", requests > 0)
    proof.end(context, client)


def _cut(spec: dict[str, Any]) -> None:
    spec["tls"]["allowedNames"] = [COMMON_NAME]
    spec["tls"]["revocation"] = {"cut": "AllowedNames"}


def _phase(context: Context, serial: str) -> str:
    return str((revocation.told(context, serial) or {}).get("phase"))
