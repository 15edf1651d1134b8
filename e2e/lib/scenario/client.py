"""The client: writes and reads rows all along, and tells what it saw."""

import json
from dataclasses import dataclass, fields
from typing import Any, Optional

from lib import kube
from lib.images.catalogue import image_name
from lib.scenario.cluster import PD_ENDPOINTS
from lib.scenario.visitor import OWNER
from lib.scenario.volumes import MARKER
from lib.wait import until

POD = "demo-client"
REPORT = "/report/report.json"
TLS = "/var/lib/client-tls"


@dataclass(frozen=True)
class Verdict:
    """What the client says of the data, and of its requests so far."""

    rows: int
    lost: int
    wrong: int
    requests: int
    failed: int
    # Rows that lay in the stores before the client came.
    stored: int

    @property
    def good(self) -> bool:
        """No row lost and no read wrong."""
        return self.rows > 0 and self.lost == 0 and self.wrong == 0

    def describe(self) -> str:
        """For a person."""
        return (
            f"{self.lost} lost, {self.wrong} wrong; {self.failed} of {self.requests} client requests failed meanwhile"
        )


class Client:
    """One client pod in one namespace."""

    def __init__(self, namespace: str, secret: str = "demo-client-tls"):
        self.namespace = namespace
        self.secret = secret

    def start(self, rows: int, stored: Optional[dict[str, int]] = None) -> None:
        """Writes the first rows and goes on; TLS is used as soon as the client certificate exists.

        `stored` names rows that lie in the stores already, by prefix: they are read as well.
        """
        kube.apply(self._pod(rows, stored or {}))
        until("the client's first rows", lambda: self.report().get("rows", 0) >= rows, 180, self._log)

    def report(self) -> dict[str, Any]:
        """Counts of the client so far; empty while there are none."""
        done = kube.try_kubectl("exec", f"--namespace={self.namespace}", POD, "--", "/bin/busybox", "cat", REPORT)
        try:
            return dict(json.loads(done.stdout)) if done.returncode == 0 else {}
        except ValueError:
            return {}

    def verify(self) -> Verdict:
        """Reads every row that was ever acknowledged, and compares."""
        before = self.report().get("verifications", 0)

        def verified() -> dict[str, Any]:
            counts = self.report()
            # The pass that was under way began before the question.
            return counts if counts.get("verifications", 0) >= before + 2 else {}

        counts = until("the client to read every row", verified, 180, self._log)
        return Verdict(**{field.name: int(counts.get(field.name, 0)) for field in fields(Verdict)})

    def brief(self) -> str:
        """One line for the live view."""
        counts = self.report()
        if not counts:
            return "no answer"
        return (
            f"{counts['rows']} rows, {counts['requests']} requests, {counts['failed']} failed, "
            f"{counts['lost']} rows lost, {counts['wrong']} reads wrong"
        )

    def _log(self) -> str:
        return kube.try_kubectl("logs", POD, f"--namespace={self.namespace}", "--tail=5").stdout

    def _pod(self, rows: int, stored: dict[str, int]) -> dict[str, Any]:
        also = [f"--stored={','.join(f'{name}:{count}' for name, count in stored.items())}"] if stored else []
        endpoints = ",".join(f"{name}.{self.namespace}.svc:2379" for name in PD_ENDPOINTS)
        mounts = [{"name": "tls", "mountPath": TLS}, {"name": "report", "mountPath": "/report"}]
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": POD, "namespace": self.namespace},
            "spec": {
                "terminationGracePeriodSeconds": 1,
                "enableServiceLinks": False,
                "automountServiceAccountToken": False,
                "securityContext": {
                    "runAsNonRoot": True,
                    "runAsUser": OWNER,
                    "fsGroup": OWNER,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "containers": [
                    {
                        "name": "client",
                        "image": image_name("client"),
                        "imagePullPolicy": "IfNotPresent",
                        "args": [
                            "run",
                            f"--pd={endpoints}",
                            f"--tls={TLS}",
                            f"--rows={rows}",
                            f"--value-prefix={MARKER}-",
                            f"--report={REPORT}",
                            *also,
                        ],
                        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                        "volumeMounts": mounts,
                    }
                ],
                "volumes": [
                    # Not there until the cluster is secured.
                    {"name": "tls", "secret": {"secretName": self.secret, "optional": True}},
                    {"name": "report", "emptyDir": {}},
                ],
            },
        }
