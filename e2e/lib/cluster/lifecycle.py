"""Up, down, status."""

import os
import time

from lib import kube, process, settings
from lib.cluster import components, control_plane, dns, leftovers, network, node, packages, pki, storage
from lib.console import Failure, say, step
from lib.images import tools

DAEMONS = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "coredns",
    "containerd",
    "kubelet",
    "kube-proxy",
)


def up() -> None:
    """Brings the cluster up; one that is up already stays as it is."""
    if settings.foreign_kubeconfig():
        with step(f"existing cluster of {kube.kubeconfig()}"):
            kube.kubectl("get", "--raw", "/readyz")
        return
    check_machine()
    if healthy():
        say(f"  already up: KUBECONFIG={settings.KUBECONFIG}")
        return
    wanted = packages.missing()
    if wanted:
        with step(f"install {', '.join(wanted)}"):
            packages.install(wanted)
    for component in components.missing([*DAEMONS[:5], "kubelet", "kube-proxy", "kubectl"]):
        with step(f"build {component.name} {component.version}"):
            components.build(component)
    with step("clear what an earlier run left"):
        leftovers.clean()
    network.check_free()
    leftovers.remember()
    for title, start in (
        ("certificates", pki.make),
        ("network", network.up),
        ("etcd", control_plane.start_etcd),
        ("kube-apiserver", control_plane.start_apiserver),
        ("kube-controller-manager, kube-scheduler", control_plane.start_controllers),
        ("containerd", node.start_containerd),
        ("images of the harness", _load_own_images),
        ("CoreDNS", _start_dns),
        ("kubelet", node.start_kubelet),
        ("kube-proxy", node.start_proxy),
        ("node ready", _wait_node),
        ("storage class", storage.make_class),
    ):
        with step(title):
            start()
    say(f"  up: KUBECONFIG={settings.KUBECONFIG}")


def down() -> None:
    """Takes the cluster away, also half a one."""
    if settings.foreign_kubeconfig():
        say("  an existing cluster is left as it is")
        return
    _check_root()
    with step("stop and clean up"):
        leftovers.clean()
    remains = leftovers.remains()
    if remains:
        raise Failure("still there after clean-up: " + ", ".join(remains))


def status() -> bool:
    """Prints what runs. True when the cluster is usable."""
    if settings.foreign_kubeconfig():
        say(kube.kubectl("get", "nodes"))
        return True
    for name in DAEMONS:
        state = "running" if process.running(name) else "stopped"
        say(f"  {name:<25}{state:<10}{process.log(name) if process.log(name).is_file() else ''}")
    usable = healthy()
    say(f"  {'cluster':<25}{'ready' if usable else 'not ready':<10}{settings.KUBECONFIG if usable else ''}")
    return usable


def healthy() -> bool:
    """Every part runs and the node is ready."""
    return all(process.running(name) for name in DAEMONS) and _node_ready()


def load_images(archives: list[str]) -> None:
    """Loads image archives into the cluster, ours or kind's."""
    from lib.cluster import existing  # pylint: disable=import-outside-toplevel

    for archive in archives:
        with step(f"load {os.path.basename(archive)}"):
            existing.load_image(archive)


def check_machine() -> None:
    """Refuses a machine on which an own cluster cannot run."""
    if settings.foreign_kubeconfig():
        return
    if os.uname().sysname != "Linux":
        raise Failure("a cluster of processes needs Linux; use an existing cluster (e2e/README.md, kind)")
    _check_root()


def _check_root() -> None:
    if os.geteuid() != 0:
        raise Failure(
            "containers, network and mounts need root. Run as root, or use an existing cluster: "
            "`kind create cluster` and then set TIKV_SECURITY_KUBECONFIG (e2e/README.md, kind)"
        )


def _load_own_images() -> None:
    node.load_image(tools.pause(node.PAUSE_IMAGE))


def _start_dns() -> None:
    # Pods get their names from CoreDNS only; the machine's search domains are none of their business.
    (settings.DATA / "resolv.conf").write_text(f"nameserver {settings.NODE_ADDRESS}\n", encoding="utf-8")
    dns.start()


def _node_ready() -> bool:
    template = '--output=jsonpath={.status.conditions[?(@.type=="Ready")].status}'
    done = kube.try_kubectl("get", "node", settings.NODE, template, timeout=10)
    return done.returncode == 0 and done.stdout.strip() == "True"


def _wait_node() -> None:
    deadline = time.monotonic() + 120
    while not _node_ready():
        if not process.running("kubelet"):
            raise Failure("kubelet ended", process.log("kubelet"))
        if time.monotonic() > deadline:
            raise Failure("the node is not ready after 120 s", process.log("kubelet"))
        time.sleep(0.5)
    account = ["get", "serviceaccount", "default", "--namespace=default"]
    while kube.try_kubectl(*account).returncode != 0 and time.monotonic() < deadline:
        time.sleep(0.5)
