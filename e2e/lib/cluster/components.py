"""The programs of the cluster, built from the Go module proxy and kept by version in the cache.

All of them belong to one Go module, so that what they have in common (the client of Kubernetes, gRPC, etcd's client) is
compiled once: apart they took half as long again.
"""

import fcntl
import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from lib import settings
from lib.console import Failure, run_logged

KUBERNETES_PROGRAMS = (
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "kubectl",
)
MODULE = "e2e.invalid/cluster"
ETCD = "go.etcd.io/etcd/server/v3"
HELM = "helm.sh/helm/v3"


@dataclass(frozen=True)
class Component:
    """One program and the Go package that it is made of."""

    name: str
    version: str
    package: str
    variables: "tuple[str, ...]" = ()

    @property
    def path(self) -> Path:
        return settings.BIN / f"{self.name}-{self.version}"


def program(name: str) -> Path:
    """A program of the cluster: the person's own when there is one, else the one from the cache."""
    assets = settings.assets()
    if assets and (assets / name).is_file():
        return assets / name
    return COMPONENTS[name].path


def missing(names: list[str]) -> list[Component]:
    """What has to be built for `names`."""
    return [COMPONENTS[name] for name in names if not program(name).is_file()]


def build(component: Component) -> None:
    """Builds one program. Two harnesses at once wait for each other; a killed build leaves no half program."""
    if shutil.which("go") is None:
        raise Failure(
            f"go is needed to build {component.name} {component.version}: install Go 1.25 or later, "
            "or set KUBEBUILDER_ASSETS, or use an existing cluster (e2e/README.md, kind)"
        )
    settings.BIN.mkdir(parents=True, exist_ok=True)
    with open(settings.BIN / f".{component.name}.lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if component.path.is_file():
            return
        module = _module()
        log = settings.CACHE / "logs" / f"build-{component.name}.log"
        partial = component.path.with_suffix(".partial")
        flags = ["-trimpath", "-gcflags", COMPILER, "-ldflags", " ".join(["-s", "-w", *component.variables])]
        command = ["nice", "go", "build", *flags, "-o", str(partial), component.package]
        run_logged(command, log, f"building {component.name}", cwd=module, env=_environment())
        partial.rename(component.path)


def _environment() -> dict[str, str]:
    own = {"CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false -mod=mod", "GOWORK": "off"}
    # Compilers that collect their garbage less often are quicker: about a fifth, for some hundred MiB of memory.
    return {**os.environ, **own, "GOGC": "400"}


# Without inlining: a quarter less to compile, and nothing here is in a hurry.
COMPILER = "all=-l"


def _module() -> Path:
    """The directory of the module of all programs."""
    versions = (settings.KUBERNETES, settings.ETCD, settings.HELM, settings.COREDNS)
    directory = settings.CACHE / "modules" / "-".join(versions)
    directory.mkdir(parents=True, exist_ok=True)
    with open(directory / ".lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (directory / "go.sum").is_file():
            (directory / "coredns").mkdir(exist_ok=True)
            (directory / "coredns" / "main.go").write_text(COREDNS_MAIN, encoding="utf-8")
            _tidy(directory, [*_kubernetes(directory), *_others()])
    return directory


def _kubernetes(directory: Path) -> "list[str]":
    """Kubernetes refers to its staging modules by relative path; they are published under v0.x as well."""
    version = f"v{settings.KUBERNETES}"
    staging_version = "v0" + version[2:]
    answer = subprocess.run(
        ["go", "mod", "download", "-json", f"k8s.io/kubernetes@{version}"],
        check=False,
        capture_output=True,
        text=True,
        cwd=directory,
        env={**_environment(), "GOFLAGS": ""},
    )
    if answer.returncode != 0:
        raise Failure(f"cannot download k8s.io/kubernetes {version}: {answer.stdout}{answer.stderr}")
    upstream = Path(json.loads(answer.stdout)["GoMod"]).read_text(encoding="utf-8")
    go = re.search(r"^go (\S+)$", upstream, re.MULTILINE)
    staging = re.findall(r"^\s*(?:replace )?(k8s\.io/\S+) => \./staging/", upstream, re.MULTILINE)
    lines = [f"module {MODULE}", f"go {go.group(1) if go else '1.25.0'}"]
    lines += [f"tool k8s.io/kubernetes/cmd/{name}" for name in KUBERNETES_PROGRAMS]
    lines += [f"require k8s.io/kubernetes {version}"]
    return lines + [f"replace {name} => {name} {staging_version}" for name in staging]


def _others() -> "list[str]":
    return [
        f"tool {ETCD}",
        f"tool {HELM}/cmd/helm",
        f"require {ETCD} v{settings.ETCD}",
        f"require {HELM} v{settings.HELM}",
        f"require github.com/coredns/coredns v{settings.COREDNS}",
    ]


# CoreDNS with the plug-ins that are used here: with all of them, clouds included, it takes minutes to build.
COREDNS_MAIN = """package main

import (
	"github.com/coredns/coredns/coremain"
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/kubernetes"
)

func main() { coremain.Run() }
"""


def _tidy(directory: Path, lines: list[str]) -> None:
    (directory / "go.mod").write_text("\n".join(lines) + "\n", encoding="utf-8")
    try:
        run_logged(
            ["nice", "go", "mod", "tidy"],
            settings.CACHE / "logs" / f"modules-{directory.name}.log",
            "downloading Go modules",
            cwd=directory,
            env=_environment(),
        )
    except Failure:
        (directory / "go.sum").unlink(missing_ok=True)
        raise


def _all() -> "dict[str, Component]":
    major, minor, _ = settings.KUBERNETES.split(".")
    stamp = "-X k8s.io/component-base/version"
    values = (f"gitVersion=v{settings.KUBERNETES}", f"gitMajor={major}", f"gitMinor={minor}")
    variables = tuple(f"{stamp}.{value}" for value in values)
    found = [
        Component(name, settings.KUBERNETES, f"k8s.io/kubernetes/cmd/{name}", variables) for name in KUBERNETES_PROGRAMS
    ]
    found += [
        Component("etcd", settings.ETCD, ETCD),
        Component("helm", settings.HELM, f"{HELM}/cmd/helm"),
        Component("coredns", settings.COREDNS, f"{MODULE}/coredns"),
    ]
    return {component.name: component for component in found}


COMPONENTS = _all()
