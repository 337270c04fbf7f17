from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import toy_trials

from snn4.agent.evolution.pool import Pool
from snn4.agent.evolution.trials import WorkersLost

PARENT = """
import pickle, sys
from pathlib import Path
import toy_trials
from snn4.agent.evolution.pool import Pool
if __name__ == "__main__":
    request = pickle.dumps((toy_trials.tell_and_sleep, Path(sys.argv[1])))
    list(Pool(toy_trials.called, workers=1, threads=1, retries=0).answers({0: request}, lambda: False))
"""


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    pool = Pool(toy_trials.called, workers=2, threads=1, retries=1)
    yield pool
    pool.close()


def answers(
    pool: Pool, function: Callable[[Any], Any], jobs: Mapping[int, Any], stop: Callable[[], bool] = lambda: False
) -> Iterator[tuple[int, Any]]:
    requests = {key: pickle.dumps((function, job)) for key, job in jobs.items()}
    for key, answer in pool.answers(requests, stop):
        yield key, pickle.loads(answer)


def test_two_processes_share_the_requests_and_stay(pool: Pool) -> None:
    four = dict.fromkeys(range(4), 0.1)
    first, second = (dict(answers(pool, toy_trials.process, four)) for _ in range(2))
    assert first.keys() == second.keys() == four.keys()
    assert set(first.values()) == set(second.values())
    assert len({*first.values(), os.getpid()}) == 3
    signalled = dict(answers(pool, toy_trials.ignore_signals, {0: 0, 1: 1}))
    assert set(signalled.values()) == set(first.values())


def test_answers_come_as_they_are_there(pool: Pool, tmp_path: Path) -> None:
    """Request 0 waits for a file that is written when request 1 has been answered."""
    keys = []
    for key, _ in answers(pool, toy_trials.wait_for_file, {0: tmp_path / "there", 1: tmp_path}):
        keys.append(key)
        (tmp_path / "there").touch()
    assert keys == [1, 0]


def test_the_request_of_a_killed_process_is_sent_to_another_one(pool: Pool, tmp_path: Path) -> None:
    before = set(dict(answers(pool, toy_trials.process, {0: 0.1, 1: 0.1})).values())
    markers = {0: tmp_path / "0", 1: tmp_path / "1"}
    markers[1].write_text("not killed")
    done = dict(answers(pool, toy_trials.die_once, markers))
    assert {key: text for key, (_, text) in done.items()} == {0: "killed", 1: "not killed"}
    assert done[1][0] in before


def test_a_request_that_kills_again_and_again_is_given_up(pool: Pool) -> None:
    with pytest.raises(WorkersLost, match=r"^trial 3: its worker died 2 times \(at last: killed by signal 9\)"):
        list(answers(pool, toy_trials.die, {3: 0}))
    assert WorkersLost.exit_status == 1


def test_a_request_to_stop_drops_what_is_not_finished(pool: Pool) -> None:
    began, keys = time.monotonic(), list[int]()
    for key, _ in answers(pool, toy_trials.process, {0: 0, 1: 600, 2: 600}, lambda: bool(keys)):
        keys.append(key)
    assert keys == [0]
    assert time.monotonic() - began < 100
    assert dict(answers(pool, toy_trials.process, {0: 0})).keys() == {0}  # new processes


def test_processes_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    script, marker = tmp_path / "script.py", tmp_path / "marker"
    script.write_text(PARENT)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    parent = subprocess.Popen([sys.executable, script, marker], env=environment)
    try:
        wait_for(marker.exists)
    finally:
        parent.kill()
        parent.wait()
    child = int(marker.read_text())
    wait_for(lambda: not toy_trials.is_running(child))


def wait_for(condition: Callable[[], bool], seconds: float = 100) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.005)
