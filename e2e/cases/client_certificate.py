"""An application works with the certificate of its TikvClientCertificate, also after the certificate was renewed."""

from typing import Any

from lib import kube
from lib.console import step
from lib.context import Context
from lib.scenario import proof, setup
from lib.wait import until

KIND = "tikvclientcertificates.security.tikv.org"
NAME = "orders"


def run(context: Context) -> None:
    # Before the cluster: an application need not wait for it.
    kube.apply(
        {
            "apiVersion": "security.tikv.org/v1alpha1",
            "kind": "TikvClientCertificate",
            "metadata": {"name": NAME, "namespace": context.namespace},
            "spec": {"securityRef": {"name": "demo"}},
        }
    )
    client = setup.secured_cluster(context, secret=NAME)
    status = _status(context)
    context.check("the certificate is Ready and admitted", _ready(status), str(status.get("allowedSince")))
    starts = context.cluster.container_starts()
    with step("another certificate, because somebody deleted the Secret"):
        kube.kubectl("delete", "secret", NAME, f"--namespace={context.namespace}")
        until("another serial number", lambda: _status(context).get("serial") not in (None, status["serial"]), 120)
    now = context.cluster.container_starts()
    context.check("no container of TiKV or PD was restarted", now == starts, f"{len(starts)} containers")
    proof.end(context, client)


def _status(context: Context) -> dict[str, Any]:
    return dict((kube.get(KIND, NAME, context.namespace) or {}).get("status", {}))


def _ready(status: dict[str, Any]) -> bool:
    conditions = {one["type"]: one["status"] for one in status.get("conditions", [])}
    return conditions.get("Ready") == "True" and "allowedSince" in status
