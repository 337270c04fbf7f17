from __future__ import annotations

import doctest
import io
import re
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import pytest
from rich.console import Console
from rich.text import Text

from snn4.agent.life.config import LifeConfig
from snn4.agent.life.life import Life, live
from snn4.agent.run.events import Began, Ended, Entered, Evaluated, Event, Learned, Noted
from snn4.agent.run.journal import Journal, read_events
from snn4.agent.show import dashboard
from snn4.agent.show.dashboard import ENERGY_MODEL, Dashboard, Lines, describe, sparkline

NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)


@pytest.fixture(scope="module")
def events(tiny: Callable[..., LifeConfig], tmp_path_factory: pytest.TempPathFactory) -> list[Event]:
    return list(live(Life(tiny("ann_twin=true"), tmp_path_factory.mktemp("life"))))


def picture(events: list[Event], width: int = 100, height: int = 40, styled: bool = False) -> str:
    """What a terminal of this size shows after these events."""
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=width, height=height, color_system="standard")
    board = Dashboard(console, live=False)
    with board:
        for event in events:
            board.show(event, NOON)
        console.print(board.render())
    return file.getvalue() if styled else Text.from_ansi(file.getvalue()).plain


def test_the_picture_of_a_finished_life(events: list[Event]) -> None:
    shown = picture(events)
    test, twin_test = (e for e in events if isinstance(e, Evaluated) and e.final)
    row, twin = test.scores["CartPole-v1"], twin_test.scores["CartPole-v1"]
    for part in (
        "tiny", "age 512 steps", "finished", "▶ CartPole-v1", "512/512",
        f"CartPole-v1 {row['return_mean']:.1f}", f"CartPole-v1 {twin['return_mean']:.1f}",
        f"{row['energy_joules'][ENERGY_MODEL] * 1e9:.2f} nJ", "layer 0", "layer 1", "neuron.tau_mem 0.02",
        "life finished at 1,024 steps", "saved checkpoints/000010",
    ):  # fmt: skip
        assert part in shown, part
    assert re.search("[▁▂▃▄▅▆▇█]{3}", shown)
    assert max(map(len, shown.splitlines())) <= 100
    assert len(shown.splitlines()) == 28


@pytest.mark.parametrize("width", [80, 100, 120])
def test_the_share_of_the_twin_s_energy(events: list[Event], width: int) -> None:
    joules = [
        e.scores["CartPole-v1"]["energy_joules"][ENERGY_MODEL] for e in events if isinstance(e, Evaluated) and e.final
    ]
    panels = picture(events, width).partition(" events ")[0]  # the log tells it too
    assert f"{joules[0] * 1e9:.2f} nJ" in panels
    assert f" {joules[0] / joules[1]:.0%} of ANN" in panels


def test_spike_bars_are_as_long_as_the_rates() -> None:
    layers = Learned("organism", "CartPole-v1", 0, 1, 10, 1, None, [0.0, 0.25, 1.0], {})
    bars = {}
    for line in picture([layers]).splitlines():
        found = re.search(r"layer (\d) (.*) (\d\.\d{3})", line)
        if found:
            bars[found[1]] = (len(re.findall("[█▉▊▋▌▍▎▏]", found[2])), len(found[2]), found[3])
    (none, width, _), (quarter, _, _), (full, _, _) = bars["0"], bars["1"], bars["2"]
    assert [rate for _, _, rate in bars.values()] == ["0.000", "0.250", "1.000"]
    assert none == 0
    assert quarter == pytest.approx(width / 4, abs=1)
    assert full == pytest.approx(width, abs=2)


def test_the_picture_moves_with_the_life(events: list[Event]) -> None:
    began = "tiny"
    assert began not in picture([])
    pictures = [picture(events[: n + 1]) for n in range(len(events))]
    assert all(began in shown for shown in pictures)
    for shown, event in zip(pictures, events, strict=True):
        if isinstance(event, Learned):
            assert f"{event.step}/512" in shown
            assert f"age {event.age} steps" in shown
    assert "ETA" not in pictures[-1]
    assert "ETA 0:00:" in pictures[10]


def test_several_tasks_each_have_a_bar() -> None:
    tasks = [{"environment": name, "steps": 10} for name in ("CartPole-v1", "Acrobot-v1", "Pendulum-v1")]
    shown = picture([
        Began("x", 0, tasks, {}, ["organism"]), Entered("organism", "Acrobot-v1", 1, 0, 10),
        Learned("organism", "Acrobot-v1", 1, 4, 10, 14, -5.0, [0.1], {}),
    ])  # fmt: skip
    assert re.search(r"  CartPole-v1 .* 10/10", shown)
    assert re.search(r"▶ Acrobot-v1 .* 4/10", shown)
    assert re.search(r"  Pendulum-v1 .* 0/10", shown)


def test_what_is_left_of_a_stay() -> None:
    """The return of the weights that it was left with, and of today's."""
    tasks = [{"environment": name, "steps": 10} for name in ("CartPole-v1", "Acrobot-v1")]

    def evaluated(age: int, best: bool, **returns: float) -> Evaluated:
        scores = {
            f"{name}-v1": {"return_mean": value, "return_std": 0.0, "energy_joules": {ENERGY_MODEL: 1e-9}}
            for name, value in returns.items()
        }
        return Evaluated("organism", next(reversed(scores)), age, scores, best)

    life = [
        Began("x", 0, tasks, {}, ["organism"]), Entered("organism", "CartPole-v1", 0, 0, 10),
        evaluated(5, True, CartPole=444.0), evaluated(10, False, CartPole=222.0),
        Entered("organism", "Acrobot-v1", 1, 0, 10), evaluated(15, True, CartPole=333.0, Acrobot=-99.0),
    ]  # fmt: skip
    assert "444.0 → 333.0" in picture(life)
    assert "→" not in picture(life[:4])


@pytest.mark.parametrize(("width", "height"), [(20, 5), (40, 12), (250, 80)])
def test_any_terminal_will_do(events: list[Event], width: int, height: int) -> None:
    lines = picture(events, width, height).splitlines()
    assert max(map(len, lines)) <= width
    assert len(lines) <= height


def test_a_replay_shows_what_the_life_showed(
    events: list[Event], tmp_path: Path, tiny: Callable[..., LifeConfig]
) -> None:
    with Journal.create(tmp_path, tiny("ann_twin=true")) as journal:
        for event in events:
            journal.write(event)
    replayed = [event for _, event, _ in read_events(journal.folder)]
    assert picture(replayed, styled=True) == picture(events, styled=True)


def test_a_live_picture_is_drawn_and_left_behind(events: list[Event]) -> None:
    file = io.StringIO()
    with Dashboard(Console(file=file, force_terminal=True, width=100, height=40)) as board:
        for event in events:
            board.show(event)
    assert "life finished at 1,024 steps" in file.getvalue()


# Plain lines


def lines(events: list[Event]) -> list[str]:
    file = io.StringIO()
    with Lines(Console(file=file, width=60)) as plain:
        for event in events:
            plain.show(event, NOON)
    return file.getvalue().splitlines()


def test_plain_lines_tell_the_whole_story(events: list[Event]) -> None:
    told = [line for line in lines(events) if not re.search("CartPole-v1 [0-9,]+/512 steps", line)]
    described = [text for event in events if (text := describe(event))]
    stamp = f"{NOON.astimezone():%H:%M:%S}"
    assert told == [f"{stamp} {text}" for text in described]  # each is one line, however narrow the console
    assert "\x1b" not in "".join(told)


def test_learning_is_told_once_in_ten_seconds(events: list[Event], monkeypatch: pytest.MonkeyPatch) -> None:
    learned = [event for event in events if isinstance(event, Learned)]
    assert len(lines(learned * 20)) == 1
    seconds = iter(range(1000, 2000))
    monkeypatch.setattr(dashboard.time, "monotonic", lambda: next(seconds) / 2)  # it looks at least once an event
    assert 4 <= len(lines(learned[:1] * 100)) <= 5


def test_markup_in_a_note_is_printed_as_it_is() -> None:
    assert lines([Noted("[b]x[/b] [0]")])[0].endswith("[b]x[/b] [0]")
    assert "[b]x[/b] [0]" in picture([Noted("[b]x[/b] [0]")])


def test_an_end_says_why() -> None:
    assert describe(Ended("failed", 1000, "because")) == "life failed at 1,000 steps: because"


# Sparklines


def test_doctests() -> None:
    failed, tried = doctest.testmod(dashboard)
    assert tried
    assert not failed


def test_sparkline() -> None:
    assert sparkline([3.0, 3.0], 10) == "▄▄"
    assert sparkline([0.0] * 50 + [1.0] * 50, 4) == "▁▁██"
    assert len(sparkline([float(n % 7) for n in range(1001)], 40)) == 40
