"""Images of a file system as a loss of power leaves them: what was flushed, and any part of what was not."""

import contextlib
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Optional

from device import SECTOR, Write

# Little more than the least that each mkfs takes.
FILE_SYSTEMS = {
    "ext4": (64 << 20, ["mkfs.ext4", "-q", "-F"]),
    "xfs": (320 << 20, ["mkfs.xfs", "-q", "-f"]),
    "btrfs": (128 << 20, ["mkfs.btrfs", "-q", "-f"]),
}


class Image(NamedTuple):
    """Where power was lost."""

    name: str
    ended: bool
    """Whether power may have been lost after the end of the run: then nothing may be left to do."""


def make(kind: str, path: Path) -> None:
    """An empty file system."""
    size, command = FILE_SYSTEMS[kind]
    with open(path, "wb") as file:
        file.truncate(size)
    subprocess.run([*command, str(path)], check=True, capture_output=True)


@contextlib.contextmanager
def mounted(path: Path, point: Path) -> "Iterator[None]":
    """The file system in `path`, at `point`, with its own recovery done."""
    found = subprocess.run(["losetup", "--find", "--show", str(path)], check=True, stdout=subprocess.PIPE, text=True)
    device = found.stdout.strip()
    try:
        subprocess.run(["mount", device, str(point)], check=True, capture_output=True)
        try:
            yield
        finally:
            subprocess.run(["umount", str(point)], check=True)
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)


def crashes(
    base: Path, entries: "list[Optional[Write]]", run_end: int, subsets: int, draw: random.Random, image: Path
) -> "Iterator[Image]":
    """Puts one image after the other into the file `image`: at each flush the durable bytes alone, then with random
    parts of what was written until the next one. `base` is brought forward on the way."""
    flushes = [-1, *(at for at, entry in enumerate(entries) if entry is None), len(entries)]
    for number, (begin, end) in enumerate(zip(flushes, flushes[1:])):
        pending = [entry for entry in entries[begin + 1 : end] if entry is not None]
        if begin >= 0 and not (pending or number == len(flushes) - 2):
            # A flush of nothing: the next one stands for both.
            continue
        ended = end >= run_end
        for part in range(subsets + 1 if pending else 1):
            subprocess.run(["cp", "--sparse=always", str(base), str(image)], check=True)
            kept = some(pending, draw) if part else []
            apply(image, kept)
            yield Image(f"flush {number}, {len(kept)} of {len(pending)} later writes", ended)
        apply(base, pending)


def some(writes: "list[Write]", draw: random.Random) -> "list[Write]":
    """Part of the writes, perhaps one of them cut at a sector."""
    likely = draw.choice([0.1, 0.5, 0.9])
    kept = [write for write in writes if draw.random() < likely]
    if kept and draw.random() < 0.5:
        torn = draw.randrange(len(kept))
        sectors = draw.randrange(1 + len(kept[torn].data) // SECTOR)
        kept[torn] = Write(kept[torn].offset, kept[torn].data[: sectors * SECTOR])
    return kept


def apply(image: Path, writes: "list[Write]") -> None:
    """What the disk does with writes."""
    with open(image, "r+b") as file:
        for write in writes:
            file.seek(write.offset)
            file.write(write.data)
