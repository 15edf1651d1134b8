"""An own cgroup above all pods, in version 1 and 2: whatever still runs in it at `down` is ours."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

from lib import process

NAME = "tikv-security-e2e"
ROOT = Path("/sys/fs/cgroup")


def make() -> None:
    """Makes the cgroup in each hierarchy, with the controllers that the kubelet wants."""
    if _unified():
        directory = ROOT / NAME
        directory.mkdir(exist_ok=True)
        wanted = (ROOT / "cgroup.controllers").read_text(encoding="utf-8").split()
        for group in (ROOT, directory):
            for controller in wanted:
                _write(group / "cgroup.subtree_control", f"+{controller}")
        return
    for hierarchy in _hierarchies():
        directory = hierarchy / NAME
        directory.mkdir(exist_ok=True)
        # A cpuset without processors and memory takes no process.
        for name in ("cpuset.cpus", "cpuset.mems"):
            if (hierarchy / name).is_file():
                _write(directory / name, (hierarchy / name).read_text(encoding="utf-8"))


def remove() -> None:
    """Ends what still runs in the cgroup and removes it."""
    for _ in range(20):
        pids = members()
        if not pids:
            break
        process.terminate(pids, timeout=2)
    for root in _roots():
        for directory, _, _ in os.walk(root, topdown=False):
            _rmdir(Path(directory))


def members() -> set[int]:
    """Processes in the cgroup."""
    found: set[int] = set()
    for root in _roots():
        for directory, _, _ in os.walk(root):
            try:
                text = (Path(directory) / "cgroup.procs").read_text(encoding="utf-8")
            except OSError:
                continue
            found.update(int(pid) for pid in text.split())
    return {pid for pid in found if process.alive(pid)}


def _roots() -> Iterator[Path]:
    candidates: list[Path] = [ROOT] if _unified() else _hierarchies() + [ROOT / "unified"]
    return (candidate / NAME for candidate in candidates if (candidate / NAME).is_dir())


def _unified() -> bool:
    return (ROOT / "cgroup.controllers").is_file()


def _hierarchies() -> list[Path]:
    return [path for path in sorted(ROOT.iterdir()) if (path / "tasks").is_file() and not path.is_symlink()]


def _rmdir(directory: Path) -> None:
    for _ in range(20):
        try:
            directory.rmdir()
            return
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(0.1)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError:
        pass
