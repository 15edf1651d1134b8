"""The TiKV cluster of a case: three members of PD and three stores as plain StatefulSets."""

from typing import Any, Optional

from lib import kube
from lib.scenario import namespace as namespaces
from lib.scenario import volumes
from lib.wait import until

REPLICAS = 3
TIKV = "demo-tikv"
PD = "demo-pd"
# Where variables of a container stand in tikv.yaml.
INDENT = " " * 12
PD_ENDPOINTS = [f"demo-pd-{index}.demo-pd-peer" for index in range(REPLICAS)]


class TikvCluster:
    """The StatefulSets of one namespace."""

    def __init__(self, namespace: str):
        self.namespace = namespace

    @property
    def stores(self) -> list[str]:
        """Names of the TiKV pods."""
        return [f"{TIKV}-{index}" for index in range(REPLICAS)]

    @property
    def members(self) -> list[str]:
        """Names of the PD pods."""
        return [f"{PD}-{index}" for index in range(REPLICAS)]

    def prepare_volumes(self, store: Optional[bytes] = None) -> None:
        """Makes the volumes; with `store` each TiKV volume holds that data directory."""
        volumes.provide(self.namespace, [f"data-{pod}" for pod in self.stores + self.members])
        for pod in self.stores if store else []:
            volumes.fill(self.namespace, f"data-{pod}", store or b"")

    def deploy(self, environment: Optional[dict[str, str]] = None, replicas: int = REPLICAS) -> None:
        """Applies the manifests; `environment` is added to that of TiKV's container."""
        count = {f"replicas: {REPLICAS}": f"replicas: {replicas}"}
        namespaces.apply(self.namespace, "pd.yaml", count)
        first = f"{INDENT}- name: POD_NAME\n"
        variables = (environment or {}).items()
        named = [f"{INDENT}- name: {name}\n{INDENT}  value: {value!r}\n" for name, value in variables]
        namespaces.apply(self.namespace, "tikv.yaml", {first: "".join([*named, first]), **count})

    def deploy_secured(self, environment: Optional[dict[str, str]] = None) -> None:
        """The same for a cluster whose `TikvSecurity` is there: no pod starts before its template is ready for it."""
        self.deploy(environment, replicas=0)
        until("the templates to be secured", lambda: all(map(self._has_tls, (PD, TIKV))), 60)
        for name in (PD, TIKV):
            kube.kubectl("scale", "statefulset", name, f"--namespace={self.namespace}", f"--replicas={REPLICAS}")

    def wait_ready(self, timeout: float = 180) -> None:
        """Waits until all pods are ready."""
        until("all members of PD to be ready", lambda: self._all_ready(PD), timeout, self.pods)
        until("all stores to be ready", lambda: self._all_ready(TIKV), timeout, self.pods)

    def pods(self) -> str:
        """How the pods stand, as kubectl shows it."""
        return kube.try_kubectl("get", "pods", f"--namespace={self.namespace}", "--output=wide").stdout

    def pod_ids(self) -> dict[str, str]:
        """Names and identities of the pods: a pod that was replaced has another one."""
        return {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in self._listing()}

    def container_starts(self) -> dict[str, str]:
        """When each TiKV and PD container was started: changes with every restart, of pod or container."""
        found = {}
        for pod in self._listing():
            for status in pod["status"].get("containerStatuses", []):
                if status["name"] in ("tikv", "pd"):
                    running = status.get("state", {}).get("running", {})
                    found[pod["metadata"]["name"]] = running.get("startedAt", "")
        return found

    def _listing(self) -> list[dict[str, Any]]:
        return kube.listing("pods", self.namespace, f"app.kubernetes.io/name in ({TIKV},{PD})")

    def _has_tls(self, name: str) -> bool:
        template = (kube.get("statefulset", name, self.namespace) or {})["spec"]["template"]["spec"]
        return any(volume.get("secret", {}).get("secretName") == f"{name}-tls" for volume in template["volumes"])

    def _all_ready(self, name: str) -> bool:
        workload = kube.get("statefulset", name, self.namespace) or {"status": {}}
        return bool(workload["status"].get("readyReplicas", 0) == REPLICAS)
