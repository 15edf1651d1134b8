"""Runs cases: each in its own namespace, each with a verdict, and what is needed to understand a failure."""

import importlib
import os
import pkgutil
import queue
import threading
import time
import traceback
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import cases
from lib import settings
from lib.cluster import lifecycle
from lib.console import Failure, report, say, speak_as, step
from lib.context import Context
from lib.images import ahead, loading
from lib.scenario import diagnosis, namespace, operator

# What every case uses. A case names others as IMAGES.
IMAGES = ["tools", "tikv-security", "tikv", "pd", "client", "moto"]


@dataclass
class Case:
    """One case: a module of `cases` with a function `run`."""

    name: str
    run: Callable[[Context], None]
    about: str
    # Whether it disturbs what all cases share, the operator for example.
    alone: bool
    # Whether it takes so long that it runs only when it is named.
    long: bool
    # Images that it uses beside those of all.
    images: tuple[str, ...]
    # About how long it takes: the longest begin first, so that none is left over when the others are done.
    minutes: int


def find() -> dict[str, Case]:
    """All cases by name, in alphabetical order."""
    found = {}
    for module in pkgutil.iter_modules(cases.__path__):
        loaded = importlib.import_module(f"cases.{module.name}")
        if hasattr(loaded, "run"):
            name = module.name.replace("_", "-")
            about = (loaded.__doc__ or "").strip().splitlines()[0]
            alone, long = (getattr(loaded, mark, False) for mark in ("ALONE", "LONG"))
            images, minutes = getattr(loaded, "IMAGES", ()), getattr(loaded, "MINUTES", 1)
            found[name] = Case(name, loaded.run, about, alone, long, images, minutes)
    return found


def run(chosen: list[Case], output: Path, keep: bool, jobs: int) -> int:
    """Runs cases, `jobs` of them at a time; answers the exit code."""
    lifecycle.check_machine()
    ahead.start()
    lifecycle.up()
    prepare({image for case in chosen for image in case.images})
    failed: set[str] = set()
    cleaning: list[threading.Thread] = []

    def work(case: Case) -> None:
        say(f"=== {case.name}: {case.about}")
        started = time.monotonic()
        good = _run_one(case, output)
        say(f"=== {case.name}: {'passed' if good else 'FAILED'} ({time.monotonic() - started:.0f} s)")
        if not good:
            failed.add(case.name)
        if good or not keep:
            # Most of it is waiting: the next case need not.
            cleaning.append(_begin(lambda: _clean_up(case, failed), case.name if jobs > 1 else ""))
        if jobs == 1:
            _join(cleaning)

    together = [case for case in chosen if not case.alone]
    _in_lanes(sorted(together, key=lambda case: -case.minutes), jobs, work)
    for case in chosen:
        if case.alone:
            # The operator finishes with what others have left before it is disturbed.
            _join(cleaning)
            work(case)
    _join(cleaning)
    say()
    for name in sorted(failed):
        say(f"failed: {name} (details in {output / name})")
    say(f"{len(chosen) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed else 0


def _in_lanes(chosen: list[Case], jobs: int, work: Callable[[Case], None]) -> None:
    """Spreads cases over `jobs` threads: they wait most of the time, and each has a namespace of its own."""
    waiting: queue.SimpleQueue[Case] = queue.SimpleQueue()
    for case in chosen:
        waiting.put(case)

    def lane() -> None:
        while True:
            try:
                case = waiting.get_nowait()
            except queue.Empty:
                return
            speak_as(case.name if jobs > 1 else "")
            work(case)

    _join([_begin(lane) for _ in range(jobs)])


def _begin(work: Callable[[], None], speaker: str = "") -> threading.Thread:
    def run() -> None:
        speak_as(speaker)
        work()

    # An interrupt ends the program, not only the thread that waits.
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def _join(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.join()


def prepare(more: AbstractSet[str] = frozenset()) -> None:
    """Images and operator of this working copy, and `more` images."""
    ahead.start_small()
    changed = loading.ensure([*IMAGES, *sorted(more)])
    with step("operator installed by Helm"):
        operator.install()
        operator.restart_if_image_changed("tikv-security" in changed)


def _run_one(case: Case, output: Path) -> bool:
    context = Context(case.name, f"e2e-{case.name}")
    directory = output / case.name
    try:
        with step(f"namespace {context.namespace}"):
            namespace.create(context.namespace)
        case.run(context)
        return True
    except Failure as failure:
        report(failure)
    except Exception:  # pylint: disable=broad-exception-caught
        # A mistake in a case must not hide the verdicts on the others.
        traceback.print_exc()
    say(f"          details: {directory}")
    try:
        diagnosis.dump(context.namespace, directory)
    except Failure as failure:
        report(failure)
    return False


def _clean_up(case: Case, failed: set[str]) -> None:
    name = f"e2e-{case.name}"
    try:
        with step(f"namespace {name} deleted"):
            namespace.delete(name)
    except Failure as failure:
        report(failure)
        failed.add(case.name)


def default_output() -> Path:
    """Where details of failures go."""
    named = os.environ.get("E2E_OUTPUT")
    return Path(named) if named else settings.CACHE / "failures" / time.strftime("%Y%m%d-%H%M%S")
