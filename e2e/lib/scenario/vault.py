"""The Vault of a case: OpenBao, begun and set up as docs/kms-vault.md says, and a way to seal it."""

import base64
import json
import ssl
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Optional

from lib import kube
from lib.console import Failure
from lib.scenario import forward, operator
from lib.scenario import namespace as namespaces
from lib.scenario.openssl import root, sign
from lib.wait import until

SERVICE = "demo-vault"
KEY = "tikv"
AUDIENCE = "vault.e2e"
POD_ACCOUNT = "default"
OPERATOR_ACCOUNT = "tikv-security"


class Vault:
    """One Vault in one namespace."""

    def __init__(self, namespace: str):
        self.namespace = namespace
        self.address = f"https://{SERVICE}.{namespace}.svc:8200"
        self._root = self._unseal = ""

    def start(self) -> None:
        """Deploys it; makes a key, and roles with as few rights as docs/kms-vault.md says."""
        self._certificate()
        namespaces.apply(self.namespace, "vault.yaml")
        self._allow_token_reviews()
        pods = lambda: kube.try_kubectl("get", "pods", f"--namespace={self.namespace}").stdout  # noqa: E731
        until("Vault to be ready", self._ready, 120, pods)
        begun = self.call("PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1})
        self._root, self._unseal = begun["root_token"], begun["keys"][0]
        self.unseal()
        self.call("POST", "sys/mounts/transit", {"type": "transit"})
        self.call("POST", f"transit/keys/{KEY}", {})
        self.call("POST", "sys/auth/kubernetes", {"type": "kubernetes"})
        # It asks with the token of its own pod.
        self.call("POST", "auth/kubernetes/config", {"kubernetes_host": "https://kubernetes.default.svc"})
        update, read = {"capabilities": ["update"]}, {"capabilities": ["read"]}
        unwrap = {f"transit/decrypt/{KEY}": update}
        prove = {f"transit/keys/{KEY}": read, f"transit/datakey/plaintext/{KEY}": update, **unwrap}
        for name, rules, namespace, account in (
            ("tikv", unwrap, self.namespace, POD_ACCOUNT),
            ("tikv-operator", prove, operator.NAMESPACE, OPERATOR_ACCOUNT),
        ):
            self.call("PUT", f"sys/policies/acl/{name}", {"policy": json.dumps({"path": rules})})
            role = {
                "bound_service_account_namespaces": [namespace],
                "bound_service_account_names": [account],
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

    def sign_certificates(self) -> None:
        """An intermediate CA under a root, and a role for the operator, as docs/issuers.md says."""
        for mount in ("root", "pki"):
            self.call("POST", f"sys/mounts/{mount}", {"type": "pki", "config": {"max_lease_ttl": "87600h"}})
        root = {"common_name": "e2e root", "key_type": "ec", "ttl": "8000h"}
        self.call("POST", "root/root/generate/internal", root)
        wanted = {"common_name": "e2e issuing", "key_type": "ec"}
        made = self.call("POST", "pki/intermediate/generate/internal", wanted)["data"]
        asked = {"csr": made["csr"], "common_name": "e2e issuing", "ttl": "4000h"}
        chain = self.call("POST", "root/root/sign-intermediate", asked)["data"]["ca_chain"]
        given = self.call("POST", "pki/intermediate/set-signed", {"certificate": "\n".join(chain)})["data"]
        signs = next(issuer for issuer, key in given["mapping"].items() if key)
        self.call("POST", "pki/config/issuers", {"default": signs})
        uses = {"server_flag": True, "client_flag": True, "key_usage": ["DigitalSignature"]}
        flags = {**uses, "key_type": "any", "max_ttl": "720h"}
        self.call("POST", "pki/roles/tikv", {"allow_any_name": True, "allow_ip_sans": True, **flags})
        rules = {"pki/sign/tikv": {"capabilities": ["update"]}}
        self.call("PUT", "sys/policies/acl/pki", {"policy": json.dumps({"path": rules})})
        role = {
            "bound_service_account_namespaces": [operator.NAMESPACE],
            "bound_service_account_names": [OPERATOR_ACCOUNT],
            "audience": AUDIENCE,
            "token_policies": ["pki"],
            "token_ttl": 600,
        }
        self.call("POST", "auth/kubernetes/role/pki", role)

    def issuer(self) -> dict[str, Any]:
        """What a person writes to have certificates of it."""
        return {
            "vault": {
                "address": self.address,
                "caSecret": {"name": "demo-vault-tls", "key": "ca.crt"},
                "role": "tikv",
                "auth": {"kubernetes": {"role": "pki", "audience": AUDIENCE}},
            }
        }

    def seal(self) -> None:
        """Nobody gets anything any more."""
        self.call("PUT", "sys/seal", {})

    def unseal(self) -> None:
        """As before."""
        self.call("PUT", "sys/unseal", {"key": self._unseal})

    def unwrap(self, wrapped: str) -> bytes:
        """What is behind a wrapped key, as root sees it."""
        answer = self.call("POST", f"transit/decrypt/{KEY}", {"ciphertext": wrapped})
        return base64.b64decode(answer["data"]["plaintext"])

    def audit(self) -> list[dict[str, Any]]:
        """What was asked and how it ended, as its audit device tells it."""
        lines = kube.kubectl("logs", f"deployment/{SERVICE}", f"--namespace={self.namespace}").splitlines()
        entries = [json.loads(line) for line in lines if line.startswith("{")]
        return [entry for entry in entries if entry.get("type") == "response"]

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
                headers={"X-Vault-Token": self._root} if self._root else {},
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
            root(directory, "ca", "vault-ca")
            names = f"subjectAltName=DNS:{SERVICE}.{self.namespace}.svc\nbasicConstraints=CA:FALSE\n"
            sign(directory, "tls", SERVICE, by="ca", days=2, extensions=names)
            data = {file: (directory / file).read_text(encoding="utf-8") for file in ("ca.crt", "tls.crt", "tls.key")}
        metadata = {"name": f"{SERVICE}-tls", "namespace": self.namespace}
        kube.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data})

    def _allow_token_reviews(self) -> None:
        """The right to have tokens judged, which goes with the namespace."""
        owner = (kube.get("namespace", self.namespace) or {})["metadata"]
        by = {"apiVersion": "v1", "kind": "Namespace", "name": owner["name"], "uid": owner["uid"]}
        kube.apply(
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRoleBinding",
                "metadata": {"name": f"{self.namespace}-{SERVICE}", "ownerReferences": [by]},
                "roleRef": {
                    "apiGroup": "rbac.authorization.k8s.io",
                    "kind": "ClusterRole",
                    "name": "system:auth-delegator",
                },
                "subjects": [{"kind": "ServiceAccount", "name": SERVICE, "namespace": self.namespace}],
            }
        )

    def _ready(self) -> bool:
        deployment = kube.get("deployment", SERVICE, self.namespace) or {"status": {}}
        return bool(deployment["status"].get("readyReplicas", 0) > 0)
