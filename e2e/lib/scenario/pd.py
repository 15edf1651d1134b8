"""Asks PD over its HTTP API, plaintext or with the client certificate."""

import json
import ssl
import urllib.request
from typing import Any

from lib.console import Failure
from lib.scenario import certificates, forward
from lib.scenario.cluster import TikvCluster


def get(cluster: TikvCluster, path: str, tls: bool) -> Any:
    """The answer of the first member that gives one."""
    error = ""
    for member in cluster.members:
        try:
            with forward.port(cluster.namespace, f"pod/{member}", 2379) as local:
                return _ask(cluster, local, path, tls)
        except (OSError, ValueError, Failure) as reason:
            error = str(reason)
    raise Failure(f"no member of PD answers {path}: {error}")


def evict_schedulers(cluster: TikvCluster, tls: bool = True) -> list[str]:
    """Schedulers that keep leaders away from a store; one that is left behind keeps a store idle for ever."""
    return [name for name in get(cluster, "/pd/api/v1/schedulers", tls) or [] if name.startswith("evict-leader")]


def _ask(cluster: TikvCluster, port: int, path: str, tls: bool) -> Any:
    if not tls:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as response:
            return json.loads(response.read())
    with certificates.client_files(cluster.namespace) as files:
        context = ssl.create_default_context(cafile=str(files / "ca.crt"))
        # Reached through a forwarded port, so under another name.
        context.check_hostname = False
        context.load_cert_chain(files / "tls.crt", files / "tls.key")
        with urllib.request.urlopen(f"https://127.0.0.1:{port}{path}", timeout=10, context=context) as response:
            return json.loads(response.read())
