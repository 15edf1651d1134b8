"""Builds images and brings them to the nodes; what a node has already is not sent again."""

import hashlib
import os
from pathlib import Path

from lib import settings
from lib.cluster import existing
from lib.console import say, step
from lib.images.catalogue import CATALOGUE


def ensure(roles: list[str], load: bool = True) -> list[str]:
    """Makes the images of `roles` usable by pods; answers those that are new to the nodes."""
    changed = []
    for role in roles:
        entry = CATALOGUE[role]
        if entry.foreign:
            say(f"          image {entry.name} is taken as it is ({entry.variable})")
            continue
        with step(f"image {entry.name}"):
            archive = entry.build()
            if load and os.environ.get("E2E_LOAD_IMAGES") != "no" and _changed(archive):
                changed.append(role)
                existing.load_image(archive)
                if not settings.foreign_kubeconfig():
                    _marker(archive).write_text(_digest(archive), encoding="utf-8")
    return changed


def _changed(archive: Path) -> bool:
    marker = _marker(archive)
    # On somebody else's cluster one cannot know what its nodes have.
    return bool(settings.foreign_kubeconfig()) or not marker.is_file() or marker.read_text() != _digest(archive)


def _marker(archive: Path) -> Path:
    return settings.RUN / f"loaded-{archive.stem}"


def _digest(archive: Path) -> str:
    digest = hashlib.sha256()
    with open(archive, "rb") as source:
        for block in iter(lambda: source.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()
