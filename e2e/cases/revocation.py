"""A client is deleted: its certificate is told to be revoked, its CA replaced, until every port refuses a kept copy."""

from pathlib import Path
from typing import Any

from lib import kube
from lib.console import say, step
from lib.context import Context
from lib.scenario import certificates, proof, revocation, setup
from lib.wait import until

KIND = "tikvclientcertificates.security.tikv.org"
NAME = "thief"
# The CA becomes another one meanwhile.
LONG = True


def run(context: Context) -> None:
    client = setup.secured_cluster(context, change=_cut)
    _ask(context)
    with certificates.client_files(context.namespace, NAME) as copy:
        serial = certificates.secret_serial_of(context.namespace, NAME)
        context.check("the certificate works at every port", not _refusing(context, copy))
        good = revocation.by_ocsp(context.namespace, copy)
        context.check("OCSP says that it is good", "tls.crt: good" in good, good)

        before = client.report()
        with step("it is deleted, and somebody keeps a copy"):
            kube.kubectl("delete", KIND, NAME, f"--namespace={context.namespace}")
            until("the status to name it", lambda: revocation.told(context, serial), 60, context.resource.summary)
        early = revocation.told(context, serial) or {}
        context.check(
            "the status says that it is still accepted", "still accepted" in early["message"], early["message"]
        )
        with step("published"):
            until("OCSP to say so", lambda: "tls.crt: revoked" in revocation.by_ocsp(context.namespace, copy), 60)
        listed = revocation.by_crl(context.namespace, copy)
        context.check("the CRL says that it is revoked", "certificate revoked" in listed, listed)

        with step("cut off: the CA becomes another one"):
            until("the proof", lambda: _phase(context, serial) == "Refused", 3 * setup.READY, context.resource.summary)
            context.resource.wait_condition("Ready", timeout=setup.READY)
        end = revocation.told(context, serial) or {}
        context.check("by trial", end.get("proof") == "Tried", end["message"])
        accepting = _accepting(context, copy)
        context.check("the kept copy is refused by every port", not accepting, ", ".join(accepting))
    proof.certificates_served(context)
    after = client.report()
    failed = after.get("failed", 0) - before.get("failed", 0)
    requests = after.get("requests", 0) - before.get("requests", 0)
    say(f"          {failed} of {requests} client requests failed meanwhile")
    context.check("the client went on", requests > 0)
    proof.strangers_refused(context)
    proof.end(context, client)


def _cut(spec: dict[str, Any]) -> None:
    spec["tls"]["revocation"] = {"cut": "CaRotation"}


def _ask(context: Context) -> None:
    kube.apply(
        {
            "apiVersion": "security.tikv.org/v1alpha1",
            "kind": "TikvClientCertificate",
            "metadata": {"name": NAME, "namespace": context.namespace},
            "spec": {"securityRef": {"name": "demo"}},
        }
    )
    with step("another client has a certificate"):
        until("its Secret", lambda: kube.get("secret", NAME, context.namespace), 60)


def _phase(context: Context, serial: str) -> str:
    return str((revocation.told(context, serial) or {}).get("phase"))


def _ports(context: Context) -> list[tuple[str, int]]:
    stores = [(pod, port) for pod in context.cluster.stores for port in (20160, 20180)]
    return stores + [(pod, 2379) for pod in context.cluster.members]


def _accepting(context: Context, files: Path) -> list[str]:
    found = _ports(context)
    return [f"{pod}:{port}" for pod, port in found if certificates.accepts(context.cluster, pod, port, files)]


def _refusing(context: Context, files: Path) -> list[str]:
    accepting = _accepting(context, files)
    return [f"{pod}:{port}" for pod, port in _ports(context) if f"{pod}:{port}" not in accepting]
