"""Reading from the API server through one `kubectl proxy`: cases ask all the time, and to start a kubectl for each
question would keep a processor busy."""

import atexit
import http.client
import json
import re
import subprocess
import threading
import urllib.parse
from typing import Any, Optional

from lib.console import Failure

LINE = re.compile(r"Starting to serve on 127\.0\.0\.1:(\d+)")


class Api:
    """The API server of one kubeconfig."""

    def __init__(self, kubectl: str, environment: dict[str, str]):
        command = [kubectl, "proxy", "--port=0"]
        self._child = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        )
        atexit.register(self._child.terminate)
        line = self._child.stdout.readline() if self._child.stdout else ""
        match = LINE.search(line)
        if match is None:
            raise Failure(f"kubectl proxy: {line.strip()}")
        self._port = int(match.group(1))
        self._local = threading.local()
        # Path of the collection and whether it is of a namespace, by all names that kubectl knows a kind by.
        self._kinds: dict[str, tuple[str, bool]] = {}

    @property
    def alive(self) -> bool:
        """Whether it can still be asked."""
        return self._child.poll() is None

    def read(self, kind: str, name: str, namespace: Optional[str], query: dict[str, str]) -> Optional[dict[str, Any]]:
        """An object, or with an empty name all of them; nothing when there is none of that name."""
        group, namespaced = self._kind(kind)
        path = group if not (namespaced and namespace) else _within(group, namespace)
        path += f"/{urllib.parse.quote(name)}" if name else ""
        path += f"?{urllib.parse.urlencode(query)}" if query else ""
        status, body = self._ask(path)
        if status == 404 and name:
            return None
        if status != 200:
            raise Failure(f"GET {path}: {body.decode('utf-8', 'replace')[:300]}")
        return dict(json.loads(body))

    def _kind(self, name: str) -> tuple[str, bool]:
        if name not in self._kinds:
            # A definition may have come since then.
            self._kinds = self._discover()
        if name not in self._kinds:
            raise Failure(f"the API server knows no {name}")
        return self._kinds[name]

    def _discover(self) -> dict[str, tuple[str, bool]]:
        found: dict[str, tuple[str, bool]] = {}
        groups = [group["preferredVersion"]["groupVersion"] for group in self._json("/apis")["groups"]]
        for base in ["/api/v1", *(f"/apis/{group}" for group in groups)]:
            _, _, group = base.rpartition("/apis/")
            for kind in self._json(base)["resources"]:
                if "/" in kind["name"] or "list" not in kind["verbs"]:
                    continue
                place = (f"{base}/{kind['name']}", bool(kind["namespaced"]))
                plural = kind["name"]
                for name in (plural, kind["singularName"], f"{plural}.{group.partition('/')[0]}"):
                    # As with kubectl the first group that has a name keeps it.
                    found.setdefault(name, place)
        return found

    def _json(self, path: str) -> dict[str, Any]:
        status, body = self._ask(path)
        if status != 200:
            raise Failure(f"GET {path}: {body.decode('utf-8', 'replace')[:300]}")
        return dict(json.loads(body))

    def _ask(self, path: str) -> tuple[int, bytes]:
        for last in (False, True):
            kept: Optional[http.client.HTTPConnection] = getattr(self._local, "connection", None)
            connection = kept or http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
            try:
                connection.request("GET", path)
                answer = connection.getresponse()
                body = answer.read()
                self._local.connection = connection
                return answer.status, body
            except (OSError, http.client.HTTPException) as error:
                # One that was kept may have been closed meanwhile.
                connection.close()
                self._local.connection = None
                if last:
                    raise Failure(f"GET {path}: {error}") from error
        raise AssertionError("unreachable")


def _within(collection: str, namespace: str) -> str:
    base, _, plural = collection.rpartition("/")
    return f"{base}/namespaces/{urllib.parse.quote(namespace)}/{plural}"
