"""Waiting for something to be so."""

import contextlib
import threading
import time
from typing import Callable, Optional, TypeVar

from lib.console import Failure

T = TypeVar("T")
INTERVAL = 0.5


def until(what: str, probe: Callable[[], Optional[T]], timeout: float, state: Callable[[], str] = str) -> T:
    """Asks `probe` until it answers something true; a time-out says what was waited for and how things stood."""
    deadline = time.monotonic() + timeout
    while True:
        answer = probe()
        if answer:
            return answer
        if time.monotonic() > deadline:
            stood = state()
            raise Failure(f"waited {timeout:.0f} s for {what}" + (f"; at the end: {stood}" if stood else ""))
        time.sleep(INTERVAL)


def meanwhile(wait: Callable[[], object]) -> Callable[[], bool]:
    """Waits for something on the side; answers how to ask whether that came to an end, a good one or not."""

    def run() -> None:
        with contextlib.suppress(Failure):
            wait()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return lambda: not thread.is_alive()
