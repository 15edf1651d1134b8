"""The image for master keys in hardware security modules, with SoftHSM and a token in it, as docs/kms-pkcs11.md puts a
vendor's library into it. The program is the one that the tests build: linked dynamically, for it loads a library."""

import secrets
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from lib import settings
from lib.cluster import packages
from lib.console import Failure, run_logged
from lib.images.archive import Image, write
from lib.images.libraries import closure

# In the image: SoftHSM, and what puts its token into memory.
LIBRARY = "/opt/softhsm/libsofthsm2.so"
MODULE = "/opt/softhsm/libhsm.so"
SOURCE = "/opt/softhsm/tokens"
# Where the token is then.
TOKENS = "/dev/shm/softhsm"
# A directory without a token.
NOTHING = "/opt/softhsm/nothing"
# Where operator and agents have what `configSecret` holds.
CONFIGURATION = "/var/lib/tikv-security/hsm/softhsm2.conf"

TOKEN = "tikv"
KEY = "stores"
LIBRARIES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so")


@dataclass(frozen=True)
class Token:
    """A token of SoftHSM, kept between runs."""

    directory: Path
    pin: str
    # The AES key in it, which is told to nobody.
    key: bytes


def pack(name: str, program: Path, archive: Path) -> None:
    """Writes the archive."""
    library = _library()
    programs = {"/tikv-security": program, LIBRARY: library, MODULE: _module(library)}
    image = Image(name, ["/tikv-security"], files={path.lstrip("/"): file for path, file in programs.items()})
    image.add_libraries(closure([program, library]))
    image.trees = {SOURCE.lstrip("/"): token().directory}
    image.directories[NOTHING.lstrip("/")] = 0o755
    image.environment["SOFTHSM2_CONF"] = CONFIGURATION
    image.add_roots()
    write(image, archive)


def configuration(tokens: str) -> str:
    """SoftHSM's configuration file."""
    return f"directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\n"


def token() -> Token:
    """The token that is in the image."""
    home = settings.CACHE / "hsm"
    if not (home / "tokens").is_dir():
        _make(home)
    pin = (home / "pin").read_text(encoding="utf-8")
    return Token(home / "tokens", pin, (home / "key").read_bytes())


def _make(home: Path) -> None:
    partial = home.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(home, ignore_errors=True)
    tokens = partial / "tokens"
    tokens.mkdir(parents=True)
    (partial / "pin").write_text(secrets.token_hex(16), encoding="utf-8")
    (partial / "key").write_bytes(secrets.token_bytes(32))
    (partial / "softhsm2.conf").write_text(configuration(str(tokens)), encoding="utf-8")
    pin = ["--pin", (partial / "pin").read_text(encoding="utf-8")]
    _util(partial, "--init-token", "--free", "--label", TOKEN, "--so-pin", secrets.token_hex(16), *pin)
    _util(partial, "--import", "key", "--aes", "--token", TOKEN, "--label", KEY, "--id", "01", *pin)
    # The users of operator and agents are others.
    for path in tokens.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    partial.rename(home)


def _module(library: Path) -> Path:
    packages.provide_for_stand_ins()
    module = settings.CACHE / "hsm" / Path(MODULE).name
    command = ["c++", "-x", "c", "-O", "-Wall", "-shared", "-fPIC", f'-DSOURCE="{SOURCE}"', f'-DTARGET="{TOKENS}"']
    # At run time SoftHSM is beside it; here it is where the distribution has it.
    command += ["-o", str(module), str(Path(__file__).with_name("softhsm.c")), "-Wl,--no-as-needed"]
    command += [f"-L{library.parent}", f"-l:{library.name}", "-Wl,-rpath,$ORIGIN"]
    run_logged(command, settings.CACHE / "logs" / "softhsm.log", "compiling softhsm.c")
    return module


def _library() -> Path:
    found = [Path(path) for path in LIBRARIES if Path(path).exists()]
    if not found:
        packages.install(["softhsm2"])
        found = [Path(path) for path in LIBRARIES if Path(path).exists()]
    if not found:
        raise Failure("SoftHSM is needed: install softhsm2")
    return found[0]


def _util(home: Path, *arguments: str) -> None:
    environment = {"SOFTHSM2_CONF": str(home / "softhsm2.conf"), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        ["softhsm2-util", *arguments], check=False, capture_output=True, text=True, cwd=home, env=environment
    )
    if done.returncode != 0:
        raise Failure(f"softhsm2-util {arguments[0]}: {done.stderr.strip()}")
