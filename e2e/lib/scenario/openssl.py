"""Certificates by openssl, in a directory."""

import subprocess
from pathlib import Path

from lib.console import Failure

# Arguments for a new key beside a request or a certificate.
NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


def openssl(directory: Path, *arguments: str) -> None:
    """Runs it there."""
    done = subprocess.run(["openssl", *arguments], check=False, capture_output=True, text=True, cwd=directory)
    if done.returncode != 0:
        raise Failure(f"openssl {arguments[0]}: {done.stderr.strip()}")


def sign(directory: Path, name: str, subject: str, by: str, days: int, extensions: str) -> None:
    """`name.key` and `name.crt` with these extensions, signed by `by`."""
    (directory / "extensions").write_text(extensions, encoding="utf-8")
    openssl(directory, "req", *NEW_KEY, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={subject}")
    signed = ["-in", f"{name}.csr", "-CA", f"{by}.crt", "-CAkey", f"{by}.key", "-CAcreateserial", "-out", f"{name}.crt"]
    openssl(directory, "x509", "-req", *signed, "-days", str(days), "-extfile", "extensions")


def root(directory: Path, name: str, subject: str) -> None:
    """`name.key` and `name.crt`, an authority that signed itself."""
    out = ["-keyout", f"{name}.key", "-out", f"{name}.crt", "-subj", f"/CN={subject}"]
    openssl(directory, "req", "-x509", *NEW_KEY, *out)
