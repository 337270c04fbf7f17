from __future__ import annotations

import dataclasses
import io
import re
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from evolutions import FIRST, SECOND, T, row, told
from rich.console import Console
from run_folders import events_in

from snn4.agent.run.events import Began, Compared, Ended, Entered, Evaluated, Event, Learned, Noted, Task
from snn4.agent.show import view as module
from snn4.agent.show.dashboard import Dashboard, view
from snn4.agent.show.view import Lines, Silent, describe

NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
DIGITS: list[Task] = [{"environment": "digits", "steps": 4000}]
BEGAN = Began("digits", 3, DIGITS, {}, ["network", "ann_twin"], unit="images", measure="accuracy")


def lines(events: list[Event]) -> list[str]:
    """What is told of ``events``, without the time."""
    file = io.StringIO()
    with Lines(Console(file=file, width=60)) as plain:
        for event in events:
            plain.show(event, NOON)
    stamp = f"{NOON.astimezone():%H:%M:%S} "
    output = file.getvalue().splitlines()
    assert all(line.startswith(stamp) for line in output)
    return [line.removeprefix(stamp) for line in output]


def test_every_event_is_told_but_learning(events: list[Event], lived: Path, trained: Path) -> None:
    for story in (events, events_in(lived), events_in(trained)):
        output = [line for line in lines(story) if not re.search(r" [\d,]+/[\d,]+ (steps|images)", line)]
        began = story[0]
        assert isinstance(began, Began)
        described = [describe(event, began) for event in story if not isinstance(event, Learned)]
        assert output == described  # each is one line, however narrow the console
        assert "\x1b" not in "".join(output)


def test_learning_is_told_once_in_ten_seconds(events: list[Event], monkeypatch: pytest.MonkeyPatch) -> None:
    learned: list[Event] = [event for event in events if isinstance(event, Learned)]
    assert len(lines(learned * 20)) == 1
    seconds = iter(range(1000, 9000))
    monkeypatch.setattr(module.time, "monotonic", lambda: next(seconds) / 2)  # it looks twice an event
    assert 8 <= len(lines(learned[:1] * 100)) <= 12


def learned(being: str, step: int, seconds: float, epoch: int = 0, T: int | None = 4) -> Learned:
    losses = {"loss": 2.25}
    return Learned(being, "digits", 0, step, 4000, step, 0.125, [], losses, seconds=seconds, epoch=epoch, T=T)


def test_learning_is_told_with_its_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LINE_EVERY", 0.0)
    first, second = learned("network", 500, 9.0), learned("network", 1000, 1.0, epoch=1)
    entered = Entered("network", "digits", 0, 1000, 4000)
    twin = [learned("ann_twin", 100, 9.0, T=None), learned("ann_twin", 300, 2.0, T=None)]
    _, *output = lines([BEGAN, first, second, entered, second, *twin])
    loss = "loss 2.250, accuracy 12.50 %"
    assert output == [
        f"SNN digits 500/4,000 images, epoch 0, T = 4, {loss}",
        f"SNN digits 1,000/4,000 images, epoch 1, T = 4, {loss}, 500 images/s, ETA 0:00:06",
        "SNN enters task 0, digits at 1,000: 4,000 images",
        f"SNN digits 1,000/4,000 images, epoch 1, T = 4, {loss}",  # how fast it was before tells nothing
        f"ANN twin digits 100/4,000 images, epoch 0, {loss}",
        f"ANN twin digits 300/4,000 images, epoch 0, {loss}, 100 images/s, ETA 0:00:37",
    ]


def test_stages_of_a_conversion_are_told_without_a_result(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has a speed of its own, which is not that of images."""
    monkeypatch.setattr(module, "LINE_EVERY", 0.0)
    stages = [
        Learned("network", stage, 0, step, 20, 0, None, [], {}, seconds=1.0)
        for stage in ("correct biases", "compare layers") for step in (5, 10)
    ]  # fmt: skip
    _, *output, last = lines([BEGAN, *stages, learned("network", 500, 9.0)])
    assert output == [
        "SNN: correct biases 5/20", "SNN: correct biases 10/20", "SNN: compare layers 5/20",
        "SNN: compare layers 10/20",
    ]  # fmt: skip
    assert last == "SNN digits 500/4,000 images, epoch 0, T = 4, loss 2.250, accuracy 12.50 %"


def test_an_accuracy_that_is_not_known_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LINE_EVERY", 0.0)
    unknown = dataclasses.replace(learned("network", 500, 9.0), episode_return=None)
    assert lines([BEGAN, unknown])[1] == "SNN digits 500/4,000 images, epoch 0, T = 4, loss 2.250"
    life = dataclasses.replace(BEGAN, measure="return")
    assert lines([life, unknown])[1].endswith("loss 2.250, no episode yet")


def test_the_steps_of_a_sleep_do_not_count_as_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LINE_EVERY", 0.0)
    steps = [learned("organism", step, 1.0) for step in (100, 200, 3000, 3050)]
    *_, first, second = lines([BEGAN, *steps[:2], *FIRST, *steps[2:]])
    assert "images/s" not in first
    assert ", 50 images/s," in second


def scores(*values: float, **more: float) -> dict[str, Any]:
    return {f"task {number}": {"return_mean": value, **more} for number, value in enumerate(values)}


ROW = {"return_mean": 0.5, "energy_joules": {"45nm_fp32": 1.0}}
TWIN = {"return_mean": 0.75, "energy_joules": {"45nm_fp32": 4.0}}


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (BEGAN, "digits begins, seed 3: digits (4,000 images)"),
        (Began("x", 0, DIGITS, {}, [], age=3000, resumed=True, unit="images"),
         "x continues after 3,000 images, seed 0: digits (4,000 images)"),
        (Began("x", 0, DIGITS * 7, {}, []), "x begins, seed 0: 7 tasks, 28,000 steps"),
        (Evaluated("network", "", 9, scores(0.5, loss=1.5), best=True),
         "SNN validation at 9: 50.00 %, loss 1.500  (best)"),
        (Evaluated("ann_twin", "", 9, scores(0.5), part="test"), "ANN twin test at 9: 50.00 %"),
        (Evaluated("network", "", 0, scores(0.1, 0.2), part="test"), "SNN test at 0: not yet learned: 10 20 %"),
        (Evaluated("network", "", 9, scores(0.9, 0.6, 0.2), part="test", number=2),
         "SNN test at 9: 90 60 % (mean 75.0); not yet learned: 20 %"),
        (Evaluated("network", "", 9, scores(0.9, 0.6), part="test", number=1_000_000),
         "SNN test at 9: 90 60 % (mean 75.0)"),
        (Compared({"x": ROW}, {"x": TWIN}), "x: 50.00 % against the ANN twin's 75.00, at 25% of its energy"),
        (Compared({"x": ROW | {"forgetting": 0.5}}, {"x": TWIN | {"forgetting": 0.25, "energy_joules": {}}}),
         "x: 50.00 % against the ANN twin's 75.00, forgetting 50.00 against 25.00"),
        (FIRST[0], "SNN generation 0: falls asleep in CartPole-v1: 4 candidates"),
        (FIRST[1], "SNN generation 0: 3 of 4 tested, 1 stopped; best: candidate 0 after 500 steps, return 150.0 at "
         "2,000 synaptic operations"),
        (FIRST[2], "SNN generation 0: wakes up as candidate 2, return 100 -> 400; T 2, net_arch.0 12; sleeps again "
         "after step 9,000"),
        (SECOND[1], "SNN generation 1: wakes up unchanged: no candidate is better beyond the noise"),
        (told(2, [row(6, {}, 9.0)], {T: 2}, adopted=6, reason="x"),
         "SNN generation 2: wakes up as candidate 6, x; the same genes"),
        (told(0, [row(0), row(1)], {T: 2}, asleep=True), "SNN generation 0: begins in CartPole-v1: 2 candidates"),
        (told(0, [row(0, {}, 9.0)], {T: 2}, reason="best so far: candidate 0"),
         "SNN generation 0 ends, best so far: candidate 0"),
        (told(2, [row(6, stopped="silent")], {T: 2}, asleep=True), "SNN generation 2: 0 of 1 tested, 1 stopped"),
        (Noted("[b]x[/b] [0]"), "[b]x[/b] [0]"),
        (Ended("failed", 1000, "[because]"), "run failed at 1,000 images: [because]"),
        (Ended("finished", 1000), "run finished at 1,000 images"),
    ],
)  # fmt: skip
def test_lines_of_events(event: Event, line: str) -> None:
    assert describe(event, BEGAN) == line
    assert lines([BEGAN, event])[1] == line


def test_a_terminal_gets_a_picture_a_pipe_gets_lines_and_whoever_wants_to_be_quiet_nothing() -> None:
    for terminal, quiet, kind in ((True, False, Dashboard), (False, False, Lines), (True, True, Silent)):
        file = io.StringIO()
        shown = view(Console(file=file, force_terminal=terminal), quiet)
        assert isinstance(shown, kind)
        with shown:
            shown.show(BEGAN)
        assert bool(file.getvalue()) == (not quiet)
