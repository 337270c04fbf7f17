from __future__ import annotations

import subprocess
import sys

import pytest

from snn4.policies import allocation

PROGRAM = """
from snn4.policies.allocation import keep_freed_memory
is_kept = keep_freed_memory()
assert type(is_kept) is bool, is_kept
assert keep_freed_memory() is is_kept  # again
import resource
def faults(times):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        assert len(b"x" * 48_000_000) == 48_000_000  # glibc maps it anew each time
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults(2)
print(is_kept, faults(8))
"""


def test_memory_that_is_freed_is_kept() -> None:
    """In a process of its own, since the setting holds for the rest of the process."""
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    is_kept, faults = ran.stdout.split()
    assert is_kept in ("True", "False")
    assert is_kept == "False" or int(faults) < 1000, "pages of 48 MB were mapped anew"


def test_nothing_is_done_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocation.sys, "platform", "darwin")
    assert allocation.keep_freed_memory() is False
    monkeypatch.setattr(allocation.sys, "platform", "linux")
    monkeypatch.setattr(allocation.ctypes, "CDLL", lambda _: object())  # musl has no mallopt
    assert allocation.keep_freed_memory() is False
