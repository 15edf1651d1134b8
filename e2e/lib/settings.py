"""Where things are and which versions are used. Everything that a person may set is read from the environment here."""

import os
from pathlib import Path

E2E = Path(__file__).resolve().parent.parent
REPOSITORY = E2E.parent

# Fixed versions: a run next year shall do what today's run does.
KUBERNETES = "1.35.4"
ETCD = "3.6.7"
COREDNS = "1.14.0"
# The last that is made for this Kubernetes: a later one brings a later client along, to be compiled beside it.
HELM = "3.20.2"
MOTO = "5.2.2"
OPENBAO = "2.7.2"

# The node has a fixed name so that `down` finds everything that an interrupted `up` left behind.
NODE = "tikv-security-e2e"

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tikv-security" / "e2e"
BIN = CACHE / "bin"

# Sockets need short paths and go away at a reboot; data survives nothing, but may be large.
RUN = Path("/run/tikv-security-e2e")
DATA = Path("/var/lib/tikv-security-e2e")
LOGS = DATA / "logs"
KUBECONFIG = DATA / "kubeconfig"

# Private ranges that are unlikely to be in use on a developer's machine.
BRIDGE = "tksec0"
NODE_ADDRESS = "10.213.0.1"
POD_RANGE = "10.213.0.0/24"
SERVICE_RANGE = "10.214.0.0/24"
API_SERVICE_ADDRESS = "10.214.0.1"
API_PORT = 16443
ETCD_PORT = 12379
ETCD_PEER_PORT = 12380


def assets() -> "Path | None":
    """Directory of a person's own etcd, kube-apiserver and kubectl (the convention of envtest)."""
    value = os.environ.get("KUBEBUILDER_ASSETS")
    return Path(value) if value else None


def foreign_kubeconfig() -> "Path | None":
    """Kubeconfig of a cluster that exists already, for example kind's."""
    value = os.environ.get("TIKV_SECURITY_KUBECONFIG")
    return Path(value) if value else None
