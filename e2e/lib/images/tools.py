"""The image of the harness itself: busybox, also as the sandbox of every pod."""

from pathlib import Path

from lib import settings
from lib.cluster.packages import BUSYBOX
from lib.images.archive import Image, write

NAME = "tikv-security/tools:e2e"
APPLETS = ("sh", "cat", "cp", "du", "find", "grep", "ls", "mkdir", "mv", "nc", "od", "ps", "rm", "sleep", "sync", "tail", "tar", "true", "wc", "xargs", "chmod", "sha256sum", "stat", "kill", "wget", "nslookup", "date", "sort", "head", "env", "id", "touch")


def pause(name: str) -> Path:
    """The sandbox of every pod: does nothing until it is ended."""
    image = Image(name, ["/bin/busybox", "tail", "-f", "/dev/null"], files={"bin/busybox": BUSYBOX})
    return _write(image, "pause")


def tools() -> Path:
    """A shell and the usual small programs, for pods that fill or look at a volume."""
    image = Image(NAME, ["/bin/sh"], files={"bin/busybox": BUSYBOX})
    image.links = {f"bin/{applet}": "busybox" for applet in APPLETS}
    return _write(image, "tools")


def _write(image: Image, name: str) -> Path:
    target = settings.CACHE / "images" / f"{name}.tar"
    write(image, target)
    return target
