"""From our own CA to Vault's, to one that speaks ACME, and back, while a client works on and issuers are gone."""

from lib import kube
from lib.console import step
from lib.context import Context
from lib.scenario import authority, certificates, proof, setup
from lib.scenario.acme import Acme
from lib.scenario.vault import Vault
from lib.wait import until

IMAGES = ("acme", "vault")
# There is one operator for all.
ALONE = True
LONG = True


def run(context: Context) -> None:
    client = setup.secured_cluster(context, change=authority.overlap)
    first = certificates.secret_serial_of(context.namespace, "demo-ca")
    vault = Vault(context.namespace)
    with step("Vault with an intermediate CA under a root"):
        vault.start()
        vault.sign_certificates()
    change = {"tls": {"issuer": {**vault.issuer(), "selfSigned": None}}}
    authority.follow(context, client, "issuer vault", change, kill_in="Bundle")
    second = certificates.secret_serial_of(context.namespace, "demo-ca")
    context.check("Vault's CA is the cluster's", second != first, f"{first[:16]}… -> {second[:16]}…")
    stored = (kube.get("secret", "demo-ca", context.namespace) or {})["data"]
    context.check("its key is not in the cluster", not stored["tls.key"])
    pods = context.cluster.pod_ids()
    with step("all certificates renewed by Vault"):
        before = certificates.secret_serial(context.namespace, "tikv")
        context.resource.patch({"rotate": {"certificates": "e2e"}})
        renewed = lambda: certificates.secret_serial(context.namespace, "tikv") != before  # noqa: E731
        until("another certificate for TiKV", renewed, 120, context.resource.summary)
        context.resource.wait_condition("Ready", timeout=setup.READY)
    proof.certificates_served(context)
    context.check("nothing restarted for it", context.cluster.pod_ids() == pods)

    vault.seal()
    acme = Acme(context.namespace)
    with step("step-ca with an intermediate CA under a root, and the name server that it asks"):
        acme.start()
    change = {"tls": {"issuer": {**acme.issuer(), "vault": None}}}
    authority.follow(context, client, "issuer acme", change, kill_in="Leaves")
    third = certificates.secret_serial_of(context.namespace, "demo-ca")
    context.check("the ACME server's CA is the cluster's", third not in (first, second), f"{third[:16]}…")

    acme.stop()
    change = {"tls": {"issuer": {"selfSigned": {}, "acme": None}}}
    authority.follow(context, client, "issuer selfSigned", change)
    last = certificates.secret_serial_of(context.namespace, "demo-ca")
    context.check("the CA is one of our own again", last not in (first, second, third), f"{last[:16]}…")
    proof.strangers_refused(context)
    proof.end(context, client)
