"""The shared libraries that a program needs, by asking the loader."""

import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

from lib.console import Failure

# "libz.so.1 => /lib/x86_64-linux-gnu/libz.so.1 (0x…)" and "/lib64/ld-linux-x86-64.so.2 (0x…)".
LINE = re.compile(r"^\s*(?:\S+ => )?(/\S+) \(0x")
MISSING = re.compile(r"^\s*(\S+) => not found", re.MULTILINE)


def closure(programs: Iterable[Path]) -> list[Path]:
    """All libraries of `programs`, the loader included. Empty for a static program."""
    found: set[Path] = set()
    for program in programs:
        done = subprocess.run(["ldd", str(program)], check=False, capture_output=True, text=True)
        missing = MISSING.findall(done.stdout)
        if missing:
            raise Failure(f"{program} needs {', '.join(missing)}, which this machine does not have")
        found.update(Path(match.group(1)) for match in map(LINE.match, done.stdout.splitlines()) if match)
    return sorted(found)
