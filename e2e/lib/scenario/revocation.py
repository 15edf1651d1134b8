"""What is published of revoked certificates, as openssl reads it: the CRL in the ConfigMap, and answers of OCSP."""

import subprocess
from pathlib import Path
from typing import Any, Optional

from lib import kube
from lib.context import Context
from lib.scenario import forward, operator


def told(context: Context, serial: str) -> Optional[dict[str, Any]]:
    """What the status says of this certificate."""
    status = context.resource.get().get("status", {})
    found = [one for one in status.get("revocations", []) if one["serial"] == serial]
    return dict(found[0]) if found else None


def by_crl(namespace: str, files: Path) -> str:
    """What `openssl verify -crl_check` says of the certificate in these files."""
    crl = (kube.get("configmap", "demo-crl", namespace) or {}).get("data", {}).get("ca.crl", "")
    (files / "ca.crl").write_text(crl, encoding="utf-8")
    return _openssl(files, "verify", "-CAfile", "ca.crt", "-CRLfile", "ca.crl", "-crl_check", "tls.crt")


def by_ocsp(namespace: str, files: Path) -> str:
    """What `openssl ocsp` says of it, who asks the operator."""
    with forward.port(operator.NAMESPACE, f"deployment/{operator.RELEASE}", 8082) as local:
        url = f"http://127.0.0.1:{local}/ocsp/{namespace}/demo"
        about = ["-issuer", "ca.crt", "-cert", "tls.crt", "-CAfile", "ca.crt"]
        return _openssl(files, "ocsp", *about, "-url", url)


def _openssl(files: Path, *arguments: str) -> str:
    done = subprocess.run(["openssl", *arguments], check=False, capture_output=True, text=True, cwd=files, timeout=30)
    return done.stdout + done.stderr
