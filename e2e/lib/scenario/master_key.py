"""The master key that a `TikvSecurity` asks for: what it is called where, and the key itself where it can be known."""

import base64
from dataclasses import dataclass
from typing import Any, Callable

from lib import kube
from lib.context import Context
from lib.scenario import agent, key_dict, leaks, measure
from lib.scenario.kms import Kms

WRAPPED = "security.tikv.org/part=master-key"
# The tools of a TiKV image: a shell at least, and `cat`, or busybox in those of the stand-ins.
READ = 'cat "$1" 2>/dev/null || exec /bin/busybox cat "$1"'


@dataclass(frozen=True)
class MasterKey:
    """What is to be found everywhere of it, and what nowhere."""

    # In the spec and in the report: provider, and what it calls the key.
    provider: str
    id: str
    # In TiKV's configuration and in `key.dict`: kind, and a part of the name.
    kind: str
    name: str
    # The key in all its forms, by what it is.
    needles: dict[str, list[bytes]]
    # Secrets that hold it, because a person put it there.
    home: frozenset[str] = frozenset()


def asked_for(context: Context) -> MasterKey:
    """The one of the spec."""
    asked = context.resource.get()["spec"]["encryption"]["masterKey"]
    ((provider, how),) = asked.items()
    return _PROVIDERS[provider](context, how)


def _aws(context: Context, how: dict[str, Any]) -> MasterKey:
    needles = {}
    if agent.can_watch():
        kms = Kms(context.namespace)
        for store in context.cluster.stores:
            key = key_dict.unwrapped(context.namespace, f"data-{store}", kms)
            needles[f"the key that the KMS made for {store}"] = leaks.of_bytes(key)
    return MasterKey("awsKms", how["keyId"], "aws", how["keyId"], needles)


def _file(context: Context, how: dict[str, Any]) -> MasterKey:
    name, entry = how["secret"]["name"], how["secret"]["key"]
    content = (kube.get("secret", name, context.namespace) or {})["data"][entry]
    needles = {"the file master key": leaks.of_text(base64.b64decode(content).decode().strip())}
    return MasterKey("file", name, "file", "/key", needles, frozenset([name]))


def _vault(context: Context, how: dict[str, Any]) -> MasterKey:
    mount = how.get("mount", "transit")
    return _in_memory(context, "vaultTransit", f"{mount}/{how['key']}")


def _hsm(context: Context, how: dict[str, Any]) -> MasterKey:
    return _in_memory(context, "pkcs11", f"{how['key']} in token {how['token']}")


def _in_memory(context: Context, provider: str, name: str) -> MasterKey:
    """One that TiKV does not know: each pod has it in a file in memory."""
    needles = {}
    identity = str(wrapped(context)["metadata"]["name"]).rpartition("-")[2]
    for store, found in measure.key_dicts(context.resource).items():
        path = found.get("under", {}).get("key", "")
        if identity in path:
            target = [store, f"--namespace={context.namespace}", "--container=tikv", "--"]
            text = kube.kubectl("exec", *target, "sh", "-c", READ, "sh", path).strip()
            needles[f"the master key in the memory of {store}"] = leaks.of_text(text)
    return MasterKey(provider, name, "file", f"/keys/{identity}", needles)


def wrapped(context: Context) -> dict[str, Any]:
    """The one Secret that has the master key in wrapped form."""
    secrets = kube.listing("secrets", context.namespace, WRAPPED)
    immutable = [secret.get("immutable") for secret in secrets]
    context.check("one Secret has the wrapped key, and cannot be changed", immutable == [True])
    return secrets[0]


_PROVIDERS: dict[str, Callable[[Context, dict[str, Any]], MasterKey]] = {
    "awsKms": _aws,
    "file": _file,
    "vaultTransit": _vault,
    "pkcs11": _hsm,
}
