"""The operator in the cluster: its chart, its pods."""

import json
import subprocess
from typing import Any

from lib import kube, settings
from lib.cluster import components
from lib.console import Failure
from lib.images.catalogue import image_name
from lib.wait import until

NAMESPACE = "tikv-security"
RELEASE = "tikv-security"
SELECTOR = "app.kubernetes.io/name=tikv-security"
CHART = settings.REPOSITORY / "charts" / "tikv-security"


def install(image: str = "tikv-security", hsm_secret: str = "") -> None:
    """Installs or upgrades the chart with an image of this working copy, and waits for the operator.

    `hsm_secret` has what an HSM's library needs.
    """
    if not (CHART / "Chart.yaml").is_file():
        raise Failure(f"no chart in {CHART}")
    helm = components.COMPONENTS["helm"]
    components.build(helm)
    repository, _, tag = image_name(image).rpartition(":")
    command = [
        str(helm.path),
        "upgrade",
        RELEASE,
        str(CHART),
        "--install",
        "--namespace",
        NAMESPACE,
        "--create-namespace",
        "--wait",
        "--timeout",
        "300s",
        "--set",
        f"image.repository={repository}",
        "--set",
        f"image.tag={tag}",
        "--set",
        "image.pullPolicy=IfNotPresent",
        # The emulated KMS and Vault are pods with ports of their own.
        "--set",
        "networkPolicy.kmsPorts={443,4566,5353,8200,9000}",
        "--set",
        f"hsm.configSecret={hsm_secret}",
    ]
    # Helm's own upgrade leaves CRDs alone.
    for crd in sorted((CHART / "crds").glob("*.yaml")):
        kube.kubectl("apply", "--server-side", "--force-conflicts", f"--filename={crd}")
    label = ["pod-security.kubernetes.io/enforce=restricted", "--overwrite"]
    if kube.get("namespace", NAMESPACE) is None:
        kube.kubectl("create", "namespace", NAMESPACE)
    kube.kubectl("label", "namespace", NAMESPACE, *label)
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=kube.environment())
    if done.returncode != 0:
        pods = kube.try_kubectl("get", "pods,events", f"--namespace={NAMESPACE}").stdout
        raise Failure(f"helm upgrade --install: {done.stderr.strip()}\n{pods}")


def remove() -> None:
    """Uninstalls the chart."""
    helm = components.COMPONENTS["helm"].path
    subprocess.run(
        [str(helm), "uninstall", RELEASE, "--namespace", NAMESPACE],
        check=False,
        capture_output=True,
        env=kube.environment(),
    )


def restart_if_image_changed(changed: bool) -> None:
    """A pod keeps the image that its tag named when it started."""
    if changed:
        kube.kubectl("rollout", "restart", "deployment", f"--namespace={NAMESPACE}", f"--selector={SELECTOR}")
        kube.kubectl(
            "rollout", "status", "deployment", f"--namespace={NAMESPACE}", f"--selector={SELECTOR}", "--timeout=120s"
        )


def kill() -> None:
    """Ends all operator pods at once, without grace, as a lost node would."""
    before = {pod["metadata"]["uid"] for pod in pods()}
    kube.kubectl("delete", "pods", f"--namespace={NAMESPACE}", f"--selector={SELECTOR}", "--grace-period=0", "--force")
    until("a new operator pod", lambda: any(pod["metadata"]["uid"] not in before for pod in pods()), 60, lambda: "")


def pods() -> list[dict[str, Any]]:
    """The operator's pods."""
    return kube.listing("pods", NAMESPACE, SELECTOR)


def logs() -> str:
    """What the operator said, also before its last restart."""
    parts = []
    for pod in pods():
        name = pod["metadata"]["name"]
        parts.append(f"== {name}\n" + kube.try_kubectl("logs", name, f"--namespace={NAMESPACE}").stdout)
    return "\n".join(parts)


def describe() -> str:
    """The installed image, for a report."""
    return json.dumps(sorted({c["image"] for pod in pods() for c in pod["spec"]["containers"]}))
