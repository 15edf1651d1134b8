"""The image of the harness itself: busybox, also as the sandbox of every pod."""

from pathlib import Path

from lib import settings
from lib.cluster.packages import BUSYBOX
from lib.images.archive import Image, write

NAME = "tikv-security/tools:e2e"
APPLETS = """
cat chmod cp date du env find grep head id kill ls mkdir mv nc nslookup
od ps rm sh sha256sum sleep sort stat sync tail tar touch tr true wc wget xargs
""".split()


def pause(name: str) -> Path:
    """The sandbox of every pod: does nothing until it is ended."""
    image = Image(name, ["/bin/busybox", "tail", "-f", "/dev/null"], files={"bin/busybox": BUSYBOX})
    archive = settings.CACHE / "images" / "pause.tar"
    write(image, archive)
    return archive


def write_tools(name: str, archive: Path) -> None:
    """A shell and the usual small programs, for pods that fill or look at a volume."""
    image = Image(name, ["/bin/sh"], files={"bin/busybox": BUSYBOX})
    image.links = {f"bin/{applet}": "busybox" for applet in APPLETS}
    write(image, archive)
