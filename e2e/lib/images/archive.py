"""Writes an image as `docker save` would: `ctr images import`, `docker load` and `kind load image-archive` take it."""

import hashlib
import io
import json
import os
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

NOBODY = 65532
ROOTS = Path("/etc/ssl/certs/ca-certificates.crt")


@dataclass
class Image:
    """What goes into an image. Files are named by their path in it."""

    name: str
    entrypoint: list[str] = field(default_factory=list)
    user: int = NOBODY
    environment: dict[str, str] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    trees: dict[str, Path] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    # Empty directories and their mode.
    directories: dict[str, int] = field(default_factory=lambda: {"tmp": 0o1777})

    def add_libraries(self, libraries: list[Path]) -> None:
        """Adds shared libraries at the path at which the loader looks for them."""
        for library in libraries:
            self.files[str(library).lstrip("/")] = library

    def add_roots(self) -> None:
        """Adds the authorities that the machine trusts."""
        self.environment["SSL_CERT_FILE"] = str(ROOTS)
        if ROOTS.is_file():
            self.files[str(ROOTS).lstrip("/")] = ROOTS


def write(image: Image, target: Path) -> None:
    """Writes the archive; one with the same content has the same bytes."""
    target.parent.mkdir(parents=True, exist_ok=True)
    layer = target.with_suffix(".layer")
    with tarfile.open(layer, "w") as tar:
        _fill(tar, image)
    layer_digest = _digest(layer)
    config = json.dumps(_config(image, layer_digest), sort_keys=True).encode()
    config_digest = hashlib.sha256(config).hexdigest()
    manifest = [{"Config": f"{config_digest}.json", "RepoTags": [_tag(image.name)], "Layers": ["layer.tar"]}]
    partial = target.with_suffix(".partial")
    with tarfile.open(partial, "w") as tar:
        _add_bytes(tar, "manifest.json", json.dumps(manifest).encode())
        _add_bytes(tar, f"{config_digest}.json", config)
        tar.add(layer, "layer.tar", filter=_normal)
    layer.unlink()
    partial.rename(target)


def _tag(name: str) -> str:
    return name if ":" in name else f"{name}:latest"


def _config(image: Image, layer_digest: str) -> dict[str, object]:
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    environment = [f"{name}={value}" for name, value in {"PATH": path, **image.environment}.items()]
    return {
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine),
        "os": "linux",
        "config": {"Entrypoint": image.entrypoint, "User": f"{image.user}:{image.user}", "Env": environment},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer_digest}"]},
        "history": [{"created_by": "e2e"}],
    }


def _fill(tar: tarfile.TarFile, image: Image) -> None:
    made: dict[str, None] = {}
    accounts = f"root:x:0:0::/:/none\nnonroot:x:{image.user}:{image.user}::/tmp:/none\n"
    texts = {"etc/passwd": accounts, "etc/group": f"root:x:0:\nnonroot:x:{image.user}:\n", **image.texts}
    entries: list[tuple[str, Optional[Path]]] = [(name, path) for name, path in sorted(image.files.items())]
    for name, mode in sorted(image.directories.items()):
        _parents(tar, f"{name}/x", made, mode)
    for name, text in sorted(texts.items()):
        _parents(tar, name, made)
        _add_bytes(tar, name, text.encode())
    for name, path in entries:
        _parents(tar, name, made)
        # A library is wanted, not the link under which it was found.
        tar.add(Path(path or name).resolve(), name, recursive=False, filter=_normal)
    for name, tree in sorted(image.trees.items()):
        _parents(tar, name, made)
        tar.add(tree, name, filter=_without_caches)
    for name, goal in sorted(image.links.items()):
        _parents(tar, name, made)
        link = tarfile.TarInfo(name)
        link.type = tarfile.SYMTYPE
        link.linkname = goal
        tar.addfile(link)


def _parents(tar: tarfile.TarFile, name: str, made: dict[str, None], mode: int = 0o755) -> None:
    parts = Path(name).parts[:-1]
    for count in range(1, len(parts) + 1):
        directory = "/".join(parts[:count])
        if directory not in made:
            made[directory] = None
            entry = tarfile.TarInfo(directory)
            entry.type = tarfile.DIRTYPE
            entry.mode = mode if count == len(parts) else 0o755
            tar.addfile(entry)


def _add_bytes(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    entry.mode = 0o644
    tar.addfile(entry, io.BytesIO(content))


def _normal(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mtime = 0
    return entry


def _without_caches(entry: tarfile.TarInfo) -> Optional[tarfile.TarInfo]:
    return None if entry.name.endswith(("/__pycache__", ".pyc")) else _normal(entry)


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as source:
        for block in iter(lambda: source.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()
