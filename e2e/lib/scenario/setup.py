"""The usual beginnings of a case."""

from typing import Any, Callable, Optional

from lib.console import step
from lib.context import Context
from lib.scenario import measure, resource
from lib.scenario.client import Client
from lib.scenario.kms import Kms
from lib.wait import until

Change = Callable[[dict[str, Any]], None]
# Long enough for three stores and three members on two busy processors.
READY = 900


def plaintext_cluster(context: Context, rows: int = 2000) -> Client:
    """A running cluster that nobody secured, with rows in it, and a client that goes on reading and writing."""
    with step("volumes"):
        context.cluster.prepare_volumes()
    with step("PD and TiKV deployed and ready"):
        context.cluster.deploy()
        context.cluster.wait_ready()
    client = Client(context.namespace)
    with step(f"{rows} rows written, client keeps reading and writing"):
        client.start(rows)
    return client


def make_resource(context: Context, change: Optional[Change] = None) -> Kms:
    """A KMS with a key, and the example resource applied with the case's changes."""
    kms = Kms(context.namespace)
    with step("KMS with a master key"):
        key = kms.start()
    content = resource.example(context.namespace, key)
    if change:
        change(content["spec"])
    with step("TikvSecurity applied"):
        context.resource.apply(content)
    return kms


def secured_cluster(
    context: Context,
    rows: int = 2000,
    change: Optional[Change] = None,
    environment: Optional[dict[str, str]] = None,
    secret: str = "demo-client-tls",
) -> Client:
    """A cluster that was new when it was secured, with rows in it and a client at work; `environment` is for TiKV,
    `secret` has the client's certificate."""
    with step("volumes"):
        context.cluster.prepare_volumes()
    make_resource(context, change)
    with step("PD and TiKV deployed, Ready=True"):
        context.cluster.deploy_secured(environment)
        context.resource.wait_condition("Ready", timeout=READY)
    return start_client(context, rows, secret)


def start_client(context: Context, rows: int = 2000, secret: str = "demo-client-tls") -> Client:
    """A client at work on a cluster that is secured; its rows are measured when this comes back."""
    client = Client(context.namespace, secret)
    with step(f"{rows} rows written, client keeps reading and writing"):
        client.start(rows)
    with step("agents have measured the stores"):
        known = lambda: measure.all_known(context.resource, context.cluster.stores)  # noqa: E731
        until("the agents to measure the stores", known, 120, context.resource.summary)
    return client
