"""The node's bridge and the packet filter rules, and how both are taken away again."""

import subprocess

from lib import settings
from lib.console import Failure

# Chains that kube-proxy and the kubelet make.
CHAIN_PREFIX = "KUBE-"
MARK = "tikv-security-e2e"
FORWARD_RULES = [
    ["-i", settings.BRIDGE, "-m", "comment", "--comment", MARK, "-j", "ACCEPT"],
    ["-o", settings.BRIDGE, "-m", "comment", "--comment", MARK, "-j", "ACCEPT"],
]


def check_free() -> None:
    """Refuses a machine on which another Kubernetes has its rules: cleaning up would take them away."""
    if f":{CHAIN_PREFIX}SERVICES" in _run(["iptables-save", "-t", "nat"]):
        raise Failure(
            "another Kubernetes runs on this machine (chain KUBE-SERVICES exists); stop it, "
            "or use that cluster with --kubeconfig FILE"
        )


def up() -> None:
    """Makes the bridge with the node's address and lets pods talk across it."""
    _require(["ip", "link", "add", settings.BRIDGE, "type", "bridge"])
    prefix = settings.POD_RANGE.rpartition("/")[2]
    _require(["ip", "address", "add", f"{settings.NODE_ADDRESS}/{prefix}", "dev", settings.BRIDGE])
    _require(["ip", "link", "set", settings.BRIDGE, "up"])
    for rule in FORWARD_RULES:
        _require(["iptables", "-w", "-I", "FORWARD", *rule])


def down() -> None:
    """Removes the bridge and every rule and chain that this cluster made. Nothing there is fine."""
    _run(["ip", "link", "delete", settings.BRIDGE])
    for rule in FORWARD_RULES:
        _run(["iptables", "-w", "-D", "FORWARD", *rule])
    for tool in ("iptables", "ip6tables"):
        for table in ("nat", "filter", "mangle"):
            _remove_chains(tool, table)


def exists() -> bool:
    """Whether the bridge is there."""
    return subprocess.run(["ip", "link", "show", settings.BRIDGE], check=False, capture_output=True).returncode == 0


def _remove_chains(tool: str, table: str) -> None:
    saved = _run([f"{tool}-save", "-t", table]).splitlines()
    chains = [line[1:].split()[0] for line in saved if line.startswith(f":{CHAIN_PREFIX}")]
    if not chains:
        return
    script = [f"*{table}"]
    for line in saved:
        if line.startswith("-A ") and not line.startswith(f"-A {CHAIN_PREFIX}") and f"-j {CHAIN_PREFIX}" in line:
            script.append("-D" + line[2:])
    script += [f"-F {chain}" for chain in chains]
    script += [f"-X {chain}" for chain in chains]
    script += ["COMMIT", ""]
    subprocess.run(
        [f"{tool}-restore", "-w", "--noflush"], check=False, capture_output=True, text=True, input="\n".join(script)
    )


def _require(command: list[str]) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise Failure(f"`{' '.join(command)}` failed: {done.stderr.strip()}")


def _run(command: list[str]) -> str:
    try:
        return subprocess.run(command, check=False, capture_output=True, text=True).stdout
    except FileNotFoundError:
        return ""
