"""`key.dict` as it lies on a volume: whether a master key in a file opens it, and what a KMS made for it."""

import base64
from typing import Optional

from lib import kube
from lib.cluster.storage import VOLUMES
from lib.scenario import visitor
from lib.scenario.kms import Kms
from lib.wait import until

HEADER = 16
WRAPPED = b"kms_ciphertext_key"


def opens(namespace: str, claim: str, secret: str, key: str) -> tuple[bool, str]:
    """Whether the program reads the keys of a volume with a master key in a Secret, and what it said."""
    name = f"inspect-{claim}"
    command = ["/tikv-security", "inspect", "/volume", f"--master-key-file=/secret/{key}"]
    visitor.start(namespace, claim, name, "tikv-security", command, secret)
    phase = until(f"pod {name} to end", lambda: _ended(namespace, name), 60, lambda: "")
    said = kube.try_kubectl("logs", name, f"--namespace={namespace}").stdout
    visitor.stop(namespace, name)
    return phase == "Succeeded", said.strip()


def unwrapped(namespace: str, claim: str, kms: Kms) -> bytes:
    """The key that seals `key.dict` of a volume: what the KMS made, unwrapped by it. Only on our own cluster."""
    content = (VOLUMES / namespace / claim / "key.dict").read_bytes()[HEADER:]
    wrapped = _metadata(content)[WRAPPED]
    answer = kms.call("Decrypt", {"CiphertextBlob": base64.b64encode(wrapped).decode()})
    return base64.b64decode(answer["Plaintext"])


def _ended(namespace: str, name: str) -> Optional[str]:
    phase = visitor.phase(namespace, name)
    return phase if phase in ("Succeeded", "Failed") else None


def _metadata(content: bytes) -> dict[bytes, bytes]:
    """Field 1 of the message: a map of names and bytes."""
    found = {}
    for number, value in _fields(content):
        if number == 1:
            entry = dict(_fields(value))
            found[entry[1]] = entry.get(2, b"")
    return found


def _fields(content: bytes) -> list[tuple[int, bytes]]:
    """Length-delimited fields of a protobuf message, which is all that this one has."""
    found, at = [], 0
    while at < len(content):
        tag, at = _varint(content, at)
        length, at = _varint(content, at)
        found.append((tag >> 3, content[at : at + length]))
        at += length
    return found


def _varint(content: bytes, at: int) -> tuple[int, int]:
    value, shift = 0, 0
    while True:
        byte = content[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
