"""Runs cases: each in its own namespace, each with a verdict, and what is needed to understand a failure."""

import importlib
import os
import pkgutil
import queue
import threading
import time
import traceback
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

IMAGES = ["tools", "tikv-security", "tikv", "pd", "client", "moto", "vault"]


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


def find() -> dict[str, Case]:
    """All cases by name, in alphabetical order."""
    found = {}
    for module in pkgutil.iter_modules(cases.__path__):
        loaded = importlib.import_module(f"cases.{module.name}")
        if hasattr(loaded, "run"):
            name = module.name.replace("_", "-")
            about = (loaded.__doc__ or "").strip().splitlines()[0]
            alone, long = (getattr(loaded, mark, False) for mark in ("ALONE", "LONG"))
            found[name] = Case(name, loaded.run, about, alone, long)
    return found


def run(chosen: list[Case], output: Path, keep: bool, jobs: int) -> int:
    """Runs cases, `jobs` of them at a time; answers the exit code."""
    lifecycle.check_machine()
    ahead.start()
    lifecycle.up()
    prepare()
    failed: list[str] = []

    def work(case: Case) -> None:
        say(f"=== {case.name}: {case.about}")
        started = time.monotonic()
        good = _run_one(case, output, keep)
        say(f"=== {case.name}: {'passed' if good else 'FAILED'} ({time.monotonic() - started:.0f} s)")
        if not good:
            failed.append(case.name)

    _in_lanes([case for case in chosen if not case.alone], jobs, work)
    for case in chosen:
        if case.alone:
            work(case)
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

    # An interrupt ends the program, not only the thread that waits here.
    lanes = [threading.Thread(target=lane, daemon=True) for _ in range(jobs)]
    for thread in lanes:
        thread.start()
    for thread in lanes:
        thread.join()


def prepare() -> None:
    """Images and operator of this working copy."""
    ahead.start_small()
    changed = loading.ensure(IMAGES)
    with step("operator installed by Helm"):
        operator.install()
        operator.restart_if_image_changed("tikv-security" in changed)


def _run_one(case: Case, output: Path, keep: bool) -> bool:
    context = Context(case.name, f"e2e-{case.name}")
    directory = output / case.name
    good = False
    try:
        with step(f"namespace {context.namespace}"):
            namespace.create(context.namespace)
        case.run(context)
        good = True
    except Failure as failure:
        report(failure)
    except Exception:  # pylint: disable=broad-exception-caught
        # A mistake in a case must not hide the verdicts on the others.
        traceback.print_exc()
    if not good:
        say(f"          details: {directory}")
        try:
            diagnosis.dump(context.namespace, directory)
        except Failure as failure:
            report(failure)
    if good or not keep:
        try:
            with step(f"namespace {context.namespace} deleted"):
                namespace.delete(context.namespace)
        except Failure as failure:
            report(failure)
            good = False
    return good


def default_output() -> Path:
    """Where details of failures go."""
    named = os.environ.get("E2E_OUTPUT")
    return Path(named) if named else settings.CACHE / "failures" / time.strftime("%Y%m%d-%H%M%S")
