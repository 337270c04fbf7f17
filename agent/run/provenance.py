"""The origin of a result: commit, versions, machine."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_PACKAGES = (
    "snn4-agent", "torch", "numpy", "numba", "gymnasium", "stable-baselines3", "sb3-contrib",
    "snntorch", "norse", "spikingjelly", "avalanche-lib",
)  # fmt: skip


def provenance() -> dict[str, Any]:
    """Commit, versions and machine, for a run or a result file."""
    return {
        **commit(),
        "versions": {name: installed_version(name) for name in _PACKAGES} | {"python": platform.python_version()},
        "machine": {"system": platform.platform(), "processor": _processor(), "cores": os.cpu_count()},
    }


def commit() -> dict[str, Any]:
    """``commit_hash`` of the checkout of this code, and whether it has changed since; both None for installed code."""
    here = Path(__file__).resolve()

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(here.parent), *arguments], capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", here.name)  # fails for a virtual environment inside another repository
        return {"commit_hash": git("rev-parse", "HEAD"), "commit_dirty": bool(git("status", "--porcelain", "-uno"))}
    except (OSError, subprocess.SubprocessError):
        return {"commit_hash": None, "commit_dirty": None}


def installed_version(package: str) -> str | None:
    """Version of a package; None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()
