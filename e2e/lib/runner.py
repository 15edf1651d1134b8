"""Runs cases: each in its own namespace, each with a verdict, and what is needed to understand a failure."""

import importlib
import os
import pkgutil
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Dict, List

import cases
from lib import settings
from lib.cluster import lifecycle
from lib.console import Failure, report, say, step
from lib.images import loading
from lib.scenario import diagnosis, namespace, operator
from lib.scenario.cluster import TikvCluster
from lib.scenario.resource import TikvSecurity

IMAGES = ["tools", "tikv-security", "tikv", "pd", "client", "moto"]


@dataclass
class Case:
    """One case: a module of `cases` with a function `run`."""

    name: str
    run: "Callable[[Context], None]"
    about: str


@dataclass
class Context:
    """What a case works with."""

    name: str
    namespace: str
    cluster: TikvCluster = field(init=False)
    resource: TikvSecurity = field(init=False)

    def __post_init__(self) -> None:
        self.cluster = TikvCluster(self.namespace)
        self.resource = TikvSecurity(self.namespace)

    def check(self, what: str, truth: bool, detail: str = "") -> None:
        """States what must be so; a case ends at the first statement that is not."""
        if not truth:
            raise Failure(f"not so: {what}" + (f" ({detail})" if detail else ""))
        say(f"          so: {what}" + (f" ({detail})" if detail else ""))


def find() -> Dict[str, Case]:
    """All cases by name, in alphabetical order."""
    found = {}
    for module in pkgutil.iter_modules(cases.__path__):
        loaded = importlib.import_module(f"cases.{module.name}")
        if hasattr(loaded, "run"):
            name = module.name.replace("_", "-")
            found[name] = Case(name, loaded.run, (loaded.__doc__ or "").strip().splitlines()[0])
    return found


def run(chosen: List[Case], output: Path, keep: bool) -> int:
    """Runs cases one after the other; answers the exit code."""
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

