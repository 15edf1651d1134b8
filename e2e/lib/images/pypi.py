"""Packages from PyPI, kept in the cache, each set in a directory of its own."""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Callable

from lib import settings
from lib.console import Failure, run_logged

_INSTALLING = threading.Lock()


def provide(name: str, site: Path, arguments: Sequence[str], prune: Callable[[Path], None]) -> Path:
    """Installs into `site` what the arguments of pip say, unless it is there; `prune` makes it smaller before. Two
    callers wait for each other."""
    with _INSTALLING:
        if not site.is_dir():
            _install(name, site, arguments, prune)
        return site


def _install(name: str, site: Path, arguments: Sequence[str], prune: Callable[[Path], None]) -> None:
    _require_pip()
    partial = site.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--target", str(partial), *arguments]
    run_logged(command, settings.CACHE / "logs" / f"{name}.log", f"installing {name} from PyPI")
    prune(partial)
    partial.rename(site)


def _require_pip() -> None:
    probe = [sys.executable, "-m", "pip", "--version"]
    if subprocess.run(probe, check=False, capture_output=True).returncode == 0:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise Failure("pip is needed to install packages from PyPI: install python3-pip")
    install = ["apt-get", "install", "--yes", "--no-install-recommends", "python3-pip"]
    run_logged(install, settings.CACHE / "logs" / "pip.log", "installing python3-pip")
