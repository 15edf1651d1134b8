"""The Vault of a case: a stand-in with Vault's API, set up by the requests that set up a real one."""

import base64
import json
import ssl
import subprocess
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Optional

from lib import kube
from lib.console import Failure
from lib.scenario import forward, operator
from lib.scenario import namespace as namespaces
from lib.wait import until

SERVICE = "demo-vault"
ROOT = "hvs.root-of-the-tests"
UNSEAL = "unseal-key-of-the-tests"
KEY = "tikv"
AUDIENCE = "vault.e2e"


class Vault:
    """One Vault in one namespace."""

    def __init__(self, namespace: str):
        self.namespace = namespace
        self.address = f"https://{SERVICE}.{namespace}.svc:8200"

    def start(self) -> None:
        """Deploys it; makes a key, and roles with as few rights as docs/kms-vault.md says."""
        self._certificate()
        namespaces.apply(self.namespace, "vault.yaml")
        pods = lambda: kube.try_kubectl("get", "pods", f"--namespace={self.namespace}").stdout  # noqa: E731
        until("Vault to be ready", self._ready, 120, pods)
        self.call("POST", f"transit/keys/{KEY}", {})
        self.call("PUT", "auth/kubernetes/config", {"pem_keys": _issuer()})
        update, read = {"capabilities": ["update"]}, {"capabilities": ["read"]}
        unwrap = {f"transit/decrypt/{KEY}": update}
        prove = {f"transit/keys/{KEY}": read, f"transit/datakey/plaintext/{KEY}": update, **unwrap}
        for name, rules, account in (
            ("tikv", unwrap, f"{self.namespace}:default"),
            ("tikv-operator", prove, f"{operator.NAMESPACE}:tikv-security"),
        ):
            self.call("PUT", f"sys/policies/acl/{name}", {"policy": json.dumps({"path": rules})})
            namespace, _, service_account = account.partition(":")
            role = {
                "bound_service_account_namespaces": [namespace],
                "bound_service_account_names": [service_account],
                "audience": AUDIENCE,
                "token_policies": [name],
                "token_ttl": 600,
            }
            self.call("POST", f"auth/kubernetes/role/{name}", role)

    def master_key(self) -> dict[str, Any]:
        """What a person writes to use it."""
        roles = {"role": "tikv", "operatorRole": "tikv-operator", "audience": AUDIENCE}
        return {
            "vaultTransit": {
                "address": self.address,
                "caSecret": {"name": "demo-vault-tls", "key": "ca.crt"},
                "key": KEY,
                "auth": {"kubernetes": roles},
            }
        }

    def seal(self) -> None:
        """Nobody gets anything any more."""
        self.call("PUT", "sys/seal", {})

    def unseal(self) -> None:
        """As before."""
        self.call("PUT", "sys/unseal", {"key": UNSEAL})

    def unwrap(self, wrapped: str) -> bytes:
        """What is behind a wrapped key, as root sees it."""
        answer = self.call("POST", f"transit/decrypt/{KEY}", {"ciphertext": wrapped})
        return base64.b64decode(answer["data"]["plaintext"])

    def log(self) -> str:
        """Who asked for what."""
        return kube.kubectl("logs", f"deployment/{SERVICE}", f"--namespace={self.namespace}")

    def call(self, method: str, path: str, body: Optional[dict[str, Any]] = None) -> dict[str, Any]:
        """One request as root, from outside."""
        # Reached through a forwarded port, so under another name.
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        with forward.port(self.namespace, f"deployment/{SERVICE}", 8200) as local:
            request = urllib.request.Request(
                f"https://127.0.0.1:{local}/v1/{path}",
                data=json.dumps(body or {}).encode(),
                headers={"X-Vault-Token": ROOT},
                method=method,
            )
            try:
                with urllib.request.urlopen(request, timeout=10, context=context) as response:
                    text = response.read()
            except urllib.error.HTTPError as error:
                raise Failure(f"Vault answers {error.code} to {method} {path}: {error.read().decode()}") from error
        return dict(json.loads(text)) if text else {}

    def _certificate(self) -> None:
        with tempfile.TemporaryDirectory(prefix="tikv-security-e2e-") as name:
            directory = Path(name)
            _make_certificate(directory, f"{SERVICE}.{self.namespace}.svc")
            data = {file: (directory / file).read_text(encoding="utf-8") for file in ("ca.crt", "tls.crt", "tls.key")}
        metadata = {"name": f"{SERVICE}-tls", "namespace": self.namespace}
        kube.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data})

    def _ready(self) -> bool:
        deployment = kube.get("deployment", SERVICE, self.namespace) or {"status": {}}
        return bool(deployment["status"].get("readyReplicas", 0) > 0)


def _make_certificate(directory: Path, name: str) -> None:
    """An authority, and a certificate of it."""
    extensions = directory / "extensions"
    extensions.write_text(f"subjectAltName=DNS:{name}\nbasicConstraints=CA:FALSE\n", encoding="utf-8")
    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    _openssl(directory, "req", "-x509", *new_key, "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=vault-ca")
    _openssl(directory, "req", *new_key, "-keyout", "tls.key", "-out", "tls.csr", "-subj", f"/CN={SERVICE}")
    signed = ["-in", "tls.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-out", "tls.crt"]
    _openssl(directory, "x509", "-req", *signed, "-days", "2", "-extfile", "extensions")


def _openssl(directory: Path, *arguments: str) -> None:
    done = subprocess.run(["openssl", *arguments], check=False, capture_output=True, text=True, cwd=directory)
    if done.returncode != 0:
        raise Failure(f"openssl {arguments[0]}: {done.stderr.strip()}")


def _issuer() -> list[str]:
    """The public keys by which the API server signs the tokens of service accounts, as PEM."""
    keys = json.loads(kube.kubectl("get", "--raw", "/openid/v1/jwks"))["keys"]
    return [_pem(key) for key in keys]


def _pem(key: dict[str, str]) -> str:
    numbers = [base64.urlsafe_b64decode(key[name] + "==") for name in ("n", "e", "x", "y") if name in key]
    if key["kty"] == "RSA":
        algorithm = _der(6, bytes.fromhex("2a864886f70d010101")) + _der(5, b"")
        public = _der(0x30, b"".join(_der(2, b"\0" + number) for number in numbers))
    else:
        # P-256, the only curve for ES256.
        algorithm = _der(6, bytes.fromhex("2a8648ce3d0201")) + _der(6, bytes.fromhex("2a8648ce3d030107"))
        public = b"\4" + b"".join(number.rjust(32, b"\0") for number in numbers)
    whole = _der(0x30, _der(0x30, algorithm) + _der(3, b"\0" + public))
    text = base64.encodebytes(whole).decode()
    return f"-----BEGIN PUBLIC KEY-----\n{text}-----END PUBLIC KEY-----\n"


def _der(tag: int, content: bytes) -> bytes:
    """A value of ASN.1."""
    length = len(content)
    if length < 0x80:
        return bytes([tag, length]) + content
    size = (length.bit_length() + 7) // 8
    return bytes([tag, 0x80 | size]) + length.to_bytes(size, "big") + content
