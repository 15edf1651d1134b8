"""Which images the cases use, what they are called, and how each is made.

A person replaces any of them: TIKV_IMAGE=pingcap/tikv:v8.5.7 takes that image as it is (the nodes must be able to get
it), TIKV_BIN=/path/tikv-server packs that program.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional

from lib import settings
from lib.cluster.packages import BUSYBOX
from lib.console import Failure
from lib.images import acme, cargo, clients, hsm, moto, openbao, tools
from lib.images.archive import Image, write
from lib.images.libraries import closure


@dataclass(frozen=True)
class Entry:
    """One image of the catalogue."""

    role: str
    own_name: str
    variable: str
    make: Callable[[str, Path], None]

    @property
    def foreign(self) -> bool:
        """Whether a person named an image of their own."""
        return bool(os.environ.get(self.variable))

    @property
    def name(self) -> str:
        """What pods are to name."""
        return os.environ.get(self.variable) or self.own_name

    def build(self) -> Path:
        """Makes the archive."""
        archive = settings.CACHE / "images" / f"{self.role}.tar"
        self.make(self.own_name, archive)
        return archive


def _operator(name: str, archive: Path) -> None:
    binary = _given("TIKV_SECURITY_BIN") or cargo.operator()
    image = Image(name, ["/tikv-security"], files={"tikv-security": binary})
    image.add_libraries(closure([binary]))
    image.add_roots()
    write(image, archive)


def _operator_with_hsm(name: str, archive: Path) -> None:
    hsm.pack(name, cargo.operator_of_the_tests(), archive)


def _program(variable: str, binary: str) -> Callable[[str, Path], None]:
    def make(name: str, archive: Path) -> None:
        path = _given(variable) or cargo.stand_in(binary)
        # The path of the official images, so that start scripts and arguments fit both.
        image = Image(name, [f"/{binary}"], files={binary: path})
        image.add_libraries(closure([path]))
        image.directories.update({"data": 0o1777, "var/lib/tikv": 0o1777, "var/lib/pd": 0o1777})
        image.files["bin/busybox"] = BUSYBOX
        image.links["bin/sh"] = "busybox"
        write(image, archive)

    return make


def _vault(name: str, archive: Path) -> None:
    openbao.pack(name, _given("VAULT_BIN") or openbao.program(), archive)


def _tools(name: str, archive: Path) -> None:
    tools.write_tools(name, archive)


def _given(variable: str) -> Optional[Path]:
    value = os.environ.get(variable)
    if not value:
        return None
    path = Path(value).resolve()
    if not path.is_file():
        raise Failure(f"{variable}={value}: there is no such file")
    return path


CATALOGUE = {
    entry.role: entry
    for entry in (
        Entry("tools", tools.NAME, "TOOLS_IMAGE", _tools),
        Entry("tikv-security", "tikv-security:e2e", "TIKV_SECURITY_IMAGE", _operator),
        Entry("tikv-security-hsm", "tikv-security-softhsm:e2e", "TIKV_SECURITY_HSM_IMAGE", _operator_with_hsm),
        Entry("tikv", "tikv-standin:e2e", "TIKV_IMAGE", _program("TIKV_BIN", "tikv-server")),
        Entry("pd", "pd-standin:e2e", "PD_IMAGE", _program("PD_BIN", "pd-server")),
        Entry("tidb", "tidb-standin:e2e", "TIDB_IMAGE", _program("TIDB_BIN", "tidb-server")),
        Entry("client", "kv-client:e2e", "CLIENT_IMAGE", _program("CLIENT_BIN", "kv-client")),
        Entry("real-clients", "real-clients:e2e", "REAL_CLIENTS_IMAGE", clients.pack),
        Entry("vault", "openbao:e2e", "VAULT_IMAGE", _vault),
        Entry("acme", "step-ca:e2e", "ACME_IMAGE", acme.pack),
        Entry("moto", "moto:e2e", "MOTO_IMAGE", moto.make),
    )
}


def image_name(role: str) -> str:
    """The name of an image for a pod."""
    return CATALOGUE[role].name
