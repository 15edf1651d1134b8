"""Runs cases: each in its own namespace, each with a verdict, and what is needed to understand a failure."""

import importlib
import os
import pkgutil
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import cases
from lib import settings
from lib.cluster import lifecycle
from lib.console import Failure, report, say, step
from lib.context import Context
from lib.images import ahead, loading
from lib.scenario import diagnosis, namespace, operator

IMAGES = ["tools", "tikv-security", "tikv", "pd", "client", "moto"]


@dataclass
class Case:
    """One case: a module of `cases` with a function `run`."""

    name: str
    run: Callable[[Context], None]
    about: str


def find() -> dict[str, Case]:
    """All cases by name, in alphabetical order."""
    found = {}
    for module in pkgutil.iter_modules(cases.__path__):
        loaded = importlib.import_module(f"cases.{module.name}")
        if hasattr(loaded, "run"):
            name = module.name.replace("_", "-")
            found[name] = Case(name, loaded.run, (loaded.__doc__ or "").strip().splitlines()[0])
    return found


def run(chosen: list[Case], output: Path, keep: bool) -> int:
    """Runs cases one after the other; answers the exit code."""
    lifecycle.check_machine()
    ahead.start()
    lifecycle.up()
    prepare()
    failed = []
    for case in chosen:
        say(f"\n=== {case.name}: {case.about}")
        started = time.monotonic()
        good = _run_one(case, output, keep)
        say(f"=== {case.name}: {'passed' if good else 'FAILED'} ({time.monotonic() - started:.0f} s)")
        if not good:
            failed.append(case.name)
    say()
    for name in failed:
        say(f"failed: {name} (details in {output / name})")
    say(f"{len(chosen) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed else 0


def prepare() -> None:
    """Images and operator of this working copy."""
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
