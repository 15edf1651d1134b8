"""TiDB beside the TiKV cluster of a case: three servers as a plain StatefulSet."""

import json
import ssl
import urllib.request
from typing import Any

from lib import kube
from lib.context import Context
from lib.scenario import certificates, forward, setup
from lib.scenario import namespace as namespaces
from lib.scenario.client import Client
from lib.wait import until

NAME = "demo-tidb"
REPLICAS = 3
# The set that each port serves.
PORTS = {10080: "tidb", 4000: "tidb-server"}


def named(spec: dict[str, Any]) -> None:
    """A `TikvSecurity` that knows of it."""
    spec["cluster"]["tidb"] = {"statefulSet": {"name": NAME}, "services": ["demo-sql"]}


class Tidb:
    """The StatefulSet of one namespace."""

    def __init__(self, namespace: str):
        self.namespace = namespace

    @property
    def pods(self) -> list[str]:
        """Names of the pods."""
        return [f"{NAME}-{index}" for index in range(REPLICAS)]

    def deploy(self) -> None:
        """Applies the manifest, without any pod yet."""
        namespaces.apply(self.namespace, "tidb.yaml", {f"replicas: {REPLICAS}": "replicas: 0"})

    def start(self) -> None:
        """Makes the pods, and waits until they are ready."""
        kube.kubectl("scale", "statefulset", NAME, f"--namespace={self.namespace}", f"--replicas={REPLICAS}")
        until("TiDB to be ready", self.all_ready, 180, self.listing)

    def all_ready(self) -> bool:
        """Whether all pods are ready."""
        workload = kube.get("statefulset", NAME, self.namespace) or {"status": {}}
        return bool(workload["status"].get("readyReplicas", 0) == REPLICAS)

    def listing(self) -> str:
        """How the pods stand, as kubectl shows it."""
        return kube.try_kubectl("get", "pods", f"--namespace={self.namespace}", "--output=wide").stdout

    def pod_ids(self) -> dict[str, str]:
        """Names and identities of the pods: one that was replaced has another one."""
        found = kube.listing("pods", self.namespace, f"app.kubernetes.io/name={NAME}")
        return {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in found}

    def served(self) -> list[certificates.Served]:
        """Asks both ports of every pod."""
        with certificates.client_files(self.namespace) as files:
            return [certificates.ask(self.namespace, pod, port, files) for pod in self.pods for port in PORTS]

    def status(self, pod: str) -> dict[str, Any]:
        """What a pod says of its calls to the stores."""
        with certificates.client_files(self.namespace) as files:
            trust = ssl.create_default_context(cafile=str(files / "ca.crt"))
            trust.load_cert_chain(files / "tls.crt", files / "tls.key")
            with forward.port(self.namespace, f"pod/{pod}", 10080) as local:
                request = urllib.request.Request(f"https://localhost:{local}/status")
                with urllib.request.urlopen(request, timeout=10, context=trust) as answer:
                    return dict(json.load(answer))


def secured_cluster(context: Context) -> tuple[Tidb, Client]:
    """A cluster with TiDB that was new when it was secured."""
    tidb = Tidb(context.namespace)
    tidb.deploy()
    client = setup.secured_cluster(context, change=_quick)
    tidb.start()
    context.resource.wait_condition("Ready", timeout=300)
    return tidb, client


def _quick(spec: dict[str, Any]) -> None:
    named(spec)
    spec["tls"]["ca"] = {"overlap": "150s"}


def proof(context: Context, tidb: Tidb) -> None:
    """Both ports serve the certificates of their Secrets, strangers get nowhere, and no store refuses TiDB."""
    serials = {port: certificates.secret_serial(context.namespace, part) for port, part in PORTS.items()}
    answers = tidb.served()
    wrong = [f"{one.pod}:{one.port} {one.error or one.serial}" for one in answers]
    wrong = [text for text, one in zip(wrong, answers) if not one.verified or one.serial != serials[one.port]]
    all_serve = f"all {len(answers)} ports of TiDB serve the certificate of their Secret"
    context.check(all_serve, not wrong, "; ".join(wrong))
    wanted = f"{REPLICAS}/{REPLICAS}"
    # What was told last may be of the moment before.
    told = lambda: all(text == wanted for text in _told(context))  # noqa: E731
    until("the status to say the same", told, 120, lambda: str(_told(context)))
    context.check("the status says the same", True, wanted)
    refused = certificates.refuses_strangers(context.cluster, tidb.pods[0], 10080)
    context.check("the status port refuses a caller without a certificate", refused)
    # A real TiDB says nothing of this.
    calls = [tidb.status(pod).get("standin", {"calls": 1, "refused": 0}) for pod in tidb.pods]
    good = all(one["calls"] > 0 and one["refused"] == 0 for one in calls)
    context.check("no store refused TiDB", good, str(calls))


def _told(context: Context) -> list[str]:
    """How many of its ports the status says to serve each set."""
    certificates_told = context.resource.get()["status"]["certificates"]
    shown = {entry["name"]: str(entry.get("served")) for entry in certificates_told}
    return [shown.get(f"demo-{part}-tls", "nothing") for part in PORTS.values()]
