"""Which versions are at work: this package's own, which its metadata are built from, and those of installed ones."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata

VERSION = "0.1.0"


def versions(packages: Sequence[str]) -> dict[str, str]:
    """The versions of these packages; a source tree needs no metadata to know its own."""
    return {package: VERSION if package == "harness" else _installed(package) for package in packages}


def _installed(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"
