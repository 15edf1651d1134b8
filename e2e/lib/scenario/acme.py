"""The ACME server of a case: step-ca under a root, and the name server that it asks, as docs/issuers.md says."""

import base64
import json
import secrets
import tempfile
from pathlib import Path
from typing import Any

from lib import kube
from lib.scenario import namespace as namespaces
from lib.scenario.openssl import root, sign
from lib.wait import until

SERVICE = "demo-acme"
ZONES = ("svc", "tikv-security")
KEY = "tikv-security"
AUTHORITY = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n"


class Acme:
    """One server in one namespace."""

    def __init__(self, namespace: str):
        self.namespace = namespace
        self.host = f"{SERVICE}.{namespace}.svc"

    def start(self) -> None:
        """Deploys it, and what the operator needs to be let in."""
        key = base64.b64encode(secrets.token_bytes(32)).decode()
        with tempfile.TemporaryDirectory(prefix="tikv-security-e2e-") as name:
            directory = Path(name)
            root(directory, "root", "e2e acme root")
            sign(directory, "ca", "e2e acme issuing", by="root", days=300, extensions=AUTHORITY)
            files = {file: (directory / file).read_text(encoding="utf-8") for file in ("root.crt", "ca.crt", "ca.key")}
        zones = {f"{zone}.zone": _zone(zone) for zone in ZONES}
        self._secret(SERVICE, {**files, **zones, "ca.json": self._configuration(), "knot.conf": _names(key)})
        self._secret(f"{SERVICE}-root", {"ca.crt": files["root.crt"]})
        self._secret(f"{SERVICE}-tsig", {"key": key})
        namespaces.apply(self.namespace, "acme.yaml")
        pods = lambda: kube.try_kubectl("get", "pods", f"--namespace={self.namespace}").stdout  # noqa: E731
        until("the ACME server to be ready", self._ready, 120, pods)

    def issuer(self) -> "dict[str, Any]":
        """What a person writes to have certificates of it."""
        key = {"name": f"{SERVICE}-tsig", "key": "key"}
        rfc2136 = {"server": f"{self.host}:5353", "keyName": KEY, "keySecret": key}
        return {
            "acme": {
                "server": f"https://{self.host}:9000/acme/tikv/directory",
                "rootSecret": {"name": f"{SERVICE}-root", "key": "ca.crt"},
                "solver": {"dns01": {"rfc2136": rfc2136}},
            }
        }

    def stop(self) -> None:
        """Nobody gets anything any more."""
        kube.kubectl("scale", f"deployment/{SERVICE}", "--replicas=0", f"--namespace={self.namespace}")
        gone = lambda: not self._ready()  # noqa: E731
        until("the ACME server to be gone", gone, 60, lambda: "")

    def _configuration(self) -> str:
        claims = {"maxTLSCertDuration": "720h", "defaultTLSCertDuration": "720h"}
        return json.dumps(
            {
                "root": "/config/root.crt",
                "crt": "/config/ca.crt",
                "key": "/config/ca.key",
                "address": ":9000",
                "dnsNames": [self.host],
                "logger": {"format": "text"},
                "db": {"type": "badgerv2", "dataSource": "/state/db"},
                "authority": {"provisioners": [{"type": "ACME", "name": "tikv", "claims": claims}]},
            }
        )

    def _secret(self, name: str, data: "dict[str, str]") -> None:
        metadata = {"name": name, "namespace": self.namespace}
        kube.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data})

    def _ready(self) -> bool:
        deployment = kube.get("deployment", SERVICE, self.namespace) or {"status": {}}
        return bool(deployment["status"].get("readyReplicas", 0) > 0)


def _names(key: str) -> str:
    zones = "".join(f"  - domain: {zone}\n    file: /config/{zone}.zone\n    acl: operator\n" for zone in ZONES)
    return (
        "server:\n  rundir: /state\n  listen: 0.0.0.0@5353\n"
        "database:\n  storage: /state\n"
        "log:\n  - target: stderr\n    any: info\n"
        f"key:\n  - id: {KEY}\n    algorithm: hmac-sha256\n    secret: {key}\n"
        f"acl:\n  - id: operator\n    key: {KEY}\n    action: update\n    update-type: [TXT]\n"
        "template:\n  - id: default\n    storage: /state\n    zonefile-sync: -1\n"
        f"zone:\n{zones}"
    )


def _zone(zone: str) -> str:
    return f"$ORIGIN {zone}.\n@ 60 SOA ns.{zone}. admin.{zone}. 1 60 60 600 0\n@ 60 NS ns.{zone}.\n"
