"""TiDB gets certificates for both its sides; a renewal restarts its pods, one by one, and nothing else."""

from lib import kube
from lib.console import step
from lib.context import Context
from lib.scenario import certificates, proof, tidb
from lib.wait import until

IMAGES = ("tidb",)
MINUTES = 4


def run(context: Context) -> None:
    sql, client = tidb.secured_cluster(context)
    tidb.proof(context, sql)
    starts, pods = context.cluster.container_starts(), sql.pod_ids()
    before = [certificates.secret_serial(context.namespace, part) for part in tidb.PORTS.values()]
    context.resource.patch({"rotate": {"certificates": "e2e-1"}})
    away: set[int] = set()
    with step("new certificates, TiDB's pods restart one by one"):
        until("all pods of TiDB to be new", lambda: _all_new(sql, pods, away), 300, context.resource.summary)
        context.resource.wait_condition("Ready", timeout=300)
    context.check("never more than one pod was away", max(away) <= 1, str(sorted(away)))
    after = [certificates.secret_serial(context.namespace, part) for part in tidb.PORTS.values()]
    context.check("both certificates are new", not set(before) & set(after))
    tidb.proof(context, sql)
    events = kube.listing("events", context.namespace)
    # What is alike comes as one event with the text of the first.
    reasons = [event["message"] for event in events if event["reason"] == "RestartingPod"]
    told = [text for text in reasons if tidb.NAME in text and "MySQL port" in text]
    context.check("an event tells why", bool(told), "; ".join(told))
    now = context.cluster.container_starts()
    context.check("no container of TiKV or PD was restarted", now == starts, f"{len(starts)} containers")
    proof.certificates_served(context)
    proof.end(context, client)


def _all_new(sql: tidb.Tidb, before: dict[str, str], away: set[int]) -> bool:
    now = sql.pod_ids()
    away.add(tidb.REPLICAS - len(now))
    return len(now) == tidb.REPLICAS and not set(before.values()) & set(now.values()) and sql.all_ready()
