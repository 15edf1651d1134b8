"""What a policy forbids is refused at admission; an object that was there before is Blocked, and what runs goes on."""

import json
from typing import Any

from lib import kube
from lib.console import step
from lib.context import Context
from lib.scenario import proof, resource, setup
from lib.wait import until


def run(context: Context) -> None:
    client = setup.secured_cluster(context)
    pods = context.cluster.pod_ids()
    label = f"e2e-{context.namespace}"
    kube.kubectl("label", "namespace", context.namespace, f"policy={label}")
    try:
        with step("a policy that forbids the method in use: Blocked=True"):
            kube.apply(_policy(label))
            blocked = context.resource.wait_condition("Blocked", timeout=120)
        context.check("the reason is the policy", blocked["reason"] == "PolicyViolated", blocked["message"])
        for word in (label, "encryption.method", "aes256-ctr", "sm4-ctr"):
            context.check(f"the message names {word}", word in blocked["message"], blocked["message"])
        refusal = until("admission to refuse", lambda: _refusal(context), 60, lambda: "")
        context.check("a change that violates it is refused in its words", label in refusal, refusal)
        context.check("no pod was restarted", context.cluster.pod_ids() == pods)
        proof.no_row_lost(context, client)
    finally:
        kube.kubectl("delete", "tikvsecuritypolicy", label, "--ignore-not-found")
    with step("without the policy: Ready=True"):
        context.resource.wait_condition("Ready", timeout=setup.READY)
    proof.end(context, client)


def _policy(label: str) -> dict[str, Any]:
    return {
        "apiVersion": "security.tikv.org/v1alpha1",
        "kind": "TikvSecurityPolicy",
        "metadata": {"name": label},
        "spec": {"namespaceLabels": {"policy": label}, "encryption": {"methods": ["sm4-ctr"]}},
    }


def _refusal(context: Context) -> str:
    """What the API server says to a change of the spec that violates the policy; nothing when it was let through."""
    patch = json.dumps({"spec": {"encryption": {"method": "aes128-ctr"}}})
    target = [resource.KIND, resource.NAME, f"--namespace={context.namespace}", "--dry-run=server"]
    done = kube.try_kubectl("patch", *target, "--type=merge", f"--patch={patch}")
    return done.stderr.strip() if done.returncode != 0 else ""
