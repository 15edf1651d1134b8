"""The CA becomes another one while a client goes on and the operator is killed; then once more in an emergency."""

from lib import kube
from lib.context import Context
from lib.scenario import authority, certificates, proof, setup
from lib.scenario.client import Client

# There is one operator for all.
ALONE = True
LONG = True
NEXT = "demo-ca-next"


def run(context: Context) -> None:
    client = setup.secured_cluster(context, change=authority.overlap)
    old = certificates.secret_serial_of(context.namespace, "demo-ca")
    _rotate(context, client, {"ca": "e2e-1"}, kill_in="Leaves")
    middle = certificates.secret_serial_of(context.namespace, "demo-ca")
    context.check("the CA is another one", middle != old, f"{old[:16]}… -> {middle[:16]}…")

    _rotate(context, client, {"caEmergency": "e2e-2"})
    new = certificates.secret_serial_of(context.namespace, "demo-ca")
    context.check("in an emergency it is another one again", new not in (old, middle), f"{new[:16]}…")

    entries = context.resource.get()["status"].get("rotations", [])
    done = [entry for entry in entries if entry["kind"].endswith("Authority")]
    told = [f"{entry.get('request')} by {entry.get('by')}" for entry in done]
    context.check("the status lists both", len(done) == 2 and all(entry.get("finishedAt") for entry in done), str(told))
    proof.strangers_refused(context)
    proof.end(context, client)


def _rotate(context: Context, client: Client, word: dict[str, str], kill_in: str = "") -> None:
    pods = context.cluster.pod_ids()
    authority.follow(context, client, str(word), {"rotate": word}, kill_in)
    now = context.cluster.pod_ids()
    stayed = sorted(pod for pod, uid in now.items() if pods.get(pod) == uid)
    context.check("every store and every member of PD restarted", not stayed, ", ".join(stayed))
    left = (kube.get("secret", NEXT, context.namespace) or {}).get("data", {})
    context.check("the place of the next CA is empty", not any(left.values()))
