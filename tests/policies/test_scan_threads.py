from __future__ import annotations

import multiprocessing
import sys
import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from scans import assert_same, inputs, run
from thresholds import NEAR, distance

from snn4.policies.fused import _WORTH_A_THREAD
from snn4.policies.scan import reference_scan, scan


@pytest.fixture
def two_threads() -> Iterator[None]:
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


def threads_of_the_scan() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("scan")]


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("name", ["lif-soft", "plif-soft"])
def test_threads_share_the_neurons(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("snn4.policies.fused._WORTH_A_THREAD", 1)
    current, state, dynamics, decay = inputs(name, 4, 3, 1500)
    for part, options in ((current, {}), (current[:1], {"steps": 4})):
        assert distance(part, state, dynamics, decay, **options) > NEAR
        got = run(scan, part, state, dynamics, decay, **options)
        assert threads_of_the_scan()
        assert_same(got, run(reference_scan, part, state, dynamics, decay, **options))


@pytest.mark.usefixtures("two_threads")
def test_many_neurons_on_two_threads_are_those_on_one() -> None:
    current, state, dynamics, _ = inputs("lif-soft", 2, _WORTH_A_THREAD // 1024, 1030)
    with torch.no_grad():
        spikes, last = scan(current, state, dynamics)
        assert threads_of_the_scan()
        torch.set_num_threads(1)
        expected, want = scan(current, state, dynamics)
    assert torch.equal(spikes, expected)
    assert torch.equal(last.v, want.v)


@pytest.mark.usefixtures("two_threads")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="fork is the custom of Linux")
def test_threads_after_a_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    """A forked process has none of its parent's threads: waiting for them would never end."""
    monkeypatch.setattr("snn4.policies.fused._WORTH_A_THREAD", 1)  # so few that torch itself needs no threads
    current, state, dynamics, _ = inputs("lif-soft", 8, 2, 2048)
    want = scan(current, state, dynamics)[0].numpy()
    assert threads_of_the_scan()

    def child() -> None:
        raise SystemExit(0 if np.array_equal(scan(current, state, dynamics)[0].numpy(), want) else 3)

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(30)
    if process.is_alive():
        process.kill()
    assert process.exitcode == 0
