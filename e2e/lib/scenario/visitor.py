"""A pod of its own that sees the volume of a store or a Secret, as TiKV's user and with no more rights than TiKV."""

from typing import Any, Optional

from lib import kube
from lib.images.catalogue import image_name

# TiKV's own user in the manifests.
OWNER = 1000


def start(
    namespace: str, claim: Optional[str], name: str, image: str, command: list[str], secret: Optional[str] = None
) -> None:
    """Starts it; the volume, when one is named, is at `/volume`, and so is the Secret at `/secret`."""
    mounts: list[dict[str, Any]] = []
    volumes: list[dict[str, Any]] = []
    if claim:
        mounts.append({"name": "volume", "mountPath": "/volume"})
        volumes.append({"name": "volume", "persistentVolumeClaim": {"claimName": claim}})
    if secret:
        mounts.append({"name": "secret", "mountPath": "/secret", "readOnly": True})
        volumes.append({"name": "secret", "secret": {"secretName": secret}})
    kube.apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "restartPolicy": "Never",
                "terminationGracePeriodSeconds": 0,
                "enableServiceLinks": False,
                "automountServiceAccountToken": False,
                "securityContext": {
                    "runAsNonRoot": True,
                    "runAsUser": OWNER,
                    "runAsGroup": OWNER,
                    "fsGroup": OWNER,
                    "fsGroupChangePolicy": "OnRootMismatch",
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "containers": [
                    {
                        "name": "visitor",
                        "image": image_name(image),
                        "imagePullPolicy": "IfNotPresent",
                        "command": command,
                        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                        "volumeMounts": mounts,
                    }
                ],
                "volumes": volumes,
            },
        }
    )


def phase(namespace: str, name: str) -> str:
    """Where its life stands, in Kubernetes' words."""
    pod = kube.get("pod", name, namespace) or {"status": {}}
    return str(pod["status"].get("phase"))


def stop(namespace: str, name: str) -> None:
    """Takes it away."""
    kube.kubectl("delete", "pod", name, f"--namespace={namespace}", "--grace-period=0", "--force", "--wait=true")
