"""Old data keys are given up without a restart: tables are compacted, and the status says what stays."""

from typing import Any

from lib import kube
from lib.console import step
from lib.context import Context
from lib.scenario import measure, proof, setup
from lib.wait import until

# TiKV makes a new data key after ten minutes at the earliest. The stand-in lets data keys age faster, and takes its
# time for a compaction, as a large store does; a real TiKV ignores both, and the case takes as long as it takes.
PACE = {"STANDIN_KEY_PACE": "15", "STANDIN_COMPACTION_SECONDS": "4"}
PERIOD = "10m"
MINUTES = 4


def run(context: Context) -> None:
    client = setup.secured_cluster(context, change=_short_period, environment=PACE)
    with step("all stores restart: what was in memory and in logs is in tables then"):
        kube.kubectl("delete", "pod", *context.cluster.stores, f"--namespace={context.namespace}", timeout=180)
        context.cluster.wait_ready()
        context.resource.wait_condition("Ready", timeout=setup.READY)
        known = lambda: measure.all_known(context.resource, context.cluster.stores)  # noqa: E731
        until("the agents to measure the stores", known, 120, context.resource.summary)
    context.check("mode Compaction is refused with another method", not _try_patch(context, "sm4-ctr"))
    pods, starts = context.cluster.pod_ids(), context.cluster.container_starts()
    before = {store: _made(context, store) for store in context.cluster.stores}

    context.resource.patch(
        {"encryption": {"reencryption": {"mode": "Compaction"}}, "rotate": {"dataKey": "without-restart"}}
    )
    at_once: list[list[str]] = []

    def at_work() -> None:
        reports = {pod: (status.get("report") or {}) for pod, status in context.resource.volumes().items()}
        busy = [pod for pod, report in reports.items() if (report.get("compaction") or {}).get("state") == "Running"]
        at_once.append(busy)

    with step("one store after the other compacts: DataEncrypted=True, OldKeysUntilRestart"):
        until("no table to be under an old key", lambda: _done(context, at_work), setup.READY, context.resource.summary)
    compacted = sorted({pod for busy in at_once for pod in busy})
    context.check("every store was seen at its compaction", compacted == sorted(context.cluster.stores), str(compacted))
    together = [busy for busy in at_once if len(busy) > 1]
    context.check("never two at a time", not together, str(together))

    limit = context.resource.get()["status"]["encryption"]["dataKeyNotBefore"]
    for store, known in sorted(measure.coverage(context.resource).items()):
        old = known["oldKeys"]
        tables = old["tables"]["files"]
        context.check(f"{store}: no table is under a data key from before {limit}", tables == 0, str(old))
        kinds = {one["kind"] for one in old["untilRestart"]}
        context.check(f"{store}: the status names what remains", bool(kinds), ", ".join(sorted(kinds)))
        newer = known["currentDataKeyMadeAt"] > before[store]
        context.check(f"{store}: TiKV made a new data key by itself", newer, known["currentDataKeyMadeAt"])
    ready = context.resource.wait_condition("Ready", timeout=setup.READY)
    context.check("the message of Ready says so too", "without a restart" in ready["message"], ready["message"])
    context.check("no pod was replaced", context.cluster.pod_ids() == pods)
    context.check("no container of TiKV or PD restarted", context.cluster.container_starts() == starts)
    proof.data_encrypted(context, "aes256-ctr")
    proof.nothing_left_behind(context)
    proof.no_row_lost(context, client)

    context.resource.patch({"encryption": {"reencryption": {"mode": "Restart"}}})
    with step("mode Restart ends what was left: DataEncrypted=True, AsDesired"):
        until("every file to be under a new key", lambda: _reason(context) == "AsDesired", setup.READY)
    for store, known in sorted(measure.coverage(context.resource).items()):
        left = known["oldKeys"].get("untilRestart", [])
        context.check(f"{store}: nothing is under a data key from before {limit}", not left, str(left))
    proof.end(context, client)


def _short_period(spec: dict[str, Any]) -> None:
    spec["encryption"]["dataKeyRotationPeriod"] = PERIOD


def _made(context: Context, store: str) -> str:
    return str(measure.coverage(context.resource)[store]["currentDataKeyMadeAt"])


def _reason(context: Context) -> str:
    entry = context.resource.condition("DataEncrypted")
    return str(entry["reason"]) if entry and entry["status"] == "True" else ""


def _done(context: Context, look: Any) -> bool:
    look()
    return _reason(context) == "OldKeysUntilRestart"


def _try_patch(context: Context, method: str) -> bool:
    patch = f'{{"spec":{{"encryption":{{"method":"{method}","reencryption":{{"mode":"Compaction"}}}}}}}}'
    name = f"tikvsecurity/{context.resource.get()['metadata']['name']}"
    done = kube.try_kubectl("patch", name, f"--namespace={context.namespace}", "--type=merge", f"--patch={patch}")
    return done.returncode == 0
