"""Programs of the machine that the cluster needs, from Debian's or Ubuntu's packages."""

import os
import shutil
import threading
from pathlib import Path

from lib import settings
from lib.cluster.node import CNI_BINARIES
from lib.console import Failure, run_logged

# What must be there, and the package that has it.
PROGRAMS = {
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "iptables": "iptables",
    "ip": "iproute2",
    "openssl": "openssl",
    "mount": "mount",
    "zstd": "zstd",
}
BUSYBOX = Path("/bin/busybox")
# What the stand-ins are compiled with: a file, and the package that has it.
STAND_INS = {
    "/usr/bin/c++": "g++",
    "/usr/bin/pkg-config": "pkg-config",
    "/usr/include/openssl/ssl.h": "libssl-dev",
    "/usr/include/rocksdb/db.h": "librocksdb-dev",
}
# One installation at a time: programs are built while the cluster comes up.
_INSTALLING = threading.Lock()


def missing() -> list[str]:
    """Packages to install."""
    found = {package for name, package in PROGRAMS.items() if shutil.which(name) is None}
    if not any((Path(path) / "bridge").is_file() for path in CNI_BINARIES):
        found.add("containernetworking-plugins")
    if not _static(BUSYBOX):
        found.add("busybox-static")
    return sorted(found)


def provide_for_stand_ins() -> None:
    """Installs what the stand-ins are compiled with."""
    with _INSTALLING:
        names = sorted(package for path, package in STAND_INS.items() if not Path(path).exists())
        if names:
            _install(names)


def install(names: list[str]) -> None:
    """Installs packages without a question."""
    with _INSTALLING:
        _install(names)


def _install(names: list[str]) -> None:
    if shutil.which("apt-get") is None:
        raise Failure(
            f"missing on this machine: {', '.join(names)}; install them with its package manager, "
            "or use an existing cluster (e2e/README.md, kind)"
        )
    logs = settings.CACHE / "logs"
    env: dict[str, str] = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    run_logged(["apt-get", "update"], logs / "apt-update.log", "apt-get update", env=env)
    command = ["apt-get", "install", "--yes", "--no-install-recommends", *names]
    run_logged(command, logs / "apt-install.log", "apt-get install", env=env)


def _static(program: Path) -> bool:
    """Whether a program needs no interpreter: only such a one runs in an image without libraries."""
    try:
        head = program.read_bytes()[:4096]
    except OSError:
        return False
    return head.startswith(b"\x7fELF") and b"/ld-" not in head
