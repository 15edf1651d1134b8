"""What the ports of the cluster really serve: openssl asks each of them, with the client certificate that was made."""

import base64
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from lib import kube
from lib.console import Failure
from lib.scenario import forward
from lib.scenario.cluster import TikvCluster

CLIENT_SECRET = "demo-client-tls"
MYSQL_PORT = 4000
PORTS = {"tikv": (20160, 20180), "pd": (2379, 2380)}
CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


@dataclass(frozen=True)
class Served:
    """What one port answered."""

    pod: str
    port: int
    serial: str = ""
    issuer: str = ""
    until: str = ""
    verified: bool = False
    error: str = ""


def secret_serial(namespace: str, part: str) -> str:
    """Serial number of the certificate in a leaf Secret (`tikv`, `pd`, `agent`, `client`)."""
    return secret_serial_of(namespace, f"demo-{part}-tls")


def secret_serial_of(namespace: str, name: str) -> str:
    """Serial number of the certificate in a Secret, the CA's for one."""
    return _fields(_secret(namespace, name)["tls.crt"])["serial"]


def served(cluster: TikvCluster, ports: Optional[list[int]] = None) -> list[Served]:
    """Asks every port of every pod."""
    found = []
    with client_files(cluster.namespace) as files:
        for part, pods in (("tikv", cluster.stores), ("pd", cluster.members)):
            for pod in pods:
                for number in PORTS[part]:
                    if ports is None or number in ports:
                        found.append(ask(cluster.namespace, pod, number, files))
    return found


def refuses_strangers(cluster: TikvCluster, pod: str, number: int) -> bool:
    """Whether a caller without a certificate gets no answer, where one with a certificate does."""
    with client_files(cluster.namespace) as files:
        known = ["-cert", str(files / "tls.crt"), "-key", str(files / "tls.key")]
        return _shakes_hands(cluster, pod, number, known) and not _shakes_hands(cluster, pod, number, [])


def accepts(cluster: TikvCluster, pod: str, number: int, files: Path) -> bool:
    """Whether a port shakes hands with whoever shows these files."""
    known = ["-cert", str(files / "tls.crt"), "-key", str(files / "tls.key")]
    return _shakes_hands(cluster, pod, number, known)


def _shakes_hands(cluster: TikvCluster, pod: str, number: int, options: list[str]) -> bool:
    # In TLS 1.3 the client's part of the handshake is over before the server can refuse it.
    with forward.port(cluster.namespace, f"pod/{pod}", number) as local:
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{local}", "-alpn", "h2", "-tls1_2", *options]
        done = subprocess.run(command, check=False, capture_output=True, stdin=subprocess.DEVNULL, timeout=20)
    return done.returncode == 0


@contextmanager
def client_files(namespace: str, secret: str = CLIENT_SECRET) -> Iterator[Path]:
    """The client certificate, or that of another Secret, as files that go away with the block."""
    with tempfile.TemporaryDirectory(prefix="tikv-security-e2e-") as name:
        for entry, content in _secret(namespace, secret).items():
            path = Path(name, entry)
            path.touch(mode=0o600)
            path.write_text(content, encoding="utf-8")
        yield Path(name)


def ask(namespace: str, pod: str, number: int, files: Path) -> Served:
    """Asks one port; that of MySQL clients begins in plaintext."""
    try:
        with forward.port(namespace, f"pod/{pod}", number) as local:
            command = ["openssl", "s_client", "-connect", f"127.0.0.1:{local}", "-alpn", "h2,http/1.1"]
            command += ["-starttls", "mysql"] if number == MYSQL_PORT else []
            command += [
                "-CAfile",
                str(files / "ca.crt"),
                "-cert",
                str(files / "tls.crt"),
                "-key",
                str(files / "tls.key"),
            ]
            # A server that speaks HTTP/2 sends its first frame, which is not text.
            done = subprocess.run(
                command,
                check=False,
                capture_output=True,
                text=True,
                errors="replace",
                stdin=subprocess.DEVNULL,
                timeout=20,
            )
    except (Failure, subprocess.TimeoutExpired) as error:
        return Served(pod, number, error=str(error))
    certificate = CERTIFICATE.search(done.stdout)
    if certificate is None:
        return Served(pod, number, error="no TLS")
    verified = "Verify return code: 0 (ok)" in done.stdout
    return Served(pod, number, verified=verified, **_fields(certificate.group(0)))


def _fields(certificate: str) -> dict[str, str]:
    done = subprocess.run(
        ["openssl", "x509", "-noout", "-serial", "-issuer", "-enddate"],
        check=False,
        capture_output=True,
        text=True,
        input=certificate,
    )
    if done.returncode != 0:
        raise Failure(f"openssl does not read the certificate: {done.stderr.strip()}")
    fields = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    return {
        "serial": fields["serial"].lower(),
        "issuer": fields["issuer"].strip(),
        "until": fields["notAfter"].strip(),
    }


def _secret(namespace: str, name: str) -> dict[str, str]:
    found = kube.get("secret", name, namespace)
    if found is None:
        raise Failure(f"Secret {namespace}/{name} does not exist")
    return {key: base64.b64decode(value).decode() for key, value in found.get("data", {}).items()}
