"""A port of a pod on this machine, as kubectl forwards it: works on any cluster."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from lib import kube
from lib.console import Failure

LINE = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+) ")


@contextmanager
def port(namespace: str, target: str, number: int) -> Iterator[int]:
    """The local port that leads to port `number` of `target` while the block lasts."""
    child = subprocess.Popen(
        [kube.kubectl_path(), "port-forward", f"--namespace={namespace}", "--address=127.0.0.1", target, f":{number}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=kube.environment(),
    )
    try:
        line = child.stdout.readline() if child.stdout else ""
        match = LINE.match(line)
        if match is None:
            raise Failure(f"cannot reach port {number} of {target} in {namespace}: {line.strip()}")
        yield int(match.group(1))
    finally:
        child.terminate()
        child.wait()
        if child.stdout:
            child.stdout.close()
