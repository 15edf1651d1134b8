"""Losses of power under real file systems: replays what a disk was told while a store was re-encrypted.

The last line is `images N, violations N`. Needs root, /dev/fuse and loop devices.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent))

import images
from device import RecordingDisk
from store import GUARD, JOURNAL, METHODS, SEEN_AS, Store

ROOT = Path(__file__).resolve().parents[2]
STORES = ROOT / "tests" / "stores"
MASTER_KEY = STORES / "keys" / "master.key"
# Answers every flush of the recorded run without one: what the images must then show.
SWALLOW = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "inject=fsync,fdatasync,syncfs,sync,msync:retval=0"]
# Where each journey begins and what it wants.
JOURNEYS = [
    ("method-changed", "aes256-ctr"),
    ("plaintext", "sm4-ctr"),
    ("aes256", "plaintext"),
    ("dict-v1", "aes128-ctr"),
]


class Start(NamedTuple):
    """A journey, and what must always be read."""

    store: str
    method: str
    contents: "dict[str, str]"
    old_keys: "set[int]"


class Violation(Exception):
    """What a user would have lost."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="ci/soak-blocks", description=__doc__.splitlines()[0])
    parser.add_argument("--file-system", action="append", choices=list(images.FILE_SYSTEMS), help="without any: all")
    parser.add_argument("--journey", action="append", choices=[name for name, _ in JOURNEYS], help="without any: all")
    parser.add_argument("--subsets", type=int, default=3, metavar="N", help="random parts of what follows each flush")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="repeats an earlier choice of parts")
    parser.add_argument("--binary", type=Path, default=os.environ.get("TIKV_SECURITY_BIN"), help="the program")
    parser.add_argument("--planted", action="store_true", help="swallow the flushes: every journey must show it")
    arguments = parser.parse_args()
    if arguments.binary is None:
        parser.error("which program? --binary or TIKV_SECURITY_BIN")
    print(f"seed {arguments.seed}", flush=True)
    total = violations = missed = 0
    for kind in arguments.file_system or images.FILE_SYSTEMS:
        for name, method in JOURNEYS:
            if name in (arguments.journey or [name]):
                draw = random.Random(f"{arguments.seed} {kind} {name}")
                done, bad = journey(arguments, kind, name, method, draw)
                total, violations, missed = total + done, violations + bad, missed + (bad == 0)
    print(f"images {total}, violations {violations}")
    failed = missed if arguments.planted else violations
    return 1 if failed or not total else 0


def journey(
    arguments: argparse.Namespace, kind: str, name: str, method: str, draw: random.Random
) -> "tuple[int, int]":
    """One store on one file system: images, and how many of them were violations."""
    binary = arguments.binary
    # In memory where that can be: nothing here needs to be durable.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="soak-", dir=memory) as directory:
        work = Path(directory)
        base, live, image, point = (work / part for part in ("base", "live", "image", "mounted"))
        point.mkdir()
        images.make(kind, base)
        with images.mounted(base, point):
            start = unpack(name, method, point / "store")
        subprocess.run(["cp", "--sparse=always", str(base), str(live)], check=True)
        disk = RecordingDisk(live, work)
        with disk as file, images.mounted(file, point):
            reencrypt(binary, start, point / "store", SWALLOW if arguments.planted else [])
            run_end = len(disk.log.entries())
        log = disk.log.entries()
        flushes = sum(entry is None for entry in log)
        done = bad = 0
        for crash in images.crashes(base, log, run_end, arguments.subsets, draw, image):
            done += 1
            try:
                with images.mounted(image, point):
                    judge(binary, start, point / "store", crash.ended)
            except (Violation, subprocess.CalledProcessError) as error:
                bad += 1
                print(f"VIOLATION {kind}, {name} to {method}, {crash.name}: {error}", flush=True)
        told = f"{len(log) - flushes} writes, {flushes} flushes, {done} images, {bad} violations"
        print(f"{kind}, {name} to {method}: {told}", flush=True)
        return done, bad


def unpack(name: str, method: str, path: Path) -> Start:
    """The store before the run; the manifest that came with it says what its contents are."""
    path.mkdir()
    archive = STORES / name / "data.tar.zst"
    subprocess.run(["tar", "--zstd", "-xf", str(archive), "-C", str(path)], check=True)
    store = opened(path)
    contents = store.contents()
    for file in json.loads((STORES / name / "manifest.json").read_text(encoding="utf-8"))["files"]:
        wanted = file.get("sha256_plaintext") or file["sha256_on_disk"]
        if contents.get(file["path"], wanted) != wanted:
            raise RuntimeError(f"{name}: {file['path']} is not what the manifest says")
    return Start(name, method, contents, set(store.keys))


def opened(path: Path) -> Store:
    return Store(path, bytes.fromhex(MASTER_KEY.read_text(encoding="utf-8").strip()))


def reencrypt(binary: Path, start: Start, path: Path, under: "Sequence[str]" = ()) -> None:
    """A whole run; it must succeed."""
    command = [*under, str(binary), "reencrypt", str(path), "--to", start.method, "--output", "json"]
    command += ["--master-key-file", str(MASTER_KEY), "--seen-as", SEEN_AS]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise Violation(f"reencrypt ends with {done.returncode}: {done.stderr.strip()[-600:]}")


def judge(binary: Path, start: Start, path: Path, ended: bool) -> None:
    """What must hold after a loss of power, before and after the next run."""
    if ended:
        finished(start, path, "after a run that had ended")
    elif not (path / GUARD).exists():
        # TiKV may start now: everything must be readable, whatever the run has done so far.
        same(start, path, "before the next run")
    reencrypt(binary, start, path)
    finished(start, path, "after the next run")


def finished(start: Start, path: Path, when: str) -> None:
    """All contents, by the wanted method, no old key, nothing left over."""
    same(start, path, when)
    store = opened(path)
    plaintext = METHODS["plaintext"]
    methods = {entry.method for entry in store.entries.values()} - {0, plaintext}
    if methods != {METHODS[start.method]} - {plaintext}:
        raise Violation(f"{when} files are encrypted by the methods {sorted(methods)}")
    kept = start.old_keys & set(store.keys)
    if kept:
        raise Violation(f"{when} old data keys are kept: {sorted(kept)}")
    if left := [name for name in store.files() if ".tsec-" in name or name in (GUARD, JOURNAL)]:
        raise Violation(f"{when} there are {left}")


def same(start: Start, path: Path, when: str) -> None:
    """Every content is what it was."""
    try:
        found = opened(path).contents()
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise Violation(f"{when} the store can not be read: {error!r}") from error
    if other := [name for name, digest in start.contents.items() if found.get(name) != digest]:
        raise Violation(f"{when} {other} read differently")


if __name__ == "__main__":
    sys.exit(main())
