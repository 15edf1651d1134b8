"""A new cluster starts with mutual TLS and with everything encrypted."""

from lib.context import Context
from lib.scenario import proof, setup


def run(context: Context) -> None:
    client = setup.secured_cluster(context)
    proof.certificates_served(context)
    proof.strangers_refused(context)
    proof.end(context, client)
