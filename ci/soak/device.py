"""A disk that remembers: a file of a FUSE file system, used by a loop device, whose every write and flush is logged."""

import os
import stat
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple, Optional

RECORD = struct.Struct("<cQI")
WRITE, FLUSH = b"w", b"f"
# What a disk writes whole: file systems count on it for their superblocks, and the disks of today keep it.
SECTOR = 4096


class Write(NamedTuple):
    """Bytes that the file system handed to the disk."""

    offset: int
    data: bytes


class Log:
    """What the disk was told, in order: a `Write`, or `None` for a flush."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def entries(self) -> "list[Optional[Write]]":
        """Everything so far."""
        found: list[Optional[Write]] = []
        with open(self.path, "rb") as file:
            while header := file.read(RECORD.size):
                kind, offset, length = RECORD.unpack(header)
                found.append(Write(offset, file.read(length)) if kind == WRITE else None)
        return found


class RecordingDisk:
    """The disk as a context: `with RecordingDisk(image, dir) as path` gives the file for a loop device."""

    def __init__(self, image: Path, work: Path) -> None:
        self.point = work / "disk"
        self.log = Log(work / "log")
        self.image = image
        self.server: Optional[subprocess.Popen[bytes]] = None

    def __enter__(self) -> Path:
        self.point.mkdir()
        self.log.path.write_bytes(b"")
        command = [sys.executable, __file__, str(self.image), str(self.log.path), str(self.point)]
        self.server = subprocess.Popen(command)
        file = self.point / "image"
        deadline = time.monotonic() + 30
        while not file.exists():
            if self.server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the recording disk does not come up; is there /dev/fuse?")
            time.sleep(0.02)
        return file

    def __exit__(self, *_: object) -> None:
        subprocess.run(["fusermount3", "-u", str(self.point)], check=True)
        if self.server is not None:
            self.server.wait(timeout=30)
        self.point.rmdir()


def serve(image: str, log: str, point: str) -> None:
    """The file system: one file, `image`."""
    import mfusepy

    class Files(mfusepy.Operations):
        use_ns = True

        def __init__(self) -> None:
            self.image = os.open(image, os.O_RDWR)
            self.log = os.open(log, os.O_WRONLY | os.O_APPEND)

        def getattr(self, path: str, fh: "Optional[int]" = None) -> "dict[str, int]":
            if path == "/":
                return {"st_mode": stat.S_IFDIR | 0o700, "st_nlink": 2}
            if path == "/image":
                return {"st_mode": stat.S_IFREG | 0o600, "st_nlink": 1, "st_size": os.fstat(self.image).st_size}
            raise FileNotFoundError(2, path)

        def readdir(self, path: str, fh: int) -> "list[str]":
            return [".", "..", "image"]

        def open(self, path: str, flags: int) -> int:
            return 0

        def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
            return os.pread(self.image, size, offset)

        def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
            self.record(WRITE, offset, data)
            return os.pwrite(self.image, data, offset)

        def fsync(self, path: str, datasync: int, fh: int) -> int:
            self.record(FLUSH, 0, b"")
            return 0

        def record(self, kind: bytes, offset: int, data: bytes) -> None:
            os.write(self.log, RECORD.pack(kind, offset, len(data)) + data)

    mfusepy.FUSE(Files(), point, foreground=True, nothreads=True)


if __name__ == "__main__":
    serve(*sys.argv[1:])
