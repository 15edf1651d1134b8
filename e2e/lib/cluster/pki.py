"""Certificates and kubeconfigs of the control plane, made afresh at each `up` with openssl."""

import json
import subprocess
from pathlib import Path

from lib import settings
from lib.console import Failure

PKI = settings.DATA / "pki"
SERVER = f"https://{settings.NODE_ADDRESS}:{settings.API_PORT}"


def make() -> None:
    """Makes the CA, every certificate, the service account key and the kubeconfigs."""
    PKI.mkdir(parents=True, mode=0o700)
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    _openssl("req", "-x509", *curve, "-days", "30", "-subj", "/CN=tikv-security-e2e", *_files("ca"))
    _openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", str(key("service-account")))
    _openssl("pkey", "-in", str(key("service-account")), "-pubout", "-out", str(PKI / "service-account.pub"))
    names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"]
    addresses = ["127.0.0.1", settings.NODE_ADDRESS, settings.API_SERVICE_ADDRESS]
    _leaf("apiserver", "/CN=kube-apiserver", "serverAuth", names, addresses)
    _leaf("kubelet-client", "/O=system:masters/CN=kube-apiserver-kubelet-client", "clientAuth")
    for name, subject in (
        ("admin", "/O=system:masters/CN=admin"),
        ("controller-manager", "/CN=system:kube-controller-manager"),
        ("scheduler", "/CN=system:kube-scheduler"),
        ("kube-proxy", "/CN=system:kube-proxy"),
        ("kubelet", f"/O=system:nodes/CN=system:node:{settings.NODE}"),
    ):
        _leaf(name, subject, "clientAuth")
        _write_kubeconfig(name)
    settings.KUBECONFIG.write_bytes(kubeconfig("admin").read_bytes())
    settings.KUBECONFIG.chmod(0o600)


def certificate(name: str) -> Path:
    """Path of a certificate."""
    return PKI / f"{name}.crt"


def key(name: str) -> Path:
    """Path of a private key."""
    return PKI / f"{name}.key"


def kubeconfig(name: str) -> Path:
    """Path of a component's kubeconfig."""
    return PKI / f"{name}.kubeconfig"


def _leaf(
    name: str, subject: str, usage: str, dns: "list[str] | None" = None, addresses: "list[str] | None" = None
) -> None:
    alternatives = [f"DNS:{entry}" for entry in dns or []] + [f"IP:{entry}" for entry in addresses or []]
    extensions = [f"extendedKeyUsage={usage}", "basicConstraints=critical,CA:FALSE"]
    if alternatives:
        extensions.append("subjectAltName=" + ",".join(alternatives))
    options = [part for extension in extensions for part in ("-addext", extension)]
    _openssl(
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "30",
        "-subj",
        subject,
        "-CA",
        str(certificate("ca")),
        "-CAkey",
        str(key("ca")),
        *options,
        *_files(name),
    )


def _files(name: str) -> list[str]:
    return ["-keyout", str(key(name)), "-out", str(certificate(name))]


def _openssl(*arguments: str) -> None:
    done = subprocess.run(["openssl", *arguments], check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise Failure(f"openssl {arguments[0]} failed: {done.stderr.strip()}")


def _write_kubeconfig(name: str) -> None:
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": settings.NODE,
        "clusters": [
            {"name": settings.NODE, "cluster": {"server": SERVER, "certificate-authority": str(certificate("ca"))}}
        ],
        "users": [{"name": name, "user": {"client-certificate": str(certificate(name)), "client-key": str(key(name))}}],
        "contexts": [{"name": settings.NODE, "context": {"cluster": settings.NODE, "user": name}}],
    }
    path = kubeconfig(name)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    path.chmod(0o600)
