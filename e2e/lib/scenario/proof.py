"""What every case proves at its end."""

from collections.abc import Set as AbstractSet
from typing import Any, Optional

from lib.context import Context
from lib.scenario import certificates, leaks, master_key, measure, pd, volumes
from lib.scenario.client import Client
from lib.scenario.master_key import MasterKey
from lib.scenario.report import report
from lib.wait import until


def end(
    context: Context,
    client: Client,
    method: str = "aes256-ctr",
    also: Optional[dict[str, list[bytes]]] = None,
    home: AbstractSet[str] = frozenset(),
) -> MasterKey:
    """All that must hold when a case is over: data and `key.dict` are under the keys that the spec asks for, the report
    says the same, no key is where none may be, PD is as it was, and no row is lost.

    `also` are more keys to look for, in the forms that `leaks` makes: those that were in use before. `home` names
    Secrets in which a person put one of them.
    """
    key = master_key.asked_for(context)
    data_encrypted(context, method)
    key_dicts_under(context, key.kind, key.name)
    reported(context, method, key)
    nothing_left_behind(context)
    no_secret_leaked(context, {**(also or {}), **key.needles}, {*home, *key.home})
    no_row_lost(context, client)
    return key


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


def reported(context: Context, method: str, key: MasterKey) -> None:
    """The report for auditors says what was measured, and that it is what is asked for."""

    def proven() -> Optional[dict[str, Any]]:
        said, code = report(context.namespace)
        good = said["atRest"]["verdict"] == said["inTransit"]["verdict"] == "Proven" and code == 0
        return said if good else None

    def unproven() -> str:
        said, code = report(context.namespace)
        return f"{said['atRest']}, {said['inTransit']}, exit code {code}"

    # What was measured last may be of the moment before the last change.
    said = until("the report to call everything proven", proven, 90, unproven)
    context.check("the report calls data at rest and connections proven", True, said["atRest"]["because"])
    master = said["masterKey"]
    right = master["provider"] == key.provider and key.id in master["id"] and master["proof"]["status"] == "True"
    context.check(f"it names the {key.provider} key as proven usable", right, str(master))
    wrong = [problem for store in said["stores"] for problem in _store_problems(store, method, key)]
    known = sorted(store["pod"] for store in said["stores"]) == sorted(context.cluster.stores)
    context.check(f"and every byte of every store as {method} under it", known and not wrong, "; ".join(wrong))


def _store_problems(store: dict[str, Any], method: str, key: MasterKey) -> list[str]:
    """What keeps a store in the report from being wholly under a method and a master key."""
    sealed = store.get("keyDict", {})
    under = sealed.get("under", {})
    methods = sorted({one["method"] for one in store["keys"] if one["bytes"]})
    facts = {
        "proven": store["proven"],
        "bytes": 0 < store["bytes"] == store["encryptedBytes"] and store["plaintextBytes"] == 0,
        f"data keys of {', '.join(methods)}": methods == [method],
        f"key.dict under {under}": under.get("kind") == key.kind and key.name in under.get("key", ""),
        "key.dict under the previous key": not sealed.get("previous"),
    }
    return [f"{store['pod']}: not right: {what}" for what, good in facts.items() if not good]


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
    found, searched = leaks.hits(context, looked_for, home)
    where = ", ".join(f"{count} {kind}" for kind, count in searched.items())
    context.check(f"none of {len(looked_for)} keys is in {where}", not found, "; ".join(found[:5]))


def _brief(answers: list[certificates.Served]) -> str:
    return "; ".join(f"{answer.pod}:{answer.port} {answer.error or answer.serial}" for answer in answers)
