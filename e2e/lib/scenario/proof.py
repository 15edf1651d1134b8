"""What every case proves at its end."""

from lib.context import Context
from lib.scenario import certificates, leaks, measure, pd, volumes
from lib.scenario.client import Client
from lib.wait import until


def certificates_served(context: Context) -> None:
    """Every port serves the certificate of its Secret, signed by the CA that clients were given."""
    for part in ("tikv", "pd"):
        serial = certificates.secret_serial(context.namespace, part)
        ports = list(certificates.PORTS[part])
        answers = certificates.served(context.cluster, ports)
        wrong = [answer for answer in answers if not answer.verified or answer.serial != serial]
        context.check(
            f"all {len(answers)} ports of {part} serve certificate {serial[:16]}…, and it verifies",
            not wrong,
            _brief(wrong),
        )


def strangers_refused(context: Context) -> None:
    """A caller without a certificate gets nowhere."""
    for pod, port in ((context.cluster.stores[0], 20160), (context.cluster.members[0], 2379)):
        refused = certificates.refuses_strangers(context.cluster, pod, port)
        context.check(f"{pod}:{port} refuses a caller without a certificate", refused)


def data_encrypted(context: Context, method: str) -> None:
    """By the agents' measurement and by looking for known text on the volumes."""
    found = measure.problems(context.resource, context.cluster.stores, method)
    context.check(f"every byte of every store is {method}", not found, "; ".join(found))
    for store, known in sorted(measure.coverage(context.resource).items()):
        context.check(
            f"{store}: {known['files']} files, {measure.human(known['bytes'])}",
            known["bytes"] > 0,
            "data keys " + ", ".join(use["keyId"] for use in known["byKey"]),
        )
    if method != "plaintext":
        for store in context.cluster.stores:
            count = volumes.marker_count(context.namespace, f"data-{store}")
            context.check(f"no file on the volume of {store} contains {volumes.MARKER}", count == 0, f"{count} files")


def key_dicts_under(context: Context, kind: str, key: str) -> None:
    """`key.dict` of every store is sealed under this master key, as its agent has read it."""
    found = measure.key_dicts(context.resource)
    for store in context.cluster.stores:
        under = found.get(store, {}).get("under", {})
        right = under.get("kind") == kind and key in under.get("key", "")
        context.check(f"key.dict of {store} is under the {kind} key", right, under.get("key", "not told"))


def nothing_left_behind(context: Context) -> None:
    """PD is as it was, and the status, which is written after that, knows it."""
    left: list[str] = pd.evict_schedulers(context.cluster)
    context.check("no scheduler keeps leaders away from a store", not left, ", ".join(left))

    def at_rest() -> bool:
        rollout = context.resource.get()["status"].get("rollout", {})
        return not rollout.get("evicting") and not rollout.get("restoreMaxStoreDownTime")

    until("the status to name nothing that PD has lent", at_rest, 60, context.resource.summary)


def no_row_lost(context: Context, client: Client) -> None:
    """All rows are there with the right values; how many requests failed meanwhile is told."""
    verdict = client.verify()
    context.check(f"{verdict.rows} rows read, none lost, none wrong", verdict.good, verdict.describe())


def no_secret_leaked(context: Context, needles: dict[str, list[bytes]], home: set[str]) -> None:
    """No key is in a log, an object (but the Secrets named in `home`, which hold it), a process or a volume.

    `needles` are the forms of each key, as `leaks` makes them; the private keys of all certificates are added.
    """
    looked_for = {**needles, **leaks.private_keys(context.namespace)}
    found = leaks.hits(context, looked_for, home)
    what = "logs, objects, arguments, environments and volumes"
    context.check(f"none of {len(looked_for)} keys is in {what}", not found, "; ".join(found[:5]))


def _brief(answers: list[certificates.Served]) -> str:
    return "; ".join(f"{answer.pod}:{answer.port} {answer.error or answer.serial}" for answer in answers)
