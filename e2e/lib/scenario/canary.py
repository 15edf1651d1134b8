"""Looks for a secret value where none may ever be: logs, API objects, arguments and environments, volumes."""

import base64
from pathlib import Path
from typing import Callable, Optional

from lib import kube, settings
from lib.cluster.storage import VOLUMES
from lib.context import Context
from lib.scenario import operator

KINDS = (
    "pods,statefulsets,deployments,configmaps,secrets,events,"
    "tikvsecurities.security.tikv.org,tikvvolumes.security.tikv.org,controllerrevisions"
)


def nowhere(context: Context, key: bytes, what: str) -> None:
    """The key is found in none of its usual spellings."""
    spellings = [key, key.hex().encode(), key.hex().upper().encode(), base64.b64encode(key).rstrip(b"=")]
    # Secrets hold everything once more in base64.
    spellings += [_within(text) for text in (key.hex().encode(), base64.b64encode(key))]
    places: list[tuple[str, Callable[[], bytes]]] = [
        ("the objects of the API server", lambda: _objects(context)),
        ("the logs of all containers and of the operator", lambda: _logs(context)),
    ]
    if settings.foreign_kubeconfig() is None:
        places.append(("arguments and environments of all processes", _processes))
    for place, read in places:
        content = read()
        hit = any(spelling in content for spelling in spellings)
        context.check(f"{what} is not in {place}", not hit and len(content) > 0, f"{len(content)} bytes")
    if settings.foreign_kubeconfig() is None:
        found, files = _on_volumes(context.namespace, spellings)
        context.check(f"{what} is in no file of the volumes", found is None and files > 0, found or f"{files} files")


def _within(text: bytes) -> bytes:
    """Base64 of a text that begins anywhere cannot be searched; of one that begins a value it can."""
    return base64.b64encode(text)[: len(text) // 3 * 4]


def _objects(context: Context) -> bytes:
    own = kube.kubectl("get", KINDS, f"--namespace={context.namespace}", "--output=yaml", "--show-managed-fields")
    theirs = kube.kubectl("get", "pods,configmaps,events", f"--namespace={operator.NAMESPACE}", "--output=yaml")
    return (own + theirs).encode()


def _logs(context: Context) -> bytes:
    parts = [operator.logs()]
    for pod in kube.listing("pods", context.namespace):
        name = pod["metadata"]["name"]
        every = ("--all-containers", f"--namespace={context.namespace}")
        parts.append(kube.try_kubectl("logs", name, *every).stdout)
        parts.append(kube.try_kubectl("logs", name, *every, "--previous").stdout)
    return "\n".join(parts).encode()


def _processes() -> bytes:
    content = b""
    for process in Path("/proc").glob("[0-9]*"):
        for name in ("cmdline", "environ"):
            try:
                content += (process / name).read_bytes() + b"\n"
            except OSError:
                continue
    return content


def _on_volumes(namespace: str, spellings: list[bytes]) -> tuple[Optional[str], int]:
    files = 0
    for file in (VOLUMES / namespace).rglob("*"):
        try:
            content = file.read_bytes() if file.is_file() else None
        except OSError:
            continue
        if content is not None:
            files += 1
            if any(spelling in content for spelling in spellings):
                return str(file), files
    return None, files
