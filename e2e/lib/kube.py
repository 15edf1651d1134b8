"""kubectl, with answers as Python values."""

import json
import os
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any, Optional, Union

from lib import settings
from lib.api import Api
from lib.cluster.components import program
from lib.console import Failure

_CONNECTING = threading.Lock()
_CONNECTED: list[Api] = []


def kubeconfig() -> Path:
    """The cluster in use: the person's own when one is named, else ours."""
    return settings.foreign_kubeconfig() or settings.KUBECONFIG


def kubectl_path() -> str:
    """The kubectl of the cluster's version, else the one of the machine."""
    own = program("kubectl")
    found = str(own) if own.is_file() else shutil.which("kubectl")
    if not found:
        raise Failure("kubectl is neither built nor installed: run `e2e/cluster up`")
    return found


def environment() -> dict[str, str]:
    """Environment for programs that find the cluster by KUBECONFIG."""
    return {**os.environ, "KUBECONFIG": str(kubeconfig())}


def try_kubectl(
    *arguments: str, stdin: Union[str, bytes, None] = None, timeout: float = 120
) -> "subprocess.CompletedProcess[str]":
    """Runs kubectl; the caller looks at the exit code."""
    data = stdin.encode() if isinstance(stdin, str) else stdin
    try:
        done = subprocess.run(
            [kubectl_path(), *arguments],
            check=False,
            capture_output=True,
            input=data,
            env=environment(),
            timeout=timeout,
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(list(arguments), 124, "", f"no answer within {timeout:.0f} s")
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")
    )


def kubectl(*arguments: str, stdin: Union[str, bytes, None] = None, timeout: float = 120) -> str:
    """Runs kubectl; an error is a failure with kubectl's own words."""
    done = try_kubectl(*arguments, stdin=stdin, timeout=timeout)
    if done.returncode != 0:
        raise Failure(f"kubectl {' '.join(arguments[:6])}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def get(kind: str, name: str, namespace: Optional[str] = None) -> Optional[dict[str, Any]]:
    """One object, or nothing when it does not exist."""
    return _api().read(kind, name, namespace, {})


def listing(kind: str, namespace: Optional[str] = None, selector: str = "") -> list[dict[str, Any]]:
    """All objects of a kind."""
    query = {"labelSelector": selector} if selector else {}
    return list((_api().read(kind, "", namespace, query) or {})["items"])


def _api() -> Api:
    with _CONNECTING:
        if not _CONNECTED or not _CONNECTED[-1].alive:
            _CONNECTED.append(Api(kubectl_path(), environment()))
        return _CONNECTED[-1]


def apply(*objects: dict[str, Any]) -> None:
    """Applies objects as a person's `kubectl apply` does."""
    kubectl("apply", "--filename=-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))
