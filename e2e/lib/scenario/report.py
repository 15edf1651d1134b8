"""The report for auditors, made by the program itself with the operator's rights."""

import json
from typing import Any

from lib import kube
from lib.console import Failure
from lib.scenario import operator, resource


def report(namespace: str) -> tuple[dict[str, Any], int]:
    """The report of a case's `TikvSecurity`, and the exit code, which is 0 when all that is asked for is proven."""
    target = ["exec", f"--namespace={operator.NAMESPACE}", f"deployment/{operator.RELEASE}", "--"]
    command = ["/tikv-security", "report", resource.NAME, f"--namespace={namespace}", "--output=json"]
    done = kube.try_kubectl(*target, *command)
    try:
        return dict(json.loads(done.stdout)), done.returncode
    except ValueError as error:
        raise Failure(f"no report: {done.stderr.strip()}") from error
