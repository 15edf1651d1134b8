"""What the agents measured, in the words of a person."""

from typing import Any

from lib.scenario.resource import TikvSecurity


def human(count: int) -> str:
    """Bytes for a person."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError("unreachable")


def coverage(resource: TikvSecurity) -> dict[str, dict[str, Any]]:
    """Files and bytes by state for each store."""
    return {pod: status.get("report", {}).get("coverage") or {} for pod, status in resource.volumes().items()}


def all_known(resource: TikvSecurity, stores: list[str]) -> bool:
    """Whether the agents have seen data of every store and what its `key.dict` is under; a new store has none."""
    measured, sealed = coverage(resource), key_dicts(resource)
    return all(measured.get(store, {}).get("bytes") and sealed.get(store, {}).get("under") for store in stores)


def problems(resource: TikvSecurity, stores: list[str], method: str) -> list[str]:
    """What keeps one from saying that every byte of every store is encrypted by `method`; empty when nothing does."""
    found = []
    measured = coverage(resource)
    for store in stores:
        known = measured.get(store)
        if not known:
            found.append(f"{store}: not measured")
            continue
        if method != "plaintext" and (known["plaintextBytes"] != 0 or known["encryptedBytes"] != known["bytes"]):
            found.append(f"{store}: {known['plaintextBytes']} plaintext bytes of {known['bytes']}")
        others = {use["method"] for use in known.get("byKey", []) if use["bytes"]} - {method}
        if others:
            found.append(f"{store}: still {', '.join(sorted(others))}")
        if known["bytes"] == 0:
            found.append(f"{store}: no data at all")
    return found


def key_ids(resource: TikvSecurity, store: str) -> list[str]:
    """Data keys that protect a byte of a store."""
    return [use["keyId"] for use in coverage(resource)[store].get("byKey", []) if use["bytes"]]


def key_dicts(resource: TikvSecurity) -> dict[str, dict[str, Any]]:
    """What `key.dict` of each store is sealed under."""
    return {pod: status.get("report", {}).get("keyDict") or {} for pod, status in resource.volumes().items()}
