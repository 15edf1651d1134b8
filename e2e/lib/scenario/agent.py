"""Kills an agent, if possible in the very moment in which it works."""

import json
import os
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any, Callable, Optional

from lib import kube, settings
from lib.cluster.storage import VOLUMES
from lib.wait import until

CONTAINER = "tikv-security-agent"
JOURNAL = "tikv-security.journal"
LOCK = "LOCK"


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


def kill_at_work(namespace: str, pod: str, over: Callable[[], bool]) -> bool:
    """Ends the agent of a store as soon as its journal appears; true when the work was really cut.

    A small store is rewritten within a fraction of a second, so this looks at the volume and at the processes
    themselves. It gives up when `over` says that all work was done.
    """
    while not over():
        if not _journal(namespace, pod).exists():
            time.sleep(0.002)
            continue
        process = _holder(VOLUMES / namespace / f"data-{pod}" / LOCK)
        if process is None:
            continue
        os.kill(int(process.name), signal.SIGKILL)
        until(f"process {process.name} to end", partial(_ended, process), 10)
        return _journal(namespace, pod).exists()
    return False


def can_watch() -> bool:
    """Whether volumes and processes of the cluster are on this machine."""
    return settings.foreign_kubeconfig() is None


def _journal(namespace: str, pod: str) -> Path:
    return VOLUMES / namespace / f"data-{pod}" / JOURNAL


def _holder(file: Path) -> Optional[Path]:
    """The process that has a file open, by its identity: in a container it has another path."""
    try:
        wanted = file.stat()
    except OSError:
        return None
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if not (process / "cmdline").read_bytes().startswith(b"/tikv-security\0agent"):
                continue
            opened = [descriptor.stat() for descriptor in (process / "fd").iterdir()]
        except OSError:
            continue
        if any((one.st_dev, one.st_ino) == (wanted.st_dev, wanted.st_ino) for one in opened):
            return process
    return None


def _ended(process: Path) -> bool:
    """Whether a process is gone, or has only its parent to tell."""
    try:
        return (process / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def describe(namespace: str, pod: str) -> str:
    """The state of the container for a message."""
    entry = status(namespace, pod)
    return json.dumps({"restarts": entry.get("restartCount"), "state": entry.get("state"), "ready": entry.get("ready")})
