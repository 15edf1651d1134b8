"""The agent is killed in the middle of a volume: TiKV is held back until the rest is done."""

from lib import kube
from lib.console import step
from lib.context import Context
from lib.scenario import agent, proof, setup
from lib.wait import meanwhile, until

TRIES = ("aes128-ctr", "aes192-ctr", "aes256-ctr", "sm4-ctr")
MINUTES = 2


def run(context: Context) -> None:
    # More rows than elsewhere, so that the work on a volume lasts.
    client = setup.secured_cluster(context, rows=20000)
    method, store = _cut_work(context)
    restarts = agent.status(context.namespace, store).get("restartCount", 0)
    with step(f"agent of {store} starts again and finishes"):
        until(
            f"the agent of {store} to be ready again",
            lambda: (
                not agent.journal_open(context.namespace, store) and agent.status(context.namespace, store).get("ready")
            ),
            120,
            lambda: agent.describe(context.namespace, store),
        )
    context.check("the container of the agent was started again", _restarted(context, store, restarts))
    context.check("TiKV was started only after that", _tikv_started_later(context, store))
    with step("Ready=True"):
        context.resource.wait_condition("Ready", timeout=setup.READY)
    proof.end(context, client, method)


def _cut_work(context: Context) -> tuple[str, str]:
    """Changes the method until the work on a volume was really cut in two; answers the method and the store."""
    store = context.cluster.stores[-1]
    for method in TRIES:
        context.resource.patch({"encryption": {"method": method}})
        with step(f"method {method}, agent of {store} killed at work"):
            if agent.can_watch():
                over = meanwhile(lambda: context.resource.wait_condition("Ready", timeout=setup.READY))
                cut = agent.kill_at_work(context.namespace, store, over)
            else:
                cut = _force_delete(context, store)
        if cut:
            return method, store
        context.resource.wait_condition("Ready", timeout=setup.READY)
    context.check(f"the work on {store} was cut in the middle", False, "the agent was always faster")
    raise AssertionError("unreachable")


def _force_delete(context: Context, store: str) -> bool:
    """On a cluster elsewhere: the whole pod, without grace, while its volume is in work."""

    def working() -> bool:
        return context.resource.volumes().get(store, {}).get("phase") == "Working"

    until(f"the volume of {store} to be in work", working, setup.READY, context.resource.summary)
    kube.kubectl("delete", "pod", store, f"--namespace={context.namespace}", "--grace-period=0", "--force")
    return True


def _restarted(context: Context, store: str, before: int) -> bool:
    entry = agent.status(context.namespace, store)
    return not agent.can_watch() or entry.get("restartCount", 0) >= max(1, before)


def _tikv_started_later(context: Context, store: str) -> bool:
    started = agent.status(context.namespace, store).get("state", {}).get("running", {}).get("startedAt", "")
    tikv = until(f"TiKV of {store} to start", lambda: context.cluster.container_starts().get(store), 120)
    return bool(started) and started <= tikv
