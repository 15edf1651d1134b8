"""What others change of that which the operator made is told and put back; with Report it is told and left."""

import json
from typing import Any, Optional

from lib import kube
from lib.console import step
from lib.context import Context
from lib.scenario import certificates, proof, setup
from lib.wait import until

AGENT = "tikv-security-agent"
MINUTES = 2


def run(context: Context) -> None:
    client = setup.secured_cluster(context)
    starts = context.cluster.container_starts()
    serial = certificates.secret_serial(context.namespace, "tikv")

    with step("agents' ConfigMap edited: put back"):
        _patch(context, "configmap", "demo-agent", {"data": {"desired.json": "{}"}})
        _ended(context, "ConfigMap", "demo-agent")
    content = (kube.get("configmap", "demo-agent", context.namespace) or {})["data"]["desired.json"]
    context.check("the agents are told what the spec says", "aes256-ctr" in content)

    with step("template edited: put back"):
        agent = {"name": AGENT, "image": "example.com/theirs:1"}
        spec = {"template": {"spec": {"initContainers": [agent]}}}
        _patch(context, "statefulset", "demo-tikv", {"spec": spec}, how="strategic")
        record = _ended(context, "StatefulSet", "demo-tikv")
    context.check("the record names the image", "image" in record["path"], record["path"])
    context.check("and who wrote it", "kubectl" in record.get("by", ""), record.get("by", ""))

    with step("key of the TiKV Secret replaced, another Secret deleted: issued anew"):
        _patch(context, "secret", "demo-tikv-tls", {"data": {"tls.key": "Z2FyYmFnZQ=="}})
        kube.kubectl("delete", "secret", "demo-agent-tls", f"--namespace={context.namespace}")
        _ended(context, "Secret", "demo-tikv-tls")
        _ended(context, "Secret", "demo-agent-tls")
    context.check("it is another certificate", certificates.secret_serial(context.namespace, "tikv") != serial)

    with step("derived ConfigMap deleted: made anew"):
        name = _derived(context)
        kube.kubectl("delete", "configmap", name, f"--namespace={context.namespace}")
        _ended(context, "ConfigMap", name)
    context.check("it is there", kube.get("configmap", name, context.namespace) is not None)
    with step("Ready=True"):
        context.resource.wait_condition("Ready", timeout=setup.READY)

    context.resource.patch({"drift": "Report"})
    with step("with Report an edited template is told and left"):
        _patch(context, "statefulset", "demo-tikv", {"spec": {"updateStrategy": {"type": "RollingUpdate"}}})
        told = context.resource.wait_condition("Drift", timeout=120)
        context.resource.wait_condition("Ready", "False", timeout=60)
    context.check("the message names the field", "updateStrategy" in told["message"], told["message"])
    strategy = (kube.get("statefulset", "demo-tikv", context.namespace) or {})["spec"]["updateStrategy"]["type"]
    context.check("it is left", strategy == "RollingUpdate", strategy)
    context.resource.patch({"drift": "Correct"})
    with step("with Correct it is put back, Ready=True"):
        context.resource.wait_condition("Drift", "False", timeout=120)
        context.resource.wait_condition("Ready", timeout=setup.READY)
    context.check("no TiKV and no PD was restarted in all this", context.cluster.container_starts() == starts)
    proof.certificates_served(context)
    proof.end(context, client)


def _patch(context: Context, kind: str, name: str, patch: dict[str, Any], how: str = "merge") -> None:
    content = f"--patch={json.dumps(patch)}"
    kube.kubectl("patch", kind, name, f"--namespace={context.namespace}", f"--type={how}", content)


def _ended(context: Context, kind: str, name: str) -> dict[str, Any]:
    """Waits for the newest record about an object to say that it is as it was."""

    def probe() -> Optional[dict[str, Any]]:
        records = context.resource.get().get("status", {}).get("drift", [])
        ours = [record for record in records if (record["kind"], record["name"]) == (kind, name)]
        return ours[-1] if ours and all("endedAt" in record for record in ours) else None

    return until(f"{kind} {name} to be told and put back", probe, 120, context.resource.summary)


def _derived(context: Context) -> str:
    """The ConfigMap that TiKV's template mounts."""
    template = (kube.get("statefulset", "demo-tikv", context.namespace) or {})["spec"]["template"]["spec"]
    names = [volume["configMap"]["name"] for volume in template["volumes"] if "configMap" in volume]
    return next(name for name in names if "-demo-" in name)
