"""Where a result comes from: the code, the libraries, and what the process needed."""

from __future__ import annotations

import hashlib
import platform
import resource
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_LIBRARIES = (
    "clplat",
    "torch",
    "open_clip_torch",
    "peft",
    "avalanche-lib",
    "mlflow",
    "optuna",
    "numpy",
    "pillow",
)


@cache
def code_fingerprint() -> str:
    """sha256 over the sources of clplat, strategies and scenarios: equal for equal code."""
    root = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256()
    for package in ("clplat", "strategies", "scenarios"):
        for path in sorted((root / package).rglob("*.py")):
            digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def library_versions() -> dict[str, str]:
    """Versions of Python and of the libraries that decide about numbers."""
    return {"python": platform.python_version(), **{name: _version(name) for name in _LIBRARIES}}


@cache
def _version(name: str) -> str:
    """Of one library; reading it again would parse its whole description again."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def peak_memory_bytes() -> int:
    """Largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
