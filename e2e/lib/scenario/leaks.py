"""Looks for keys where none may be: logs, objects, arguments and environments of processes, volumes.

A key is looked for as it is written, as bytes, and in base64 at each of its three alignments.
"""

import base64
import json
import mmap
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from lib import kube
from lib.cluster.storage import VOLUMES
from lib.console import Failure
from lib.context import Context
from lib.scenario import agent, operator

# Lines of a private key in PEM begin with what every such key begins with; the second line is its own.
PEM_BODY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----\n[^\n]+\n([^\n]{40,})\n")


def of_text(text: str) -> list[bytes]:
    """What to look for when a key is hexadecimal text."""
    return of_bytes(bytes.fromhex(text))


def of_bytes(key: bytes) -> list[bytes]:
    """What to look for when a key is bytes."""
    return _forms(key) + _of_hexadecimal(key)


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


def hits(context: Context, needles: dict[str, list[bytes]], home: set[str]) -> tuple[list[str], dict[str, int]]:
    """Where a key was found, and how many places of each kind were searched. `home` names the Secrets with keys."""
    found = []
    searched: Counter[str] = Counter()
    for kind, place, content in _places(context, home):
        searched[kind] += 1
        for name, forms in needles.items():
            if any(form in content for form in forms):
                found.append(f"{name} in {place}")
    return found, dict(searched)


def _forms(key: bytes) -> list[bytes]:
    coded = []
    for shift in range(3):
        # The first and the last characters depend on what stands beside the key.
        text = base64.b64encode(b"\0" * shift + key)
        coded.append(text[4:-4] if shift else text[:-4])
    return [key, *coded]


def _of_hexadecimal(key: bytes) -> list[bytes]:
    return _forms(key.hex().encode()) + _forms(key.hex().upper().encode())


def _places(context: Context, home: set[str]) -> Iterator[tuple[str, str, bytes]]:
    kinds: dict[str, Iterator[tuple[str, bytes]]] = {
        "logs": _logs(context.namespace),
        "objects": _objects(context.namespace, home),
    }
    if agent.can_watch():
        kinds["arguments and environments"] = _processes()
        kinds["files of volumes"] = _volumes(context.namespace)
    for kind, places in kinds.items():
        for place, content in places:
            if content:
                yield kind, place, content


def _logs(namespace: str) -> Iterator[tuple[str, bytes]]:
    yield "the log of the operator", operator.logs().encode()
    for pod in kube.listing("pods", namespace):
        name = pod["metadata"]["name"]
        status = pod["status"]
        states = status.get("initContainerStatuses", []) + status.get("containerStatuses", [])
        restarted = [entry["name"] for entry in states if entry["restartCount"]]
        for which in (["--all-containers"], *(["--previous", f"--container={one}"] for one in restarted)):
            done = kube.try_kubectl("logs", name, f"--namespace={namespace}", *which)
            # A container that never ran, or whose log is gone, has none.
            if done.stdout:
                yield f"the log of {name} ({' '.join(which)})", done.stdout.encode()


def _objects(namespace: str, home: set[str]) -> Iterator[tuple[str, bytes]]:
    kinds = kube.kubectl("api-resources", "--verbs=list", "--namespaced", "--output=name").split()
    # Of some kinds there is no list, which is no reason not to give the others.
    target = [",".join(kinds), f"--namespace={namespace}"]
    done = kube.try_kubectl("get", *target, "--output=json", "--show-managed-fields", "--ignore-not-found")
    entries = json.loads(done.stdout or "{}").get("items", [])
    if not {"Pod", "Secret", "ConfigMap", "TikvSecurity"} <= {entry["kind"] for entry in entries}:
        raise Failure(f"the objects of {namespace} can not be looked at: {done.stderr.strip()}")
    for entry in entries:
        name = entry["metadata"]["name"]
        # A leaf's own Secret is where its key is, and so is the master key's.
        own = entry["kind"] == "Secret" and (name in home or "tls.key" in entry.get("data", {}))
        if own:
            entry.pop("data", None)
            entry["metadata"].get("annotations", {}).pop("kubectl.kubernetes.io/last-applied-configuration", None)
        yield f"{entry['kind']} {name}", json.dumps(entry).encode()
    yield (
        "the cluster-wide objects of the operator",
        kube.try_kubectl("get", "nodes,persistentvolumes,customresourcedefinitions", "--output=json").stdout.encode(),
    )


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
