"""CoreDNS, on the node's own address: pods ask it directly."""

import socket
import struct

from lib import process, settings
from lib.cluster import pki
from lib.cluster.components import program


def start() -> None:
    """Starts CoreDNS with the cluster's names only; nothing is asked outside of this machine."""
    corefile = settings.DATA / "Corefile"
    corefile.write_text(
        f""".:53 {{
    bind {settings.NODE_ADDRESS}
    errors
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {pki.kubeconfig("admin")}
        pods insecure
        ttl 1
    }}
}}
""",
        encoding="utf-8",
    )
    process.start("coredns", [str(program("coredns")), "-conf", str(corefile)])
    process.wait_ready("coredns", lambda: _resolves("kubernetes.default.svc.cluster.local"), 60)


def _resolves(name: str) -> bool:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    question = struct.pack(">HHHHHH", 1, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", 1, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(0.5)
        try:
            client.sendto(question, (settings.NODE_ADDRESS, 53))
            answer = client.recv(512)
        except OSError:
            return False
    answers = struct.unpack(">HHHHHH", answer[:12])[3]
    return bool(answers > 0)
