"""Volumes: a storage class without a provisioner, and one local volume for each claim that is going to be made."""

import shutil
from pathlib import Path
from typing import Any

from lib import kube, settings

VOLUMES = settings.DATA / "volumes"
CLASS = "standard"


def make_class() -> None:
    """Makes the default storage class, of the same name as kind's."""
    kube.apply(
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": CLASS, "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
            "provisioner": "kubernetes.io/no-provisioner",
            "volumeBindingMode": "WaitForFirstConsumer",
        }
    )


def provide(namespace: str, claims: list[str]) -> None:
    """Makes an empty volume for each claim. On another cluster its own provisioner does that."""
    if settings.foreign_kubeconfig():
        return
    kube.apply(*[_volume(namespace, claim) for claim in claims])


def discard(namespace: str) -> None:
    """Removes the volumes of a namespace that was deleted."""
    if settings.foreign_kubeconfig():
        return
    kube.kubectl("delete", "persistentvolume", f"--selector=e2e.tikv.org/namespace={namespace}", "--wait=false")
    shutil.rmtree(VOLUMES / namespace, ignore_errors=True)


def _volume(namespace: str, claim: str) -> dict[str, Any]:
    directory: Path = VOLUMES / namespace / claim
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o2777)
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"{namespace}-{claim}", "labels": {"e2e.tikv.org/namespace": namespace}},
        "spec": {
            "capacity": {"storage": "4Gi"},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": CLASS,
            "claimRef": {"namespace": namespace, "name": claim},
            "local": {"path": str(directory)},
            "nodeAffinity": {
                "required": {
                    "nodeSelectorTerms": [
                        {
                            "matchExpressions": [
                                {"key": "kubernetes.io/hostname", "operator": "In", "values": [settings.NODE]}
                            ]
                        }
                    ]
                }
            },
        },
    }
