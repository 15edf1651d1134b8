"""An image of moto, which speaks AWS KMS with real cryptography: this Python, its library, and moto from PyPI."""

import shutil
import sys
import sysconfig
from pathlib import Path

from lib import settings
from lib.images import pypi
from lib.images.archive import Image, write
from lib.images.libraries import closure

PORT = 4566
REQUIREMENTS = (f"moto[kms]=={settings.MOTO}", "flask>=3,<4", "flask-cors>=5,<7")
SITE = "opt/moto"
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
    """The directory of moto and what it needs."""
    site = settings.CACHE / "moto" / f"site-{settings.MOTO}-{sys.version_info[0]}.{sys.version_info[1]}"
    return pypi.provide("moto", site, REQUIREMENTS, _prune)


def _prune(site: Path) -> None:
    for data in (site / "botocore" / "data").iterdir():
        if data.is_dir() and data.name not in ("kms", "sts"):
            shutil.rmtree(data)
