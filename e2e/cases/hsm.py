"""A master key in a hardware security module (SoftHSM): a pod without the token is held, and goes on when it has it."""

from typing import Any

from lib import kube
from lib.console import step
from lib.context import Context
from lib.images import hsm
from lib.scenario import agent, leaks, operator, proof, resource, setup
from lib.wait import until

# There is one operator for all, and here it has another image.
ALONE = True
IMAGES = ("tikv-security-hsm",)
CONFIGURATION = "demo-hsm"
PIN = "demo-hsm-pin"


def run(context: Context) -> None:
    _configure(operator.NAMESPACE, hsm.TOKENS)
    try:
        with step("operator with SoftHSM in its image"):
            operator.install("tikv-security-hsm", CONFIGURATION)
        _run(context)
    finally:
        with step("operator as before"):
            operator.install()
        kube.kubectl("delete", "secret", CONFIGURATION, f"--namespace={operator.NAMESPACE}")


def _run(context: Context) -> None:
    token = hsm.token()
    with step("volumes"):
        context.cluster.prepare_volumes()
    _configure(context.namespace, hsm.TOKENS)
    _secret(context.namespace, PIN, "pin", token.pin)
    content = resource.example(context.namespace, "unused")
    content["spec"]["environment"] = "production"
    content["spec"]["encryption"]["masterKey"] = _master_key()
    with step("TikvSecurity applied; PD and TiKV deployed, Ready=True"):
        context.resource.apply(content)
        context.cluster.deploy_secured()
        context.resource.wait_condition("Ready", timeout=setup.READY)
    client = setup.start_client(context)

    store, others = context.cluster.stores[-1], context.cluster.stores[:-1]
    before = context.cluster.pod_ids()
    with step(f"the pods' library finds no token any more, pod of {store} deleted"):
        _configure(context.namespace, hsm.NOTHING)
        kube.kubectl("delete", "pod", store, f"--namespace={context.namespace}", "--wait=true", timeout=180)
    with step(f"{store} is held, and the status says why"):
        held = lambda: context.resource.volumes().get(store, {}).get("phase") == "Held"  # noqa: E731
        until("the volume to be Held", held, 180, context.resource.summary)
        context.resource.wait_condition("Ready", "False", timeout=60)
    message = context.resource.volumes()[store].get("message", "")
    context.check("the volume says what the library said", 'token with the label "tikv"' in message, message)
    context.check("TiKV's container waits", not context.cluster.container_starts().get(store))
    verdict = client.verify()
    context.check(f"the other stores serve {verdict.rows} rows", verdict.good, verdict.describe())
    after = context.cluster.pod_ids()
    undisturbed = all(before[pod] == after[pod] for pod in [*others, *context.cluster.members])
    context.check("no other pod was disturbed", undisturbed)

    with step("the token is back: everything goes on by itself, Ready=True"):
        _configure(context.namespace, hsm.TOKENS)
        context.resource.wait_condition("Ready", timeout=setup.READY)
    context.check("it is the same pod", context.cluster.pod_ids()[store] == after[store])
    restarts = agent.status(context.namespace, store).get("restartCount", 0)
    context.check("and its agent never ended", restarts == 0, f"{restarts} restarts")
    secret = {"the key in the HSM": leaks.of_bytes(token.key), "its PIN": leaks.of_text(token.pin)}
    key = proof.end(context, client, also=secret, home={PIN})
    context.check("the pods have the master key in memory", len(key.needles) == len(context.cluster.stores))


def _master_key() -> dict[str, Any]:
    return {
        "pkcs11": {
            "module": hsm.MODULE,
            "token": hsm.TOKEN,
            "key": hsm.KEY,
            "pinSecret": {"name": PIN, "key": "pin"},
            "configSecret": {"name": CONFIGURATION},
        }
    }


def _configure(namespace: str, tokens: str) -> None:
    """What the library reads; a pod has it when it starts, and within a minute or two when it changes."""
    _secret(namespace, CONFIGURATION, "softhsm2.conf", hsm.configuration(tokens))


def _secret(namespace: str, name: str, key: str, text: str) -> None:
    metadata = {"name": name, "namespace": namespace}
    kube.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {key: text}})
