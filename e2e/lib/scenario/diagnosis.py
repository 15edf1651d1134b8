"""What a person needs to understand a failure, in one directory."""

import json
from pathlib import Path

from lib import kube
from lib.scenario import operator

# Never Secrets.
KINDS = ("tikvsecurity", "tikvvolume", "statefulset", "pod", "configmap", "persistentvolumeclaim", "event")


def dump(namespace: str, directory: Path) -> None:
    """Writes objects, events and logs of the namespace and of the operator."""
    directory.mkdir(parents=True, exist_ok=True)
    overview = kube.try_kubectl("get", "pods,tikvsecurity,tikvvolume,pvc", f"--namespace={namespace}", "--output=wide")
    (directory / "overview.txt").write_text(overview.stdout + overview.stderr, encoding="utf-8")
    for kind in KINDS:
        found = kube.try_kubectl("get", kind, f"--namespace={namespace}", "--output=yaml")
        (directory / f"{kind}.yaml").write_text(found.stdout, encoding="utf-8")
    events = kube.try_kubectl("events", f"--namespace={namespace}")
    (directory / "events.txt").write_text(events.stdout, encoding="utf-8")
    (directory / "operator.log").write_text(operator.logs(), encoding="utf-8")
    done = kube.try_kubectl("get", "pods", f"--namespace={namespace}", "--output=json")
    for pod in json.loads(done.stdout or '{"items": []}')["items"]:
        name = pod["metadata"]["name"]
        containers = pod["spec"].get("initContainers", []) + pod["spec"]["containers"]
        for container in containers:
            for suffix, extra in (("", []), (".previous", ["--previous"])):
                target = [name, f"--container={container['name']}", f"--namespace={namespace}"]
                log = kube.try_kubectl("logs", *target, *extra)
                if log.returncode == 0:
                    (directory / f"{name}.{container['name']}{suffix}.log").write_text(log.stdout, encoding="utf-8")
