"""An image of moto, which speaks AWS KMS with real cryptography: this Python, its library, and moto from PyPI."""

import os
import shutil
import subprocess
import sys
import sysconfig
import threading
from pathlib import Path

from lib import settings
from lib.console import Failure, run_logged
from lib.images.archive import Image, write
from lib.images.libraries import closure

PORT = 4566
REQUIREMENTS = (f"moto[kms]=={settings.MOTO}", "flask>=3,<4", "flask-cors>=5,<7")
SITE = "opt/moto"
_INSTALLING = threading.Lock()
# Large, and not needed to answer requests.
UNUSED_LIBRARY = ("test", "idlelib", "tkinter", "ensurepip", "lib2to3", "site-packages", "dist-packages", "config-*")


def make(name: str, archive: Path) -> None:
    """Writes the archive."""
    site = packages()
    library = Path(sysconfig.get_path("stdlib"))
    interpreter = Path(sys.executable).resolve()
    stage = settings.CACHE / "moto" / "stdlib"
    shutil.rmtree(stage, ignore_errors=True)
    shutil.copytree(library, stage, symlinks=True, ignore=shutil.ignore_patterns(*UNUSED_LIBRARY, "__pycache__"))
    extensions = [path for tree in (site, stage) for path in tree.rglob("*.so")]
    # The interpreter finds its library by its own place, so both keep theirs.
    image = Image(name, [str(interpreter), "-m", "moto.server", "--host", "0.0.0.0", "--port", str(PORT)])
    image.files[str(interpreter).lstrip("/")] = interpreter
    image.trees = {str(library).lstrip("/"): stage, SITE: site}
    image.add_libraries(closure([interpreter, *extensions]))
    image.links["usr/local/bin/python3"] = str(interpreter)
    image.environment = {"PYTHONPATH": f"/{SITE}", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"}
    write(image, archive)


def packages() -> Path:
    """The directory of moto and what it needs. Two callers wait for each other."""
    with _INSTALLING:
        return _install()


def _install() -> Path:
    site = settings.CACHE / "moto" / f"site-{settings.MOTO}-{sys.version_info[0]}.{sys.version_info[1]}"
    if site.is_dir():
        return site
    _require_pip()
    partial = site.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-compile",
        "--target",
        str(partial),
        *REQUIREMENTS,
    ]
    run_logged(command, settings.CACHE / "logs" / "moto.log", "installing moto from PyPI")
    for data in (partial / "botocore" / "data").iterdir():
        if data.is_dir() and data.name not in ("kms", "sts"):
            shutil.rmtree(data)
    partial.rename(site)
    return site


def _require_pip() -> None:
    probe = [sys.executable, "-m", "pip", "--version"]
    if subprocess.run(probe, check=False, capture_output=True).returncode == 0:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise Failure("pip is needed to install moto: install python3-pip")
    install = ["apt-get", "install", "--yes", "--no-install-recommends", "python3-pip"]
    run_logged(install, settings.CACHE / "logs" / "pip.log", "installing python3-pip")
