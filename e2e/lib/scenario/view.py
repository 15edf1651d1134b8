"""The live view of a `TikvSecurity`: drawn in place on a terminal, plain lines of what changed otherwise."""

import shutil
import sys
import time
from typing import Any, Optional

from lib.console import Failure, say
from lib.scenario.client import Client
from lib.scenario.measure import human
from lib.scenario.resource import TikvSecurity

WIDTH = 24
CONDITIONS = (
    "CertificatesReady",
    "MasterKeyReachable",
    "ConfigurationCurrent",
    "RolloutComplete",
    "DataEncrypted",
    "Ready",
)
INTERVAL = 1.0


def watch(resource: TikvSecurity, stores: list[str], client: Optional[Client], timeout: float) -> None:
    """Shows what happens until Ready=True."""
    started = time.monotonic()
    screen = _Screen()
    while True:
        # Asked first, so that the last picture shows what made the end.
        ready = resource.condition("Ready")
        screen.show(_lines(resource.get(), resource.volumes(), stores, client), time.monotonic() - started)
        if ready and ready["status"] == "True":
            screen.finish()
            return
        if time.monotonic() - started > timeout:
            screen.finish()
            raise Failure(f"not ready after {timeout:.0f} s: {resource.summary()}")
        time.sleep(INTERVAL)


def _lines(
    current: dict[str, Any], volumes: dict[str, dict[str, Any]], stores: list[str], client: Optional[Client]
) -> list[str]:
    status = current.get("status", {})
    rollout = status.get("rollout", {})
    work = " ".join(
        part for part in (rollout.get("phase"), rollout.get("pod"), _because(rollout.get("reason"))) if part
    )
    lines = [
        f"phase     {status.get('phase', 'not seen by the operator yet')}: {status.get('message', '')}".rstrip(": ")
    ]
    lines.append(f"rollout   {work or '-'}")
    if rollout.get("waitingFor"):
        lines.append(f"waits for {rollout['waitingFor']}")
    lines += [_store(store, volumes.get(store, {})) for store in stores]
    held = {entry["type"]: entry["status"] for entry in status.get("conditions", [])}
    for some in (CONDITIONS[:3], CONDITIONS[3:]):
        lines.append("          " + "".join(f"{_mark(held.get(name))} {name:<23}" for name in some).rstrip())
    if client:
        lines.append(f"client    {client.brief()}")
    return lines


def _store(name: str, status: dict[str, Any]) -> str:
    report = status.get("report") or {}
    coverage = report.get("coverage") or {}
    progress = report.get("progress") or {}
    done, total = coverage.get("encryptedBytes", 0), coverage.get("bytes", 0)
    if status.get("phase") == "Working" and progress:
        done, total = progress.get("bytesDone", 0), progress.get("bytesTotal", 0)
    share = done / total if total else 0.0
    bar = "#" * int(share * WIDTH)
    amount = f"{human(done)} of {human(total)}" if total else "not measured yet"
    return f"{name:<12}[{bar:<{WIDTH}}] {share:4.0%} {amount:<22} {status.get('phase', '')}"


def _mark(value: Optional[str]) -> str:
    return {"True": "+", "False": "-"}.get(value or "", "?")


def _because(reason: Optional[str]) -> str:
    return f"({reason})" if reason else ""


class _Screen:
    """Where the lines go."""

    def __init__(self) -> None:
        self.terminal = sys.stdout.isatty()
        self.drawn = 0
        self.said: list[str] = []

    def show(self, lines: list[str], seconds: float) -> None:
        """Shows the lines; without a terminal only those that are new."""
        if not self.terminal:
            # The client's numbers change all the time and are no news.
            news = [line for line in lines if line not in self.said and not line.startswith("client")]
            for line in news:
                say(f"{seconds:6.0f} s  {line}")
            self.said = lines
            return
        width = shutil.get_terminal_size().columns
        if self.drawn:
            sys.stdout.write(f"\033[{self.drawn}A")
        for line in lines:
            sys.stdout.write(f"\033[2K  {line}"[: width + 3] + "\n")
        # Lines of a longer picture before.
        for _ in range(max(0, self.drawn - len(lines))):
            sys.stdout.write("\033[2K\n")
        self.drawn = max(self.drawn, len(lines))
        sys.stdout.flush()

    def finish(self) -> None:
        """Ends the picture."""
        if not self.terminal:
            say()
