from __future__ import annotations

import subprocess
import sys

import pytest

from snn4.policies import allocation

PROGRAM = """
from snn4.policies.allocation import keep_freed_memory
done = keep_freed_memory()
assert type(done) is bool, done
assert keep_freed_memory() is done  # again
import resource
def faults(times):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        assert len(b"x" * 48_000_000) == 48_000_000  # which glibc maps anew each time
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults(2)
print(done, faults(8))
"""


def test_memory_that_is_freed_is_kept() -> None:
    """In a process of its own: it holds for the whole process, for good."""
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    done, faults = ran.stdout.split()
    assert done in ("True", "False")
    assert done == "False" or int(faults) < 1000, "pages of 48 MB were mapped anew"


def test_nothing_is_done_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocation.sys, "platform", "darwin")
    assert allocation.keep_freed_memory() is False
    monkeypatch.setattr(allocation.sys, "platform", "linux")
    monkeypatch.setattr(allocation.ctypes, "CDLL", lambda _: object())  # musl has no mallopt
    assert allocation.keep_freed_memory() is False
