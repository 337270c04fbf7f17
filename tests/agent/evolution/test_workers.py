from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest
import torch
import toy_trials

from snn4.agent.config.file import ConfigError, checked
from snn4.agent.evolution.attempts import WorkerTraceback
from snn4.agent.evolution.workers import (
    RayConfig,
    Workers,
    WorkersConfig,
    WorkersUnreachable,
    check,
    make_workers,
)


@pytest.fixture(scope="module")
def two() -> Iterator[Workers]:
    workers = make_workers(WorkersConfig(workers=2))
    yield workers
    workers.close()


@pytest.fixture
def one() -> Workers:
    return make_workers(WorkersConfig())


def run(workers: Workers, trial: Callable[[Any], Any], jobs: Mapping[int, Any]) -> dict[int, Any]:
    return dict(workers.run(trial, jobs, lambda: False))


def global_states() -> list[Any]:
    state = np.random.get_state()  # noqa: NPY002
    return [torch.get_rng_state().tolist(), random.getstate(), [str(part) for part in state], torch.get_num_threads()]


def test_results_are_the_same_in_one_and_two_processes(one: Workers, two: Workers) -> None:
    jobs = toy_trials.jobs_of_learning()
    here, there = run(one, toy_trials.learn, jobs), run(two, toy_trials.learn, jobs)
    assert list(here) == list(jobs)
    assert here == {key: there[key] for key in here}
    assert len({tuple(learned["draws"]) for learned in here.values()}) == len(jobs)  # random states of their own
    assert {learned["threads"] for learned in here.values()} == {1}


def test_this_process_goes_on_as_if_there_had_been_no_trial(one: Workers) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        before, jobs = global_states(), toy_trials.jobs_of_learning()
        run(one, toy_trials.learn, jobs)
        with pytest.raises(toy_trials.Refused):
            run(one, toy_trials.refuse, {0: 7})
        assert global_states() == before
        for key, (_, weights) in toy_trials.jobs_of_learning().items():
            assert torch.equal(jobs[key][1], weights)
    finally:
        torch.set_num_threads(threads)


def test_an_exception_of_a_trial_is_raised_as_it_is(one: Workers, two: Workers) -> None:
    for workers in (one, two):
        with pytest.raises(toy_trials.Refused) as raised:
            run(workers, toy_trials.refuse, {0: 7})
        assert raised.value.number == 7
    assert isinstance(raised.value.__cause__, WorkerTraceback)
    assert "toy_trials.py" in str(raised.value.__cause__)
    with pytest.raises(RuntimeError, match=r"^Local: refused 4$"):
        run(two, toy_trials.refuse_strangely, {0: 4})


def test_a_request_to_stop_ends_a_run(one: Workers, two: Workers) -> None:
    keys: list[int] = []
    for workers in (one, two):
        keys.clear()
        for key, _ in workers.run(toy_trials.process, dict.fromkeys((4, 5, 6), 0), lambda: len(keys) > 0):
            keys.append(key)
        assert 0 < len(keys) < 3
    assert list(one.run(toy_trials.die, {0: 0}, lambda: True)) == []


def test_what_a_config_may_contain() -> None:
    config = checked({"workers": 3, "engine": "ray", "ray": {"address": "ray://head:10001"}}, "x", [], WorkersConfig)
    assert config == WorkersConfig(3, "ray", RayConfig("ray://head:10001"))
    for wrong in ("head", "http://head:80", "ray://head", "head:", ":6379", "", "a b:1"):
        with pytest.raises(ConfigError, match=r"^x: ray.address: got .*, allowed are null, auto, HOST:6379"):
            checked({"ray": {"address": wrong}}, "x", [], WorkersConfig)
    with pytest.raises(ConfigError, match=r"^x: workers: got 0, allowed is"):
        checked({"workers": 0}, "x", [], WorkersConfig)


def test_without_ray_there_are_only_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for config in (WorkersConfig(engine="ray"), WorkersConfig(engine="ray", ray=RayConfig("head:6379"))):
        with pytest.raises(WorkersUnreachable, match=r"not installed: pip install 'snn4-agent\[ray\]'$"):
            check(config)
    check(WorkersConfig(workers=2))


@pytest.mark.parametrize("address", ["localhost:1", "ray://localhost:1", "localhost:99999"])
def test_a_cluster_that_is_not_there_is_noticed_at_once(address: str) -> None:
    began = time.monotonic()
    with pytest.raises(WorkersUnreachable, match=f"^ray.address: got {address}, where nothing .* ray start --head$"):
        check(WorkersConfig(engine="ray", ray=RayConfig(address)))
    assert time.monotonic() - began < 10
    assert WorkersUnreachable.exit_status == 2
