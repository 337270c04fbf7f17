"""Trials on a Ray cluster of two nodes, which are processes of this machine."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import toy_trials

import snn4
from snn4.agent.evolution import ray_workers
from snn4.agent.evolution.attempts import WorkerTraceback
from snn4.agent.evolution.workers import (
    RayConfig,
    Workers,
    WorkersConfig,
    WorkersLost,
    WorkersUnreachable,
    check,
    make_workers,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))  # as after pip install on each machine
        cluster = cluster_utils.Cluster(True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        yield cluster
        cluster.shutdown()


@pytest.fixture(scope="module")
def config(cluster: Any) -> WorkersConfig:
    return WorkersConfig(engine="ray", ray=RayConfig(cluster.address), retries=1)


@pytest.fixture(scope="module")
def workers(config: WorkersConfig) -> Iterator[Workers]:
    workers = make_workers(config)
    yield workers
    workers.close()


def never() -> bool:
    return False


def test_results_are_those_of_this_process(workers: Workers) -> None:
    jobs = toy_trials.jobs_of_learning()
    there = dict(workers.run(toy_trials.learn, jobs, never))
    here = dict(make_workers(WorkersConfig()).run(toy_trials.learn, jobs, never))
    assert here == {key: there[key] for key in here}


def test_a_cluster_of_this_machine_is_started_for_the_run() -> None:
    config = WorkersConfig(workers=2, engine="ray")
    check(config)
    workers = make_workers(config)
    try:
        done = dict(workers.run(toy_trials.process, dict.fromkeys(range(4), 0.5), never))
    finally:
        workers.close()
    assert done.keys() == set(range(4))
    assert len({*done.values(), os.getpid()}) == 3


def test_an_exception_of_a_trial_is_raised_as_it_is(workers: Workers) -> None:
    with pytest.raises(toy_trials.Refused) as raised:
        list(workers.run(toy_trials.refuse, {0: 7}, never))
    assert (type(raised.value), raised.value.number) == (toy_trials.Refused, 7)
    assert isinstance(raised.value.__cause__, WorkerTraceback)


def test_a_trial_whose_worker_is_killed_is_repeated_as_often_as_allowed(workers: Workers, tmp_path: Path) -> None:
    done = dict(workers.run(toy_trials.die_once, {0: tmp_path / "0", 1: tmp_path / "1"}, never))
    assert {key: text for key, (_, text) in done.items()} == {0: "killed", 1: "killed"}
    with pytest.raises(WorkersLost, match=r"^trial 3: its worker died 2 times \(at last: WorkerCrashedError\)"):
        list(workers.run(toy_trials.die, {3: 0}, never))


def test_trials_of_a_node_that_is_lost_go_on_elsewhere(cluster: Any, workers: Workers, tmp_path: Path) -> None:
    second = cluster.add_node(num_cpus=1)
    markers, end = {key: tmp_path / str(key) for key in range(2)}, tmp_path / "end"

    def lose_a_node() -> bool:
        """Called again and again while trials run: once both nodes have one, the second node dies with its worker."""
        if all(marker.exists() for marker in markers.values()):
            attempts = dict(marker.read_text().split() for marker in markers.values())
            assert len(attempts) == 2
            if second in cluster.list_all_nodes():
                cluster.remove_node(second, allow_graceful=False)
            if not toy_trials.is_running(int(attempts[second.node_id])):
                end.touch()
        return False

    done = dict(workers.run(toy_trials.node, {key: (markers[key], end) for key in markers}, lose_a_node))
    assert done.keys() == markers.keys()
    assert set(done.values()) == {cluster.head_node.node_id}


def test_a_request_to_stop_ends_a_run(workers: Workers) -> None:
    began, keys = time.monotonic(), list[int]()
    for key, _ in workers.run(toy_trials.process, {0: 0, 1: 600, 2: 600}, lambda: bool(keys)):
        keys.append(key)
    assert keys == [0]
    assert time.monotonic() - began < 100
    assert [key for key, _ in workers.run(toy_trials.process, {4: 0}, never)] == [4]  # nothing holds its core


def test_a_cluster_must_have_the_same_version(config: WorkersConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    check(config)
    there = snn4.__version__
    monkeypatch.setattr(snn4, "__version__", "9.9")
    with pytest.raises(WorkersUnreachable, match=f"has snn4-agent {there} where 9.9 is needed"):
        check(config)


def test_what_does_not_speak_rays_language_is_no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_workers, "_CONNECTING", 1)
    with socket.create_server(("localhost", 0)) as server:
        address = f"localhost:{server.getsockname()[1]}"
        with pytest.raises(WorkersUnreachable, match=f"got {address}, which has not answered as Ray within 1 seconds"):
            check(WorkersConfig(engine="ray", ray=RayConfig(address)))


def test_a_cluster_that_is_lost_ends_the_run(cluster: Any, config: WorkersConfig, tmp_path: Path) -> None:
    """The last test, as it ends the cluster."""
    marker = tmp_path / "marker"

    def lose_the_cluster() -> bool:
        if marker.exists():
            marker.unlink()
            cluster.shutdown()
        return False

    with pytest.raises(WorkersLost, match=r"^the Ray cluster"):
        list(make_workers(config).run(toy_trials.tell_and_sleep, {0: marker}, lose_the_cluster))
