"""What the machine was like before, and how everything that the cluster made goes away again."""

import json
import os
import shutil
import subprocess
from pathlib import Path

from lib import process, settings
from lib.cluster import cgroups, network, node

# Paths outside of our directories that Kubernetes' programs make whatever one tells them.
SHARED_PATHS = (
    "/var/lib/kubelet",
    "/var/lib/cni",
    "/var/log/containers",
    "/var/log/pods",
    "/var/run/kubernetes",
    "/usr/libexec/kubernetes",
    "/run/containerd",
)
# Kernel settings that kubelet, kube-proxy and the bridge plugin change.
SETTINGS = (
    "net/ipv4/ip_forward",
    "net/ipv4/conf/all/route_localnet",
    "net/bridge/bridge-nf-call-iptables",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
RECORD = settings.DATA / "before.json"


def remember() -> None:
    """Writes down what `clean` shall put back."""
    settings.DATA.mkdir(parents=True, exist_ok=True)
    values = {name: _read(name) for name in SETTINGS}
    content = {"absent": [path for path in SHARED_PATHS if not os.path.lexists(path)], "settings": values}
    RECORD.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def clean() -> None:
    """Removes every trace of the cluster. Safe at any time: also without a cluster, or after half a start."""
    for name in (
        "kubelet",
        "kube-proxy",
        "coredns",
        "kube-scheduler",
        "kube-controller-manager",
        "kube-apiserver",
        "etcd",
    ):
        process.stop(name)
    cgroups.remove()
    process.stop("containerd")
    process.terminate(process.ours())
    # Processes of a pod whose shim ended only now.
    cgroups.remove()
    _unmount()
    network.down()
    _restore()
    for path in Path("/var/lib/cni/results").glob(f"{node.CNI_NETWORK}-*"):
        path.unlink()
    for directory in (settings.RUN, settings.DATA):
        _remove_tree(directory)


def remains() -> list[str]:
    """What is left of the cluster, for a person; empty after `clean`."""
    found = [f"process {pid}" for pid in sorted(process.ours() | cgroups.members())]
    found += [f"mount {path}" for path in _mounts()]
    found += [str(path) for path in (settings.RUN, settings.DATA) if path.exists()]
    if network.exists():
        found.append(f"bridge {settings.BRIDGE}")
    return found


def _restore() -> None:
    try:
        record: dict[str, object] = json.loads(RECORD.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    values = record.get("settings")
    for name, value in values.items() if isinstance(values, dict) else ():
        if value is not None and _read(name) != value:
            try:
                Path("/proc/sys", name).write_text(value, encoding="utf-8")
            except OSError:
                pass
    for link in Path("/var/log/containers").glob("*.log"):
        if link.is_symlink() and os.readlink(link).startswith(str(settings.DATA)):
            link.unlink()
    absent = record.get("absent")
    for path in absent if isinstance(absent, list) else ():
        _remove_tree(Path(path))


def _read(name: str) -> "str | None":
    try:
        return Path("/proc/sys", name).read_text(encoding="utf-8").strip()
    except OSError:
        return None


def _mounts() -> list[str]:
    """Mount points in our directories, innermost first."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        point = line.split()[4].encode().decode("unicode_escape")
        if any(Path(point) == root or root in Path(point).parents for root in (settings.RUN, settings.DATA)):
            found.append(point)
    return sorted(found, key=len, reverse=True)


def _unmount() -> None:
    # Several mounts may lie on one point.
    for _ in range(5):
        points = _mounts()
        if not points:
            return
        for point in points:
            subprocess.run(["umount", "--lazy", point], check=False, capture_output=True)


def _remove_tree(directory: Path) -> None:
    """Removes a directory, but never looks into one that still is a mount."""
    inside = f"{directory}/"
    text = Path("/proc/self/mountinfo").read_text(encoding="utf-8")
    if not any(line.split()[4].startswith(inside) or line.split()[4] == str(directory) for line in text.splitlines()):
        shutil.rmtree(directory, ignore_errors=True)
