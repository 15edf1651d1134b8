"""Images into the cluster in use: our own, or an existing one (kind)."""

import os
import shutil
import subprocess
from pathlib import Path

from lib import settings
from lib.cluster import node
from lib.console import Failure


def load_image(archive: "str | Path") -> None:
    """Makes the images of an archive known to the nodes."""
    path = Path(archive)
    if not path.is_file():
        raise Failure(f"no image archive {path}")
    if settings.foreign_kubeconfig() is None:
        node.load_image(path)
        return
    if shutil.which("kind") is None:
        raise Failure(
            f"kind is not installed, so {path} cannot be loaded: push the images to a registry of your own, "
            "name them by TIKV_IMAGE, PD_IMAGE, TIKV_SECURITY_IMAGE and set E2E_LOAD_IMAGES=no"
        )
    name = os.environ.get("KIND_CLUSTER_NAME", "kind")
    command = ["kind", "load", "image-archive", "--name", name, str(path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise Failure(f"{' '.join(command)}: {done.stderr.strip()}")
