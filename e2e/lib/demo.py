"""The demo: the main job and its evidence."""

import os
import time
from typing import Optional

from lib import kube, runner, settings
from lib.cluster import lifecycle
from lib.console import Failure, say, step
from lib.images import ahead
from lib.scenario import certificates, diagnosis, measure, namespace, resource, view, volumes
from lib.scenario.client import Client
from lib.scenario.cluster import TikvCluster
from lib.scenario.kms import Kms
from lib.scenario.resource import TikvSecurity

NAMESPACE = "demo"
ROWS = 5000
TIMEOUT = 900
# Written by a real TiKV, in plaintext.
STORE = settings.REPOSITORY / "tests" / "stores" / "plaintext"


def run() -> None:
    """Everything from nothing to the evidence."""
    started = time.monotonic()
    lifecycle.check_machine()
    ahead.start()
    say("A Kubernetes on this machine")
    lifecycle.up()
    say("\nImages and operator")
    runner.prepare()
    try:
        _secure(started)
    except Failure:
        directory = runner.default_output()
        diagnosis.dump(NAMESPACE, directory)
        say(f"details: {directory}")
        raise


def remove() -> None:
    """Removes the demo, not the cluster."""
    if settings.foreign_kubeconfig() or lifecycle.healthy():
        with step(f"namespace {NAMESPACE} deleted"):
            namespace.delete(NAMESPACE)


def _secure(started: float) -> None:
    cluster, watched = TikvCluster(NAMESPACE), TikvSecurity(NAMESPACE)
    say("\nA TiKV cluster in plaintext, with data")
    with step(f"namespace {NAMESPACE}, Pod Security restricted"):
        namespace.create(NAMESPACE)
    with step("volumes" + (", filled with data of a real TiKV" if _fixture() else "")):
        cluster.prepare_volumes(_fixture())
    with step("3 PD members and 3 TiKV stores"):
        cluster.deploy()
        cluster.wait_ready()
    client = Client(NAMESPACE)
    stored = volumes.fixture_manifest(STORE)["rows"] if _fixture() else {}
    with step(f"a client writes {ROWS} rows and keeps on reading and writing"):
        client.start(ROWS, stored)
    with step("an AWS KMS (emulator) with a master key"):
        key = Kms(NAMESPACE).start()
    say("\nBefore")
    _marker(cluster)

    say(f"\nTikvSecurity {resource.NAME} applied (e2e/manifests/tikvsecurity.yaml)")
    watched.apply(resource.example(NAMESPACE, key))
    view.watch(watched, cluster.stores, client, TIMEOUT)

    say("\nEvidence")
    _show_certificates(cluster)
    _show_keys(watched)
    _marker(cluster)
    verdict = client.verify()
    before = f", and {verdict.stored} of the {sum(stored.values())} that a real TiKV had written" if stored else ""
    say(f"  the client read all of its {verdict.rows} rows{before}: {verdict.describe()}")
    say()
    say(kube.kubectl("get", "tikvsecurities,tikvvolumes", f"--namespace={NAMESPACE}"))
    if not verdict.good or verdict.stored < sum(stored.values()):
        raise Failure("rows were lost or wrong")
    say(f"Ready=True. All of this took {time.monotonic() - started:.0f} s.")
    say(f"Look around: export KUBECONFIG={kube.kubeconfig()}")
    say("Take it away: e2e/demo --down")


def _fixture() -> Optional[bytes]:
    """The store to fill the volumes with. Real stores would refuse it: its addresses are those of another cluster."""
    if os.environ.get("TIKV_IMAGE") or os.environ.get("TIKV_BIN") or not (STORE / "data.tar.zst").is_file():
        return None
    return volumes.fixture(STORE)


def _marker(cluster: TikvCluster) -> None:
    for store in cluster.stores:
        count = volumes.marker_count(NAMESPACE, f"data-{store}")
        found = f"found in {count} files" if count else "not found"
        say(f"  volume of {store}: {volumes.MARKER} {found}")


def _show_certificates(cluster: TikvCluster) -> None:
    say("  certificates served, asked with openssl:")
    for answer in certificates.served(cluster):
        verdict = "verified" if answer.verified else f"NOT VERIFIED {answer.error}"
        port = f"{answer.pod}:{answer.port}"
        say(f"    {port:<19} {verdict}, serial {answer.serial[:16]}…, issuer {answer.issuer}, until {answer.until}")


def _show_keys(watched: TikvSecurity) -> None:
    say("  bytes by data key, measured by the agents:")
    for store, known in sorted(measure.coverage(watched).items()):
        for use in known.get("byKey", []):
            amount = f"{measure.human(use['bytes']):>10} in {use['files']} files"
            say(f"    {store}: {amount} under key {use['keyId']} ({use['method']})")
        say(f"    {store}: {measure.human(known.get('plaintextBytes', 0)):>10} in plaintext")
