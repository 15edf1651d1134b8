"""The KMS of a case: an emulator with real cryptography, and a way to cut it off."""

import json
from typing import Any

from lib import kube
from lib.scenario import namespace as namespaces
from lib.wait import until

SERVICE = "demo-kms"
SECRET = "demo-aws"
REGION = "us-east-1"
SELECTOR = {"app.kubernetes.io/name": "demo-kms"}
# The emulator does not check signatures; the header only tells it which service is meant.
AUTHORIZATION = f"AWS4-HMAC-SHA256 Credential=e2e/20260101/{REGION}/kms/aws4_request, SignedHeaders=host, Signature=0"
CALL = """
import sys, urllib.request
request = urllib.request.Request("http://127.0.0.1:4566/", data=sys.argv[2].encode(), headers={
    "X-Amz-Target": "TrentService." + sys.argv[1], "Content-Type": "application/x-amz-json-1.1",
    "Authorization": sys.argv[3]})
print(urllib.request.urlopen(request, timeout=10).read().decode())
"""


class Kms:
    """One emulator in one namespace."""

    def __init__(self, namespace: str):
        self.namespace = namespace
        self.endpoint = f"http://{SERVICE}.{namespace}.svc:4566"

    def start(self) -> str:
        """Deploys it and makes a master key; answers the key's id."""
        namespaces.apply(self.namespace, "kms.yaml")
        until(
            "the KMS to be ready",
            self._ready,
            120,
            lambda: kube.try_kubectl("get", "pods", f"--namespace={self.namespace}").stdout,
        )
        return str(
            self.call("CreateKey", {"KeyUsage": "ENCRYPT_DECRYPT", "KeySpec": "SYMMETRIC_DEFAULT"})["KeyMetadata"][
                "KeyId"
            ]
        )

    def call(self, action: str, body: dict[str, Any]) -> dict[str, Any]:
        """Asks the emulator from inside its pod."""
        target = ["exec", f"--namespace={self.namespace}", f"deployment/{SERVICE}", "--"]
        answer = kube.kubectl(*target, "/usr/local/bin/python3", "-c", CALL, action, json.dumps(body), AUTHORIZATION)
        return dict(json.loads(answer) or {})

    def cut_off(self) -> None:
        """Connections are refused from now on; the keys stay."""
        self._select({"app.kubernetes.io/name": "nobody"})

    def restore(self) -> None:
        """It answers again."""
        self._select(SELECTOR)

    def _select(self, selector: dict[str, str]) -> None:
        patch = json.dumps({"spec": {"selector": selector}})
        kube.kubectl("patch", "service", SERVICE, f"--namespace={self.namespace}", f"--patch={patch}")
        wanted = selector == SELECTOR
        until("the endpoints of the KMS to follow", lambda: self._has_endpoints() == wanted, 30, lambda: "")

    def _has_endpoints(self) -> bool:
        slices = kube.listing("endpointslice", self.namespace, f"kubernetes.io/service-name={SERVICE}")
        return any(entry.get("endpoints") for entry in slices)

    def _ready(self) -> bool:
        deployment = kube.get("deployment", SERVICE, self.namespace) or {"status": {}}
        return bool(deployment["status"].get("readyReplicas", 0) > 0)
