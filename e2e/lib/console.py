"""What a person sees: one line a step with its duration, and on failure the part and the end of its log."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Optional

TAIL = 15
# Whose lines these are, where several write at the same time.
_SPEAKER: ContextVar[str] = ContextVar("speaker", default="")


class Failure(Exception):
    """Something that a person can understand and act on; shown without a trace."""

    def __init__(self, message: str, log: Optional[Path] = None):
        super().__init__(message)
        self.log = log


def say(text: str = "") -> None:
    """Prints one line at once, also into a pipe."""
    # In one piece: others print as well.
    sys.stdout.write(f"{_SPEAKER.get()}{text}\n")
    sys.stdout.flush()


def speak_as(name: str) -> None:
    """Marks every line of this thread from now on."""
    _SPEAKER.set(f"{name:<28}" if name else "")


@contextmanager
def step(title: str) -> Iterator[None]:
    """Shows `title`, and when the block is left how long it took. On a terminal the line is completed in place."""
    terminal = sys.stdout.isatty() and not _SPEAKER.get()
    if terminal:
        print(f"  …     {title}", end="", flush=True)
    started = time.monotonic()
    try:
        yield
    except BaseException:
        say(f"{_start(terminal)}  FAILED {title} ({time.monotonic() - started:.1f} s)")
        raise
    say(f"{_start(terminal)}{time.monotonic() - started:6.1f} s  {title}")


def run_logged(
    command: list[str],
    log: Path,
    what: str,
    cwd: Optional[Path] = None,
    env: Optional[dict[str, str]] = None,
) -> None:
    """Runs a command with its output in `log`; a failure names `what`, the log, and shows its end."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "wb") as output:
        code = subprocess.run(
            command, check=False, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, cwd=cwd, env=env
        ).returncode
    if code != 0:
        raise Failure(f"{what} failed (exit code {code})", log)


def report(failure: Failure) -> None:
    """Prints a failure and the end of its log to standard error."""
    lines = [f"error: {failure}"]
    if failure.log and failure.log.is_file():
        lines.append(f"log: {failure.log}, its end:")
        lines += [f"  | {line}" for line in tail(failure.log)]
    sys.stderr.write("".join(f"{_SPEAKER.get()}{line}\n" for line in lines))
    sys.stderr.flush()


def tail(log: Path, lines: int = TAIL) -> list[str]:
    """The last lines of a log."""
    return log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]


def _start(terminal: bool) -> str:
    return "\r\033[K" if terminal else ""
