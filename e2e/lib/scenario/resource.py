"""The `TikvSecurity` of a case: the example of `e2e/manifests` with what the case wants to be different."""

import json
from typing import Any, Optional

from lib import kube
from lib.console import Failure
from lib.scenario import namespace as namespaces
from lib.wait import until

KIND = "tikvsecurities.security.tikv.org"
NAME = "demo"


def example(namespace: str, key_id: str) -> dict[str, Any]:
    """The example as an object."""
    content = namespaces.text(namespaces.MANIFESTS / "tikvsecurity.yaml")
    content = content.replace("KMS-KEY-ID", key_id).replace("NAMESPACE", namespace)
    arguments = ["create", f"--namespace={namespace}", "--dry-run=client", "--output=json", "--filename=-"]
    return dict(json.loads(kube.kubectl(*arguments, stdin=content)))


class TikvSecurity:
    """The object in the cluster."""

    def __init__(self, namespace: str):
        self.namespace = namespace

    def apply(self, content: dict[str, Any]) -> None:
        """Applies the object."""
        kube.apply(content)

    def patch(self, spec: dict[str, Any]) -> None:
        """Changes a part of the spec."""
        patch = json.dumps({"spec": spec})
        kube.kubectl("patch", KIND, NAME, f"--namespace={self.namespace}", "--type=merge", f"--patch={patch}")

    def get(self) -> dict[str, Any]:
        """The object as it is now."""
        found = kube.get(KIND, NAME, self.namespace)
        if found is None:
            raise Failure(f"TikvSecurity {self.namespace}/{NAME} is gone")
        return found

    def condition(self, kind: str) -> Optional[dict[str, Any]]:
        """A condition that speaks of the present spec, else nothing."""
        current = self.get()
        generation = current["metadata"]["generation"]
        status = current.get("status", {})
        for entry in status.get("conditions", []):
            if entry["type"] == kind:
                seen = entry.get("observedGeneration", status.get("observedGeneration", 0))
                return dict(entry) if seen >= generation else None
        return None

    def wait_condition(self, kind: str, value: str = "True", timeout: float = 600) -> dict[str, Any]:
        """Waits for a condition."""

        def probe() -> Optional[dict[str, Any]]:
            entry = self.condition(kind)
            return entry if entry and entry["status"] == value else None

        return until(f"{kind}={value} of TikvSecurity {NAME}", probe, timeout, self.summary)

    def summary(self) -> str:
        """The conditions in one line."""
        conditions: list[dict[str, Any]] = self.get().get("status", {}).get("conditions", [])
        parts = [
            f"{entry['type']}={entry['status']} ({entry.get('reason', '')}: {entry.get('message', '')})"
            for entry in conditions
        ]
        return "; ".join(parts) or "no status yet"

    def volumes(self) -> dict[str, dict[str, Any]]:
        """The measured state of each store's volume, by pod."""
        found = kube.listing("tikvvolumes.security.tikv.org", self.namespace)
        return {entry["metadata"]["name"]: entry.get("status", {}) for entry in found}
