"""An image with applications that use the clients which applications have: client-go and the crate tikv-client."""

import os
from pathlib import Path

from lib import settings
from lib.console import run_logged
from lib.images import cargo
from lib.images.archive import Image, write
from lib.images.libraries import closure

PROGRAMS = {"go": "/bin/go-client", "rust": "/bin/rust-client"}


def pack(name: str, archive: Path) -> None:
    """Writes the archive."""
    built = {"go": _in_go(), "rust": cargo.real_client()}
    image = Image(name, files={PROGRAMS[language].lstrip("/"): path for language, path in built.items()})
    image.add_libraries(closure([built["rust"]]))
    write(image, archive)


def _in_go() -> Path:
    built = settings.CACHE / "bin" / "go-client"
    command = ["go", "build", "-trimpath", "-ldflags=-s -w", "-o", str(built), "."]
    log = settings.CACHE / "logs" / "go-client.log"
    environment = {**os.environ, "CGO_ENABLED": "0"}
    run_logged(command, log, "building the Go client", cwd=settings.E2E / "clients" / "go", env=environment)
    return built
