"""A cluster with TiDB goes from one CA to the next while a client works on."""

from lib.context import Context
from lib.scenario import authority, certificates, proof, tidb

IMAGES = ("tidb",)
LONG = True
MINUTES = 15


def run(context: Context) -> None:
    sql, client = tidb.secured_cluster(context)
    old = certificates.secret_serial_of(context.namespace, "demo-ca")
    pods = sql.pod_ids()
    authority.follow(context, client, "rotate.ca", {"rotate": {"ca": "e2e-1"}})
    new = certificates.secret_serial_of(context.namespace, "demo-ca")
    context.check("the CA is another one", new != old, f"{old[:16]}… -> {new[:16]}…")
    stayed = set(pods.values()) & set(sql.pod_ids().values())
    context.check("every pod of TiDB restarted", not stayed)
    tidb.proof(context, sql)
    proof.end(context, client)
