"""The programs of the cluster, built from the Go module proxy and kept by version in the cache."""

import fcntl
import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

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


@dataclass(frozen=True)
class Component:
    """One program and how its Go module is set up."""

    name: str
    version: str
    package: str
    module: Callable[[Path], None]
    flags: tuple[str, ...] = ()

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
        group = "kubernetes" if component.name in KUBERNETES_PROGRAMS else component.name
        module = settings.CACHE / "modules" / f"{group}-{component.version}"
        module.mkdir(parents=True, exist_ok=True)
        log = settings.CACHE / "logs" / f"build-{component.name}.log"
        component.module(module)
        partial = component.path.with_suffix(".partial")
        command = ["nice", "go", "build", "-trimpath", "-o", str(partial), *component.flags, component.package]
        run_logged(command, log, f"building {component.name}", cwd=module, env=_environment())
        partial.rename(component.path)


def _environment() -> dict[str, str]:
    own = {"CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false -mod=mod", "GOWORK": "off"}
    # Compilers that collect their garbage less often are quicker: about a fifth, for some hundred MiB of memory.
    return {**os.environ, **own, "GOGC": "400"}


def _kubernetes_module(directory: Path) -> None:
    """Kubernetes refers to its staging modules by relative path; they are published under v0.x as well."""
    if (directory / "go.sum").is_file():
        return
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
    lines = ["module e2e.invalid/kubernetes", f"go {go.group(1) if go else '1.25.0'}"]
    lines += [f"tool k8s.io/kubernetes/cmd/{name}" for name in KUBERNETES_PROGRAMS]
    lines += [f"require k8s.io/kubernetes {version}"]
    lines += [f"replace {name} => {name} {staging_version}" for name in staging]
    _tidy(directory, lines)


def _tool_module(module: str, package: str, version: str) -> Callable[[Path], None]:
    def write(directory: Path) -> None:
        if not (directory / "go.sum").is_file():
            _tidy(
                directory,
                ["module e2e.invalid/tool", "go 1.25.0", f"tool {package}", f"require {module} v{version}"],
            )

    return write


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


def _coredns_module(directory: Path) -> None:
    if (directory / "go.sum").is_file():
        return
    (directory / "main.go").write_text(COREDNS_MAIN, encoding="utf-8")
    lines = ["module e2e.invalid/coredns", "go 1.25.0", f"require github.com/coredns/coredns v{settings.COREDNS}"]
    # The client of the Kubernetes that is built anyway, so that it is compiled once.
    lines += [f"require k8s.io/{name} v0{settings.KUBERNETES[1:]}" for name in ("api", "apimachinery", "client-go")]
    _tidy(directory, lines)


def _tidy(directory: Path, lines: list[str]) -> None:
    (directory / "go.mod").write_text("\n".join(lines) + "\n", encoding="utf-8")
    try:
        run_logged(
            ["nice", "go", "mod", "tidy"],
            settings.CACHE / "logs" / f"modules-{directory.name}.log",
            f"downloading the modules of {directory.name}",
            cwd=directory,
            env=_environment(),
        )
    except Failure:
        (directory / "go.sum").unlink(missing_ok=True)
        raise


def _kubernetes_flags() -> tuple[str, ...]:
    major, minor, _ = settings.KUBERNETES.split(".")
    stamp = "k8s.io/component-base/version"
    values = f"-X {stamp}.gitVersion=v{settings.KUBERNETES} -X {stamp}.gitMajor={major} -X {stamp}.gitMinor={minor}"
    return ("-ldflags", f"-s -w {values}")


def _all() -> dict[str, Component]:
    stripped = ("-ldflags", "-s -w")
    found = [
        Component(name, settings.KUBERNETES, f"k8s.io/kubernetes/cmd/{name}", _kubernetes_module, _kubernetes_flags())
        for name in KUBERNETES_PROGRAMS
    ]
    for name, version, module, package in (
        ("etcd", settings.ETCD, "go.etcd.io/etcd/server/v3", "go.etcd.io/etcd/server/v3"),
        ("helm", settings.HELM, "helm.sh/helm/v3", "helm.sh/helm/v3/cmd/helm"),
    ):
        found.append(Component(name, version, package, _tool_module(module, package, version), stripped))
    found.append(Component("coredns", settings.COREDNS, ".", _coredns_module, stripped))
    return {component.name: component for component in found}


COMPONENTS = _all()
