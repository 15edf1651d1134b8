"""The volumes of the stores: filled before TiKV ever ran, and looked at afterwards, both through a pod."""

import io
import json
import subprocess
import tarfile
from pathlib import Path
from typing import Any

from lib import kube, settings
from lib.cluster import storage
from lib.scenario import visitor
from lib.wait import until

MARKER = "PLAINTEXT-MARKER"
# busybox' grep ends a line at a zero byte, so everything that is not text becomes an end of line first.
COUNT_FILES = """
find /volume -type f | while read -r file; do
    tr -c ' -~' '\\n' < "$file" | grep -q -F -e "$1" && echo "$file"
done | wc -l
"""


def provide(namespace: str, claims: list[str]) -> None:
    """Makes volumes for the claims of the StatefulSets."""
    storage.provide(namespace, claims)


def fill(namespace: str, claim: str, archive: bytes) -> None:
    """Makes the claim and unpacks a tar archive onto its volume."""
    kube.apply(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": claim, "namespace": namespace},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2Gi"}}},
        }
    )
    pod = _start(namespace, claim, "fill")
    kube.kubectl(
        "exec", "--stdin", f"--namespace={namespace}", pod, "--", "tar", "-x", "-o", "-C", "/volume", stdin=archive
    )
    visitor.stop(namespace, pod)


def marker_count(namespace: str, claim: str, marker: str = MARKER) -> int:
    """In how many files of the volume the marker is found, whatever their kind."""
    if settings.foreign_kubeconfig() is None:
        # The volume is a directory here, which is quicker to read than by a pod.
        files = [path for path in (storage.VOLUMES / namespace / claim).rglob("*") if path.is_file()]
        return sum(marker.encode() in _content(path) for path in files)
    pod = _start(namespace, claim, "look")
    answer = kube.kubectl("exec", f"--namespace={namespace}", pod, "--", "sh", "-c", COUNT_FILES, "sh", marker)
    visitor.stop(namespace, pod)
    return int(answer.strip())


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        # TiKV works on.
        return b""


def fixture(store: Path) -> bytes:
    """A data directory of the test stores as a tar archive that an ordinary user can unpack."""
    packed = subprocess.run(["zstd", "-dc", str(store / "data.tar.zst")], check=True, capture_output=True).stdout
    out = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(packed)) as source, tarfile.open(fileobj=out, mode="w") as target:
        for entry in source:
            # The volume's own directory belongs to root.
            if entry.name in (".", "./"):
                continue
            entry.uid = entry.gid = visitor.OWNER
            entry.uname = entry.gname = ""
            target.addfile(entry, source.extractfile(entry) if entry.isfile() else None)
    return out.getvalue()


def fixture_manifest(store: Path) -> dict[str, Any]:
    """What is known of a test store."""
    return dict(json.loads((store / "manifest.json").read_text(encoding="utf-8")))


def _start(namespace: str, claim: str, verb: str) -> str:
    name = f"{verb}-{claim}"
    visitor.start(namespace, claim, name, "tools", ["sh", "-c", "sleep 600"])
    until(f"pod {name}", lambda: visitor.phase(namespace, name) == "Running", 60, lambda: "")
    return name
