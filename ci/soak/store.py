"""What TiKV would read from a data directory, found without the program under test."""

import hashlib
import struct
from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES, SM4

SEEN_AS = "/var/lib/tikv"
GUARD = "panic_mark_file"
JOURNAL = "tikv-security.journal"
# Not content: what every run rewrites, and what no TiKV encrypts.
NOT_CONTENT = {"file.dict", "key.dict", "last_tikv.toml", GUARD, JOURNAL, "LOCK"}
METHODS = {"plaintext": 1, "aes128-ctr": 2, "aes192-ctr": 3, "aes256-ctr": 4, "sm4-ctr": 5}
INSERT = 1


class Entry(NamedTuple):
    """How a file is encrypted."""

    key_id: int
    iv: bytes
    method: int


class Store:
    """A data directory with its dictionaries open."""

    def __init__(self, path: Path, master_key: bytes) -> None:
        self.path = path
        dictionary, keys = path / "file.dict", path / "key.dict"
        self.entries = file_dictionary(dictionary.read_bytes()) if dictionary.exists() else {}
        self.keys = key_dictionary(keys.read_bytes(), master_key) if keys.exists() else {}

    def files(self) -> "list[str]":
        """Every regular file."""
        return sorted(str(path.relative_to(self.path)) for path in self.path.rglob("*") if path.is_file())

    def contents(self) -> "dict[str, str]":
        """The digest of each content in the clear; temporary files of a run are none."""
        wanted = [name for name in self.files() if name not in NOT_CONTENT and ".tsec-" not in name]
        return {name: hashlib.sha256(self.plain(name)).hexdigest() for name in wanted}

    def plain(self, name: str) -> bytes:
        """A file as TiKV reads it."""
        data = (self.path / name).read_bytes()
        entry = self.entries.get(f"{SEEN_AS}/{name}")
        if entry is None or entry.method in (0, METHODS["plaintext"]):
            return data
        key = self.keys[entry.key_id]
        cipher = SM4(key) if entry.method == METHODS["sm4-ctr"] else AES(key)
        return Cipher(cipher, modes.CTR(entry.iv)).decryptor().update(data)


def file_dictionary(data: bytes) -> "dict[str, Entry]":
    """A snapshot and the records behind it."""
    version, (length,) = data[0], struct.unpack(">Q", data[8:16])
    content, rest = data[16 : 16 + length], data[16 + length :]
    if version == 1:
        content = bytes(one(content, 2, b""))
    entries = {}
    for item in every(content, 1):
        entries[one(item, 1, b"").decode()] = entry(one(item, 2, b""))
    while len(rest) >= 9:
        name_length, info_length, kind = struct.unpack(">HHB", rest[4:9])
        end = 9 + name_length + info_length
        if len(rest) < end:
            break
        name = rest[9 : 9 + name_length].decode()
        if kind == INSERT:
            entries[name] = entry(rest[9 + name_length : end])
        else:
            del entries[name]
        rest = rest[end:]
    return entries


def entry(message: bytes) -> Entry:
    """One `FileInfo`."""
    return Entry(one(message, 1, 0), one(message, 2, b""), one(message, 3, 0))


def key_dictionary(data: bytes, master_key: bytes) -> "dict[int, bytes]":
    """The data keys; the master key is a file."""
    message = data[16:]
    metadata = {one(item, 1, b"").decode(): one(item, 2, b"") for item in every(message, 1)}
    content = one(message, 2, b"")
    if metadata["method"] != b"plaintext":
        content = AESGCM(master_key).decrypt(metadata["iv"], content + metadata["aes_gcm_tag"], None)
    return {one(item, 1, 0): one(one(item, 2, b""), 1, b"") for item in every(content, 1)}


def one(message: bytes, tag: int, missing):
    """The last value of a field, as protobuf wants it."""
    return (every(message, tag) or [missing])[-1]


def every(message: bytes, tag: int) -> list:
    """All values of a field: numbers and bytes are enough for TiKV's dictionaries."""
    found, at = [], 0
    while at < len(message):
        key, at = number(message, at)
        value, at = number(message, at)
        if key & 7 == 2:
            value, at = message[at : at + value], at + value
        elif key & 7 != 0:
            raise ValueError(f"field {key >> 3} is of a type that no dictionary has")
        if key >> 3 == tag:
            found.append(value)
    return found


def number(message: bytes, at: int) -> "tuple[int, int]":
    """A number, and where it ends."""
    value = shift = 0
    while True:
        byte = message[at]
        value, shift, at = value | (byte & 127) << shift, shift + 7, at + 1
        if byte < 128:
            return value, at
