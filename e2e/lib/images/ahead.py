"""Lets cargo work while the cluster comes up: downloads and links of the one overlap with the other's compiling."""

import os
import threading
from pathlib import Path
from typing import Callable

from lib.cluster import components
from lib.console import Failure
from lib.images import cargo, moto, openbao
from lib.images.catalogue import CATALOGUE


def start() -> None:
    """Begins to make what is needed later. What fails here fails again, and is told, when it is asked for."""
    operator = [("tikv-security", "TIKV_SECURITY_BIN", cargo.operator)]
    stand_ins = [
        ("tikv", "TIKV_BIN", lambda: cargo.stand_in("tikv-server")),
        ("pd", "PD_BIN", lambda: cargo.stand_in("pd-server")),
        ("client", "CLIENT_BIN", lambda: cargo.stand_in("kv-client")),
    ]
    for programs in (operator, stand_ins):
        threading.Thread(target=_build, args=(programs,), daemon=True).start()


def start_small() -> None:
    """The same for what is quickly made, but only when the cluster has been built."""
    wanted: list[Callable[[], object]] = [lambda: components.build(components.COMPONENTS["helm"])]
    if not CATALOGUE["moto"].foreign:
        wanted.append(moto.packages)
    if not CATALOGUE["vault"].foreign and not os.environ.get("VAULT_BIN"):
        wanted.append(openbao.program)
    for make in wanted:
        threading.Thread(target=_try, args=(make,), daemon=True).start()


def _build(wanted: "list[tuple[str, str, Callable[[], Path]]]") -> None:
    for role, variable, build in wanted:
        if not CATALOGUE[role].foreign and not os.environ.get(variable):
            _try(build)


def _try(make: Callable[[], object]) -> None:
    try:
        make()
    except Failure:
        return
