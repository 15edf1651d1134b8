"""Kills an agent, if possible in the very moment in which it works."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any, Optional

from lib import kube, settings
from lib.cluster import node
from lib.cluster.storage import VOLUMES

CONTAINER = "tikv-security-agent"
JOURNAL = "tikv-security.journal"


def status(namespace: str, pod: str) -> dict[str, Any]:
    """The kubelet's view of the agent's container; empty when there is none."""
    found = kube.get("pod", pod, namespace) or {}
    for entry in found.get("status", {}).get("initContainerStatuses", []):
        if entry["name"] == CONTAINER:
            return dict(entry)
    return {}


def journal_open(namespace: str, pod: str) -> bool:
    """Whether the volume is between two states. Only on our own cluster, where volumes are directories here."""
    return _journal(namespace, pod).exists()


def kill_at_work(namespace: str, pod: str, timeout: float) -> bool:
    """Waits for the journal of a store to appear and ends its agent at once; true when the work was really cut.

    A small store is rewritten within a fraction of a second, so this looks at the volume itself, without a pause.
    """
    deadline = time.monotonic() + timeout
    pid: Optional[int] = None
    looked = 0.0
    while time.monotonic() < deadline:
        if time.monotonic() - looked > 0.2:
            # The agent of the restarted pod is another process than the one before.
            pid, looked = _pid(namespace, pod), time.monotonic()
        if _journal(namespace, pod).exists():
            pid = pid if pid and Path(f"/proc/{pid}").exists() else _pid(namespace, pod)
            if pid is None:
                continue
            os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
            return _journal(namespace, pod).exists()
    return False


def can_watch() -> bool:
    """Whether volumes and processes of the cluster are on this machine."""
    return settings.foreign_kubeconfig() is None


def _journal(namespace: str, pod: str) -> Path:
    return VOLUMES / namespace / f"data-{pod}" / JOURNAL


def _pid(namespace: str, pod: str) -> Optional[int]:
    """Process id of the agent on this machine."""
    container = status(namespace, pod).get("containerID", "").rpartition("/")[2]
    if not container:
        return None
    for line in node.ctr("tasks", "list").stdout.splitlines():
        fields = line.split()
        if len(fields) >= 3 and fields[0] == container and fields[2] == "RUNNING":
            return int(fields[1])
    return None


def describe(namespace: str, pod: str) -> str:
    """The state of the container for a message."""
    entry = status(namespace, pod)
    return json.dumps({"restarts": entry.get("restartCount"), "state": entry.get("state"), "ready": entry.get("ready")})
