"""Looks for keys where none may be: logs, objects, arguments and environments of processes, volumes.

A key is looked for as it is written, as bytes, and in base64 at each of its three alignments.
"""

import base64
import json
import mmap
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lib import kube
from lib.cluster.storage import VOLUMES
from lib.context import Context
from lib.scenario import agent, operator

# Lines of a private key in PEM begin with what every such key begins with; the second line is its own.
PEM_BODY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----\n[^\n]+\n([^\n]{40,})\n")


def of_text(text: str) -> list[bytes]:
    """What to look for when a key is hexadecimal text."""
    return _forms(text.encode()) + _forms(bytes.fromhex(text))


def of_bytes(key: bytes) -> list[bytes]:
    """What to look for when a key is bytes."""
    return _forms(key) + _forms(key.hex().encode())


def of_pem(text: str) -> list[bytes]:
    """What to look for when a key is in PEM."""
    body = PEM_BODY.search(text)
    if body is None:
        raise ValueError("no private key in PEM")
    return _forms(body.group(1).encode()) + _forms(base64.b64decode(body.group(1)[:40]))


def private_keys(namespace: str) -> dict[str, list[bytes]]:
    """The private keys of all Secrets of a namespace."""
    found = {}
    for secret in kube.listing("secrets", namespace):
        text = base64.b64decode(secret.get("data", {}).get("tls.key", "")).decode()
        if text:
            found[f"tls.key of {secret['metadata']['name']}"] = of_pem(text)
    return found


def hits(context: Context, needles: dict[str, list[bytes]], home: set[str]) -> list[str]:
    """Where a key was found. `home` names the Secrets in which keys are."""
    found = []
    for place, content in _places(context, home):
        lower = content.lower() if len(content) < 1 << 26 else content
        for name, forms in needles.items():
            if any(form in content or form in lower for form in forms):
                found.append(f"{name} in {place}")
    return found


def _forms(key: bytes) -> list[bytes]:
    coded = []
    for shift in range(3):
        # The first and the last characters depend on what stands beside the key.
        text = base64.b64encode(b"\0" * shift + key)
        coded.append(text[4:-4] if shift else text[:-4])
    return [key, *coded]


def _places(context: Context, home: set[str]) -> Iterator[tuple[str, bytes]]:
    yield from _logs(context.namespace)
    yield "the log of the operator", operator.logs().encode()
    yield from _objects(context.namespace, home)
    if agent.can_watch():
        yield from _processes()
        yield from _volumes(context.namespace)


def _logs(namespace: str) -> Iterator[tuple[str, bytes]]:
    for pod in kube.listing("pods", namespace):
        name = pod["metadata"]["name"]
        for previous in ([], ["--previous"]):
            for container in _containers(pod):
                arguments = ["logs", name, f"--namespace={namespace}", f"--container={container}", *previous]
                done = kube.try_kubectl(*arguments)
                if done.returncode == 0:
                    yield f"the log of {name}/{container}", done.stdout.encode()


def _containers(pod: dict[str, Any]) -> list[str]:
    spec = pod["spec"]
    return [entry["name"] for entry in spec.get("initContainers", []) + spec["containers"]]


def _objects(namespace: str, home: set[str]) -> Iterator[tuple[str, bytes]]:
    kinds = kube.kubectl("api-resources", "--verbs=list", "--namespaced", "--output=name").split()
    for kind in kinds:
        done = kube.try_kubectl("get", kind, f"--namespace={namespace}", "--output=json", "--show-managed-fields")
        if done.returncode != 0:
            continue
        for entry in json.loads(done.stdout).get("items", []):
            name = entry["metadata"]["name"]
            # A leaf's own Secret is where its key is, and so is the master key's.
            own = kind == "secrets" and (name in home or "tls.key" in entry.get("data", {}))
            if own:
                entry.pop("data", None)
                entry["metadata"].get("annotations", {}).pop("kubectl.kubernetes.io/last-applied-configuration", None)
            yield f"{kind} {name}", json.dumps(entry).encode()
    yield "the cluster-wide objects of the operator", kube.try_kubectl(
        "get", "nodes,persistentvolumes,customresourcedefinitions", "--output=json"
    ).stdout.encode()


def _processes() -> Iterator[tuple[str, bytes]]:
    for process in Path("/proc").glob("[0-9]*"):
        if int(process.name) == os.getpid():
            continue
        for part in ("cmdline", "environ"):
            try:
                yield f"{part} of process {process.name}", (process / part).read_bytes()
            except OSError:
                continue


def _volumes(namespace: str) -> Iterator[tuple[str, bytes]]:
    for path in sorted((VOLUMES / namespace).rglob("*")):
        try:
            if not path.is_file() or path.is_symlink() or path.stat().st_size == 0:
                continue
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                yield f"volume {path.relative_to(VOLUMES)}", content[:]
        except OSError:
            continue
