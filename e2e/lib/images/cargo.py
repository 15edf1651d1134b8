"""Programs of this repository, built by cargo."""

import json
import os
import subprocess
import threading
from pathlib import Path
from typing import Optional

from lib import settings
from lib.cluster import packages
from lib.console import Failure, run_logged

STAND_INS = settings.E2E / "standins"
REAL_CLIENT = settings.E2E / "clients" / "rust"
# One build at a time in a package: a second one would only wait for cargo's own lock, and write into the same log.
_BUILDING = {place: threading.Lock() for place in (settings.REPOSITORY, STAND_INS, REAL_CLIENT)}


def operator() -> Path:
    """`tikv-security` as one static program: its image holds nothing else."""
    host = _host()
    flags = f"CARGO_TARGET_{host.upper().replace('-', '_')}_RUSTFLAGS"
    # Named by target, so that build scripts and procedural macros are not linked statically as well.
    command = ["nice", "cargo", "build", "--profile", "e2e", "--locked", "--target", host, "--bin", "tikv-security"]
    _build(command, settings.REPOSITORY, "tikv-security", {flags: "-C target-feature=+crt-static"})
    return _target(settings.REPOSITORY) / host / "e2e" / "tikv-security"


def operator_of_the_tests() -> Path:
    """`tikv-security` as `cargo test` has it, linked dynamically: after the tests nothing is left to be built."""
    # `cargo build` would choose fewer features of the dependencies, and build them anew for it.
    command = ["nice", "cargo", "test", "--locked", "--no-run", "--test", "generated"]
    _build(command, settings.REPOSITORY, "tikv-security-dynamic", {})
    return _target(settings.REPOSITORY) / "debug" / "tikv-security"


def stand_in(binary: str) -> Path:
    """One of the stand-ins for TiKV, PD and the client."""
    if not (STAND_INS / "Cargo.toml").is_file():
        raise Failure(f"{STAND_INS} is missing, so {binary} cannot be built; name an image or a program of your own")
    packages.provide_for_stand_ins()
    command = ["nice", "cargo", "build", "--release", "--locked", "--bin", binary]
    _build(command, STAND_INS, binary, {})
    return _target(STAND_INS) / "release" / binary


def real_client() -> Path:
    """An application with the crate tikv-client."""
    name = "tikv-security-real-client"
    _build(["nice", "cargo", "build", "--release", "--locked"], REAL_CLIENT, name, {})
    return _target(REAL_CLIENT) / "release" / name


def _build(command: "list[str]", directory: Path, what: str, extra: dict[str, str]) -> None:
    log = settings.CACHE / "logs" / f"cargo-{what}.log"
    try:
        with _BUILDING[directory]:
            run_logged(command, log, f"building {what}", cwd=directory, env={**os.environ, **extra})
    except FileNotFoundError as missing:
        raise Failure(
            f"cargo is needed to build {what}: install Rust (rustup), or name a program or image"
        ) from missing


def _target(directory: Path) -> Path:
    done = _run(["cargo", "metadata", "--no-deps", "--format-version=1"], directory)
    return Path(json.loads(done)["target_directory"])


def _host() -> str:
    for line in _run(["rustc", "-vV"], settings.REPOSITORY).splitlines():
        if line.startswith("host: "):
            return line.split()[1]
    raise Failure("rustc does not name its host")


def _run(command: "list[str]", directory: Optional[Path] = None) -> str:
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=directory)
    except FileNotFoundError as missing:
        raise Failure(f"{command[0]} is not installed: install Rust (rustup)") from missing
    if done.returncode != 0:
        raise Failure(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout
