"""Run folders that version 0.1.0 wrote and was killed in; beside each, the summary of the same run to its end.

The summaries are without what depends on the machine: latencies, early exit, normalised returns.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from run_folders import events_in, read

from snn4.agent import runner
from snn4.agent.run.events import Began, Ended, Learned, Saved

Cli = Callable[..., Any]
OLD = Path(__file__).parent / "version_0_1"
AGES = {"life": 448, "training": 1280, "stream": 600}
"""When something was learned first after the checkpoint."""
LAST = {"life": "SNN validation at 384", "training": "ANN twin validation at 256", "stream": "ANN twin enters task 1"}
"""In the last line of its story."""


@pytest.fixture(params=["life", "training", "stream"])
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def folder(kind: str, tmp_path: Path) -> Path:
    """A copy of a run that was killed: a life in its second task, the others while the twin learned."""
    return shutil.copytree(OLD / kind, tmp_path / kind)


def accuracies(summary: dict[str, Any]) -> Any:
    """Those of the spiking one, and returns as parts of the best return."""
    if "tasks" in summary:
        return [row["return_mean"] / 500 for row in summary["tasks"].values()]
    return summary["network"]["matrix"][-1] if "network" in summary else summary["top1_accuracy_by_step"]


def structure(value: Any) -> Any:
    """Keys, lengths, and what is a number, a text, or missing; of layers more are counted than in 0.1."""
    if isinstance(value, dict):
        return {key: structure(inner) for key, inner in value.items() if key != "layers"}
    if isinstance(value, list):
        return [structure(inner) for inner in value]
    return "number" if isinstance(value, (int, float)) else type(value).__name__


def holds(whole: Any, part: Any) -> bool:
    """Whether all of ``part`` is in ``whole``, which may have more keys."""
    if isinstance(part, dict) and isinstance(whole, dict):
        return all(key in whole and holds(whole[key], inner) for key, inner in part.items())
    if isinstance(part, list) and isinstance(whole, list):
        return len(whole) == len(part) and all(map(holds, whole, part))
    return bool(whole == part)


def test_it_is_resumed(kind: str, folder: Path) -> None:
    before, then = events_in(folder), read(OLD / f"{kind}.json")
    runner.resume(folder, quiet=True)
    summary, events = read(folder / "summary.json"), events_in(folder)
    assert holds(structure(summary), structure(then))
    # What is learned on another processor differs.
    assert accuracies(summary) == pytest.approx(accuracies(then), abs=0.2)
    if kind == "stream":  # its network had come to the end
        assert holds(summary["network"], then["network"])
    if kind == "training":
        assert summary["selected"]["network"] == then["selected"]["network"]

    kept = max(number for number, event in enumerate(before, start=1) if isinstance(event, Saved))
    saved, began = before[kept - 1], events[kept]
    assert events[:kept] == before[:kept]
    assert isinstance(saved, Saved)
    assert isinstance(began, Began)
    assert (began.resumed, began.age) == (True, saved.age)
    assert next(event.age for event in events[kept:] if isinstance(event, Learned)) == AGES[kind]
    lengths = sum(task["steps"] for task in began.tasks)
    assert events[-1] == Ended("finished", lengths * len(began.beings))


def test_it_is_watched_tested_and_reported(cli: Cli, kind: str, folder: Path) -> None:
    result = cli("watch", folder)
    assert (result.status, result.err) == (0, "")
    assert LAST[kind] in result.out
    assert cli("watch", folder, "--svg", folder / "picture.svg").status == 0
    result = cli("report", folder)
    assert (result.status, result.err) == (0, "")
    page = (folder / "report.html").read_text()
    assert page.count("<svg") >= 2
    assert cli("world", folder).status == 0
    result = cli("evaluate", folder, "--json")
    assert (result.status, result.err) == (0, "")
    if kind == "stream":
        then = read(OLD / "stream.json")
        assert accuracies(json.loads(result.out)) == pytest.approx(accuracies(then), abs=0.01)
