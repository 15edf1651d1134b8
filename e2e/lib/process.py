"""Long-running programs of the harness: started in their own session, stopped by process id and name."""

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Callable, Optional

from lib import settings
from lib.console import Failure

PIDS = settings.RUN / "pids"


def start(name: str, command: list[str], env: Optional[dict[str, str]] = None) -> None:
    """Starts a daemon; its output goes to the log of that name, its id into a file at once."""
    settings.LOGS.mkdir(parents=True, exist_ok=True)
    PIDS.mkdir(parents=True, exist_ok=True)
    with open(log(name), "ab") as output:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, **(env or {})},
        )
    _pid_file(name).write_text(f"{child.pid} {command[0]}\n", encoding="utf-8")


def log(name: str) -> Path:
    """The log of a daemon."""
    return settings.LOGS / f"{name}.log"


def running(name: str) -> bool:
    """Whether the process of the pid file lives and still is the program that was started."""
    pid = _pid(name)
    return pid is not None


def wait_ready(name: str, ready: Callable[[], bool], timeout: float) -> None:
    """Waits until `ready` says so; a daemon that ends meanwhile is a failure at once."""
    deadline = time.monotonic() + timeout
    seen = True
    while not ready():
        # Right after exec a process has no arguments yet, so that it is not recognised once.
        seen, seen_before = running(name), seen
        if not seen and not seen_before:
            raise Failure(f"{name} ended right after its start", log(name))
        if time.monotonic() > deadline:
            raise Failure(f"{name} is not ready after {timeout:.0f} s", log(name))
        time.sleep(0.2)


def stop(name: str, timeout: float = 10) -> None:
    """Stops a daemon if it is still the one that was started."""
    pid = _pid(name)
    if pid is not None:
        terminate({pid}, timeout)
    _pid_file(name).unlink(missing_ok=True)


def terminate(pids: set[int], timeout: float = 10) -> None:
    """Asks processes to end, and ends those that do not."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        _signal(pids, number)
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            pids = {pid for pid in pids if alive(pid)}
            if not pids:
                return
            time.sleep(0.05)


def alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def ours() -> set[int]:
    """Processes started for this cluster, found by the directories that their command lines name.

    Catches what a killed `up` started but had no time to write down, and containerd's shims.
    """
    found = set()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        arguments = _arguments(int(entry.name))
        if arguments and _is_part(arguments[0]) and any(_names_us(argument) for argument in arguments[1:]):
            found.add(int(entry.name))
    return found


def _is_part(executable: str) -> bool:
    name = Path(executable).name
    return executable.startswith(str(settings.BIN)) or name.startswith(("containerd", "runc", "kube", "etcd"))


def _names_us(argument: str) -> bool:
    return str(settings.RUN) in argument or str(settings.DATA) in argument


def _arguments(pid: int) -> list[str]:
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return []
    return [part.decode("utf-8", "replace") for part in raw.split(b"\0") if part]


def _pid_file(name: str) -> Path:
    return PIDS / name


def _pid(name: str) -> Optional[int]:
    try:
        number, _, executable = _pid_file(name).read_text(encoding="utf-8").strip().partition(" ")
        pid = int(number)
    except (OSError, ValueError):
        return None
    _reap(pid)
    arguments = _arguments(pid)
    return pid if alive(pid) and arguments and arguments[0] == executable else None


def _reap(pid: int) -> None:
    """Takes the exit status of an own child, so that it does not look alive."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except OSError:
        pass


def _signal(pids: set[int], number: int) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except OSError:
            pass
