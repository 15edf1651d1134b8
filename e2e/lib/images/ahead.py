"""Lets cargo work while the cluster comes up: downloads and links of the one overlap with the other's compiling."""

import os
import threading

from lib.console import Failure
from lib.images import cargo
from lib.images.catalogue import CATALOGUE


def start() -> None:
    """Begins to build what the images need. What fails here fails again, and is told, when the image is made."""
    threading.Thread(target=_build, daemon=True).start()


def _build() -> None:
    wanted = [
        ("tikv-security", "TIKV_SECURITY_BIN", cargo.operator),
        ("tikv", "TIKV_BIN", lambda: cargo.stand_in("tikv-server")),
        ("pd", "PD_BIN", lambda: cargo.stand_in("pd-server")),
        ("client", "CLIENT_BIN", lambda: cargo.stand_in("kv-client")),
    ]
    for role, variable, build in wanted:
        if CATALOGUE[role].foreign or os.environ.get(variable):
            continue
        try:
            build()
        except Failure:
            continue
