"""In production a master key that is kept in the cluster is refused, and the message says what to write."""

import json
from typing import Any

from lib import kube
from lib.context import Context
from lib.scenario import resource

WORDS = ("production forbids the file master key", "awsKms")


def run(context: Context) -> None:
    content = _with_file_key(context, "production")
    done = kube.try_kubectl("apply", "--filename=-", stdin=json.dumps(content))
    message = done.stderr.strip()
    context.check("a new object is refused", done.returncode != 0)
    context.check(
        "the message names the cause and what to write instead", all(word in message for word in WORDS), message
    )

    context.resource.apply(_with_file_key(context, "staging"))
    patch = json.dumps({"spec": {"environment": "production"}})
    target = [resource.KIND, resource.NAME, f"--namespace={context.namespace}"]
    done = kube.try_kubectl("patch", *target, "--type=merge", f"--patch={patch}")
    context.check("staging with a file key cannot become production", done.returncode != 0, done.stderr.strip())
    context.check("the object is as it was", context.resource.get()["spec"]["environment"] == "staging")


def _with_file_key(context: Context, environment: str) -> dict[str, Any]:
    content = resource.example(context.namespace, "unused")
    content["spec"]["environment"] = environment
    content["spec"]["encryption"]["masterKey"] = {"file": {"secret": {"name": "demo-master-key", "key": "master.key"}}}
    return content
