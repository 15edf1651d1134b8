"""An image with step-ca, a CA that speaks ACME, and Knot, the name server in which it looks."""

from pathlib import Path

from lib import settings
from lib.cluster import packages
from lib.console import run_logged
from lib.images.archive import Image, write
from lib.images.libraries import closure

KNOT = Path("/usr/sbin/knotd")


def pack(name: str, archive: Path) -> None:
    """Writes the archive."""
    if not KNOT.is_file():
        packages.install(["knot"])
    image = Image(name, ["/bin/step-ca"], files={"bin/step-ca": _step_ca(), "bin/knotd": KNOT})
    image.add_libraries(closure([KNOT]))
    write(image, archive)


def _step_ca() -> Path:
    log = settings.CACHE / "logs" / "acme.log"
    run_logged([str(settings.REPOSITORY / "ci" / "acme")], log, "building step-ca")
    return Path(log.read_text(encoding="utf-8").strip().splitlines()[-1]) / "step-ca"
