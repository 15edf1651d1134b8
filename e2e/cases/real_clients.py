"""Applications in Go and Rust (client-go, the crate tikv-client) work with a TikvClientCertificate, renewed too."""

import base64
import tempfile
from pathlib import Path
from typing import Any, Optional

from lib import kube
from lib.console import step
from lib.context import Context
from lib.images.clients import PROGRAMS
from lib.scenario import proof, setup, visitor
from lib.scenario.openssl import root, sign
from lib.wait import until

KIND = "tikvclientcertificates.security.tikv.org"
NAME = "orders"
STRANGER = "stranger"
IMAGES = ("real-clients",)
# The crate alone compiles for minutes.
LONG = True


def run(context: Context) -> None:
    client = setup.secured_cluster(context)
    with step("the certificate is issued"):
        kube.apply(
            {
                "apiVersion": "security.tikv.org/v1alpha1",
                "kind": "TikvClientCertificate",
                "metadata": {"name": NAME, "namespace": context.namespace},
                "spec": {"securityRef": {"name": "demo"}},
            }
        )
        until("a serial number", lambda: _status(context).get("serial"), 120)
    for language in PROGRAMS:
        _works(context, language, "first")
    serial = _status(context)["serial"]
    with step("another certificate, because somebody deleted the Secret"):
        kube.kubectl("delete", "secret", NAME, f"--namespace={context.namespace}")
        until("another serial number", lambda: _status(context).get("serial") not in (None, serial), 120)
    _make_stranger(context)
    for language in PROGRAMS:
        _works(context, language, "renewed")
        _stranger(context, language)
    proof.end(context, client)


def _works(context: Context, language: str, when: str) -> None:
    phase, log = _ended(context, language, f"{language}-{when}", NAME)
    done = "raw: written and read" in log and "transaction: committed and read" in log
    context.check(f"{language}, {when} certificate: raw and transactions", phase == "Succeeded" and done, log[-300:])


def _make_stranger(context: Context) -> None:
    """A set that trusts the cluster, and is of a CA that the cluster does not trust."""
    ours = (kube.get("secret", NAME, context.namespace) or {})["data"]
    with tempfile.TemporaryDirectory(prefix="tikv-security-e2e-") as name:
        directory = Path(name)
        root(directory, "ca", "stranger")
        sign(directory, "tls", NAME, by="ca", days=1, extensions="extendedKeyUsage=clientAuth\n")
        encoded = {file: base64.b64encode((directory / file).read_bytes()).decode() for file in ("tls.crt", "tls.key")}
    metadata = {"name": STRANGER, "namespace": context.namespace}
    kube.apply(
        {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": {**encoded, "ca.crt": ours["ca.crt"]}}
    )


def _stranger(context: Context, language: str) -> None:
    """The same program with a certificate of a CA of somebody else gets nowhere."""
    phase, log = _ended(context, language, f"{language}-stranger", STRANGER)
    context.check(f"{language}, a stranger's certificate: refused", phase == "Failed", log[-300:])


def _ended(context: Context, language: str, name: str, secret: str) -> "tuple[str, str]":
    spaced = [f"demo-pd-{member}.demo-pd-peer.{context.namespace}.svc:2379" for member in range(3)]
    command = [PROGRAMS[language], "/secret", *spaced]
    visitor.start(context.namespace, None, name, "real-clients", command, secret)
    phases = ("Succeeded", "Failed")
    until(f"pod {name} to end", lambda: visitor.phase(context.namespace, name) in phases, 150, lambda: "")
    phase = visitor.phase(context.namespace, name)
    log = kube.kubectl("logs", name, f"--namespace={context.namespace}")
    visitor.stop(context.namespace, name)
    # client-go's own log is beside it.
    own = [line for line in log.splitlines() if not line.startswith("[")]
    return phase, "; ".join(own)


def _status(context: Context) -> "dict[str, Any]":
    found: Optional[dict[str, Any]] = kube.get(KIND, NAME, context.namespace)
    return dict((found or {}).get("status", {}))
