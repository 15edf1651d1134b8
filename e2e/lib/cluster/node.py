"""The node: an own containerd, the kubelet and kube-proxy."""

import json
import shutil
import subprocess
from pathlib import Path

from lib import process, settings
from lib.cluster import cgroups, pki
from lib.cluster.components import program
from lib.cluster.control_plane import answers
from lib.console import Failure

SOCKET = settings.RUN / "containerd.sock"
KUBELET_ROOT = settings.DATA / "kubelet"
CNI_NETWORK = "tikv-security-e2e"
CNI_BINARIES = ("/usr/lib/cni", "/opt/cni/bin")
PAUSE_IMAGE = "tikv-security/pause:e2e"


def start_containerd() -> None:
    """Starts containerd with its own root, state and socket; the machine's own one is not touched."""
    _write_cni()
    config = settings.DATA / "containerd.toml"
    config.write_text(_containerd_config(), encoding="utf-8")
    process.start("containerd", [_find("containerd"), "--config", str(config)])
    process.wait_ready("containerd", lambda: ctr("version").returncode == 0, 60)


def ctr(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Runs ctr against our containerd, in the namespace of Kubernetes."""
    return subprocess.run(
        ["ctr", "--address", str(SOCKET), "--namespace", "k8s.io", *arguments],
        check=False,
        capture_output=True,
        text=True,
    )


def load_image(archive: Path) -> None:
    """Makes the images of an archive known to the node."""
    done = ctr("images", "import", "--snapshotter", "overlayfs", str(archive))
    if done.returncode != 0:
        raise Failure(f"containerd does not take {archive}: {done.stderr.strip()}", process.log("containerd"))


def start_kubelet() -> None:
    """Starts the kubelet; changes of Secrets and ConfigMaps reach the pods within seconds."""
    cgroups.make()
    config = settings.DATA / "kubelet.json"
    config.write_text(json.dumps(_kubelet_config(), indent=2) + "\n", encoding="utf-8")
    process.start(
        "kubelet",
        [
            str(program("kubelet")),
            f"--config={config}",
            f"--kubeconfig={pki.kubeconfig('kubelet')}",
            f"--root-dir={KUBELET_ROOT}",
            f"--cert-dir={KUBELET_ROOT / 'pki'}",
            f"--hostname-override={settings.NODE}",
            f"--node-ip={settings.NODE_ADDRESS}",
        ],
    )
    process.wait_ready("kubelet", lambda: answers("http://127.0.0.1:20248/healthz"), 60)


def start_proxy() -> None:
    """Starts kube-proxy, which gives Services their addresses."""
    config = settings.DATA / "kube-proxy.json"
    content = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "hostnameOverride": settings.NODE,
        "bindAddress": settings.NODE_ADDRESS,
        "healthzBindAddress": "127.0.0.1:20256",
        "metricsBindAddress": "127.0.0.1:20249",
        "clusterCIDR": settings.POD_RANGE,
        "clientConnection": {"kubeconfig": str(pki.kubeconfig("kube-proxy"))},
        # Pods of one node share a bridge: without this an answer would go past the translation of the address.
        "iptables": {"masqueradeAll": True, "localhostNodePorts": False, "syncPeriod": "10s", "minSyncPeriod": "0s"},
        # The machine's settings stay as they are.
        "conntrack": {"maxPerCore": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "nodePortAddresses": ["127.0.0.0/8"],
    }
    config.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    process.start("kube-proxy", [str(program("kube-proxy")), f"--config={config}"])
    process.wait_ready("kube-proxy", lambda: answers("http://127.0.0.1:20256/livez"), 60)


def _find(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise Failure(f"{name} is not installed")
    return found


def _containerd_config() -> str:
    binaries = next((path for path in CNI_BINARIES if (Path(path) / "bridge").is_file()), CNI_BINARIES[0])
    return f"""version = 2
root = "{settings.DATA}/containerd"
state = "{settings.RUN}/containerd"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs"]

[grpc]
  address = "{SOCKET}"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "docker.io/{PAUSE_IMAGE}"
  # Root in a container or sandbox may lack CAP_SYS_RESOURCE.
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  stream_server_address = "127.0.0.1"

  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{binaries}"
    conf_dir = "{settings.DATA}/cni"

  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "runc"
    snapshotter = "overlayfs"

    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
"""


def _write_cni() -> None:
    directory = settings.DATA / "cni"
    directory.mkdir(parents=True, exist_ok=True)
    content = {
        "cniVersion": "0.4.0",
        "name": CNI_NETWORK,
        "plugins": [
            {
                "type": "bridge",
                "bridge": settings.BRIDGE,
                "isDefaultGateway": True,
                "hairpinMode": True,
                "ipam": {
                    "type": "host-local",
                    "dataDir": str(settings.DATA / "cni-addresses"),
                    "ranges": [[{"subnet": settings.POD_RANGE, "gateway": settings.NODE_ADDRESS}]],
                },
            }
        ],
    }
    (directory / "10-bridge.conflist").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _kubelet_config() -> dict[str, object]:
    never: list[str] = ["imagefs.available", "nodefs.available", "nodefs.inodesFree", "imagefs.inodesFree"]
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": settings.NODE_ADDRESS,
        "port": 20250,
        "readOnlyPort": 0,
        "healthzBindAddress": "127.0.0.1",
        "healthzPort": 20248,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(pki.certificate("ca"))},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{cgroups.NAME}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "clusterDNS": [settings.NODE_ADDRESS],
        "clusterDomain": "cluster.local",
        "resolvConf": str(settings.DATA / "resolv.conf"),
        "containerRuntimeEndpoint": f"unix://{SOCKET}",
        "podLogsDir": str(settings.LOGS / "pods"),
        "volumePluginDir": str(settings.DATA / "volume-plugins"),
        "staticPodPath": "",
        "syncFrequency": "5s",
        "configMapAndSecretChangeDetectionStrategy": "Watch",
        "nodeStatusUpdateFrequency": "5s",
        # A full disk of the developer's machine is not for this kubelet to tidy up.
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {"memory.available": "50Mi", **{signal: "0%" for signal in never}},
        "serializeImagePulls": False,
    }
