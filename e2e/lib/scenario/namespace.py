"""A namespace of one case or demo."""

from pathlib import Path
from typing import Optional

from lib import kube, settings
from lib.cluster import storage
from lib.images.catalogue import CATALOGUE
from lib.wait import until

MANIFESTS = settings.E2E / "manifests"
# Image names in the manifests are those of the real programs; a person can apply the files as they are.
WRITTEN_IMAGES = {
    "pingcap/tikv:v8.5.7": "tikv",
    "pingcap/pd:v8.5.7": "pd",
    "pingcap/tidb:v8.5.7": "tidb",
    "motoserver/moto:5.2.2": "moto",
    "openbao/openbao:2.7.2": "vault",
    "smallstep/step-ca:0.30.2": "acme",
}


def create(namespace: str) -> None:
    """Makes the namespace anew, with Pod Security *restricted* enforced."""
    delete(namespace)
    text = (MANIFESTS / "namespace.yaml").read_text(encoding="utf-8")
    kube.kubectl(
        "apply", "--filename=-", stdin=text.replace("NAMESPACE is", "The name is").replace("NAMESPACE", namespace)
    )
    until(
        f"the service account of {namespace}",
        lambda: kube.get("serviceaccount", "default", namespace),
        30,
        lambda: "",
    )


def delete(namespace: str) -> None:
    """Removes the namespace and its volumes; nothing there is fine."""
    if kube.get("namespace", namespace) is None:
        return
    # While the operator lives its finalizer does the work; afterwards nobody would.
    kube.try_kubectl("delete", "tikvsecurity", "--all", f"--namespace={namespace}", "--timeout=60s", timeout=90)
    for resource in _names("tikvsecurity", namespace):
        remove = '{"metadata":{"finalizers":null}}'
        kube.try_kubectl("patch", resource, f"--namespace={namespace}", "--type=merge", f"--patch={remove}")
    # First the namespace, so that nothing makes the pods again; then the pods, without their long grace periods.
    kube.kubectl("delete", "namespace", namespace, "--wait=false")
    kube.kubectl("delete", "pods", "--all", f"--namespace={namespace}", "--grace-period=1", "--wait=false")
    kube.kubectl("wait", "--for=delete", f"namespace/{namespace}", "--timeout=120s", timeout=130)
    storage.discard(namespace)


def apply(namespace: str, manifest: str, changes: Optional[dict[str, str]] = None) -> None:
    """Applies a file of `e2e/manifests` with the images in use, and with further changes of its text."""
    content = text(MANIFESTS / manifest)
    for written, wanted in (changes or {}).items():
        content = content.replace(written, wanted)
    kube.kubectl("apply", f"--namespace={namespace}", "--filename=-", stdin=content)


def text(path: Path) -> str:
    """A manifest with the images in use."""
    content = path.read_text(encoding="utf-8")
    for written, role in WRITTEN_IMAGES.items():
        content = content.replace(f"image: {written}", f"image: {CATALOGUE[role].name}")
    return content


def _names(kind: str, namespace: str) -> list[str]:
    done = kube.try_kubectl("get", kind, f"--namespace={namespace}", "--output=name", "--ignore-not-found")
    return done.stdout.split() if done.returncode == 0 else []
