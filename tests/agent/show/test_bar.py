from __future__ import annotations

import io

import pytest
from rich.console import Console

from snn4.agent.run.events import Began, Ended, Event, Fitted, Noted, Saved, Validated
from snn4.agent.show import bar as progress
from snn4.agent.show.bar import Bar, duration

STORY: list[Event] = [
    Began("digits", 3, [{"environment": "digits", "steps": 4000}], {}, ["network", "ann_twin"]),
    Noted("12 files were [left out]"),
    Fitted("network", 0, 500, 4000, 4, 2.25, 0.125, 1e-3, new_images=500, seconds=1.0),
    Fitted("network", 1, 1000, 4000, 4, 1.75, 0.25, 1e-3, new_images=500, seconds=4.0),
    Validated("network", 1, 1000, 0.5, 1.5, best=True),
    Saved("checkpoints/000001", 1000),
    Fitted("ann_twin", 1, 1000, 4000, None, 0.5, 0.9, 1e-3, new_images=1000, seconds=0.5),
    Validated("ann_twin", 1, 1000, 0.875, 0.25, best=False),
    Ended("finished", 8000),
]


def shown(events: list[Event], terminal: bool = False, quiet: bool = False) -> str:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=200, color_system=None)
    with Bar(console, quiet) as bar:
        for event in events:
            bar.show(event)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_lines_in_a_pipe() -> None:
    lines = [line.split(" ", 1)[1] for line in shown(STORY).splitlines()]
    assert lines == [
        "digits, seed 3, learns digits",
        "12 files were [left out]",
        "network epoch 1: validation 50.00%, loss 1.500, 200 images/s  (best)",
        "ANN twin epoch 1: validation 87.50%, loss 0.250, 2,000 images/s",
        "training finished after 8,000 images",
    ]


def test_long_epochs_are_told_of_now_and_then_in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY", 0.0)
    assert "network epoch 0, T=4: loss 2.250, accuracy 12.5%, 500 images/s, ETA 0:00:07" in shown(STORY)


def test_a_bar_in_a_terminal() -> None:
    text = shown(STORY, terminal=True)
    # 1,000 images in 5 s: the 3,000 that are left take 15 s
    assert "network epoch 1, T=4: loss 1.750, accuracy 25.0%, 200 images/s, ETA 0:00:15" in text
    assert "1000/4000" in text
    assert "ANN twin epoch 1: loss 0.500, accuracy 90.0%, 2,000 images/s, ETA 0:00:02" in text
    assert "validation 50.00%" in text


def test_a_training_that_is_gone_on_with_counts_from_there() -> None:
    began = Began("digits", 3, [{"environment": "digits", "steps": 4000}], {}, ["network"], age=3000, resumed=True)
    fitted = Fitted("network", 3, 3100, 4000, 4, 1.0, 0.5, 1e-3, new_images=100, seconds=1.0)
    text = shown([began, fitted], terminal=True)
    assert "learns digits goes on after 3,000 images" in text
    assert "100 images/s, ETA 0:00:09" in text
    assert "3100/4000" in text


def test_a_training_that_failed_says_why() -> None:
    assert "training failed after 5 images: [why]" in shown([Ended("failed", 5, "[why]")])


def test_quiet_shows_nothing() -> None:
    assert shown(STORY, quiet=True) == shown(STORY, terminal=True, quiet=True) == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00:00"), (59.6, "0:01:00"), (125, "0:02:05"), (3 * 3600 + 61, "3:01:01"), (1e6, "277:46:40")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
