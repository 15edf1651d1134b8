"""etcd, kube-apiserver, kube-controller-manager, kube-scheduler."""

import ssl
import urllib.error
import urllib.request
from pathlib import Path

from lib import process, settings
from lib.cluster import pki
from lib.cluster.components import program

AUDIT_LOG = settings.LOGS / "audit.log"
ETCD_URL = f"http://127.0.0.1:{settings.ETCD_PORT}"


def start_etcd() -> None:
    """Starts etcd; it need not survive a power cut, so it does not wait for the disk."""
    peer = f"http://127.0.0.1:{settings.ETCD_PEER_PORT}"
    process.start(
        "etcd",
        [
            str(program("etcd")),
            "--name=e2e",
            f"--data-dir={settings.DATA / 'etcd'}",
            "--unsafe-no-fsync",
            f"--listen-client-urls={ETCD_URL}",
            f"--advertise-client-urls={ETCD_URL}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=e2e={peer}",
        ],
    )
    process.wait_ready("etcd", lambda: answers(f"{ETCD_URL}/health"), 30)


def start_apiserver() -> None:
    """Starts the API server with RBAC, Pod Security admission and an audit log of who asked for what."""
    policy = settings.DATA / "audit-policy.json"
    policy.write_text(
        '{"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"], '
        '"rules": [{"level": "Metadata"}]}\n',
        encoding="utf-8",
    )
    process.start(
        "kube-apiserver",
        [
            str(program("kube-apiserver")),
            f"--etcd-servers={ETCD_URL}",
            f"--bind-address={settings.NODE_ADDRESS}",
            f"--advertise-address={settings.NODE_ADDRESS}",
            f"--secure-port={settings.API_PORT}",
            f"--service-cluster-ip-range={settings.SERVICE_RANGE}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            f"--client-ca-file={pki.certificate('ca')}",
            *_serving("apiserver"),
            f"--cert-dir={pki.PKI}",
            f"--kubelet-client-certificate={pki.certificate('kubelet-client')}",
            f"--kubelet-client-key={pki.key('kubelet-client')}",
            # Logs and exec reach the kubelet without a line in /etc/hosts.
            "--kubelet-preferred-address-types=InternalIP",
            f"--service-account-key-file={pki.PKI / 'service-account.pub'}",
            f"--service-account-signing-key-file={pki.key('service-account')}",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--audit-policy-file={policy}",
            f"--audit-log-path={AUDIT_LOG}",
            "--audit-log-mode=batch",
        ],
    )
    process.wait_ready("kube-apiserver", lambda: answers(f"{pki.SERVER}/readyz"), 120)


def start_controllers() -> None:
    """Starts controller manager and scheduler; there is one of each, so nothing is elected."""
    process.start(
        "kube-controller-manager",
        [
            str(program("kube-controller-manager")),
            *_client("controller-manager"),
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            "--secure-port=20257",
            f"--cert-dir={pki.PKI}",
            f"--root-ca-file={pki.certificate('ca')}",
            f"--service-account-private-key-file={pki.key('service-account')}",
            "--use-service-account-credentials=true",
            f"--flex-volume-plugin-dir={settings.DATA / 'volume-plugins'}",
        ],
    )
    process.start(
        "kube-scheduler",
        [
            str(program("kube-scheduler")),
            *_client("scheduler"),
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            "--secure-port=20259",
            f"--cert-dir={pki.PKI}",
        ],
    )
    process.wait_ready("kube-controller-manager", lambda: answers("https://127.0.0.1:20257/healthz"), 60)
    process.wait_ready("kube-scheduler", lambda: answers("https://127.0.0.1:20259/healthz"), 60)


def answers(url: str) -> bool:
    """Whether a health address says 200. Which certificate it shows does not matter for that."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if url.startswith(pki.SERVER) and Path(pki.certificate("admin")).is_file():
        context.load_cert_chain(pki.certificate("admin"), pki.key("admin"))
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    try:
        with opener.open(url, timeout=2) as response:
            return bool(response.status == 200)
    except (OSError, urllib.error.URLError, ValueError):
        return False


def _serving(name: str) -> list[str]:
    return [f"--tls-cert-file={pki.certificate(name)}", f"--tls-private-key-file={pki.key(name)}"]


def _client(name: str) -> list[str]:
    path = pki.kubeconfig(name)
    return [f"--kubeconfig={path}", f"--authentication-kubeconfig={path}", f"--authorization-kubeconfig={path}"]
