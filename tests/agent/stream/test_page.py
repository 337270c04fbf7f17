from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from run_folders import events_in, read
from stories import Story, of

from snn4.agent import kinds
from snn4.agent.run.beings import NETWORK
from snn4.agent.run.events import Evaluated, Saved
from snn4.agent.run.work import OneProcess
from snn4.agent.stream.config import ContinualConfig
from snn4.agent.stream.page import sections


def test_what_a_run_is_about(lived: Path) -> None:
    run = read(lived / "run.json")
    assert (run["data"], run["strategy"]) == ("digits", "replay")
    assert run["versions"]["avalanche-lib"]


def test_the_page_grows(lived: Path) -> None:
    events = events_in(lived)
    assert list(sections(events[:1], None)) == ["<h2>Nothing has been tested yet</h2>"]
    for n, matrices in ((2, 1), (len(events), 2)):
        page = "".join(sections(events[:n], None))
        assert page.count("<svg ") == matrices + 2 + 3  # averages, forgetting, and each experience
        assert "spikes per decision" not in page
    assert "spikes per decision" in "".join(sections(events, read(lived / "summary.json")))


def test_what_is_done_again_replaces_what_was(lived: Path) -> None:
    rows = of(Evaluated, events_in(lived), being=NETWORK)
    again = [*rows[:1], *rows[:3], *rows[2:]]
    assert list(sections(again, None)) == list(sections(rows, None))


def test_evaluate_before_the_end(
    cli: Callable[..., Any], lived: Path, streamed: Callable[..., ContinualConfig], tmp_path: Path
) -> None:
    folder = shutil.copytree(lived, tmp_path / "run")
    shutil.rmtree(folder / "checkpoints")
    events = []
    for event in Story(kinds.named("stream").prepare(streamed(), OneProcess()), folder).events():
        events.append(event)
        if isinstance(event, Saved):
            break
    result = cli("evaluate", folder, "--json")
    rows = [[score["return_mean"] for score in row.scores.values()] for row in of(Evaluated, events)]
    summary = json.loads(result.out)
    assert summary["network"]["matrix"] == rows
    assert len(rows) == 2
    assert "ann_twin" not in summary
