from __future__ import annotations

import dataclasses
import io
import re
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

import pytest
from evolutions import BORN, FIRST, SECOND, STORY, T, told
from evolutions import row as candidate
from rich.console import Console
from rich.text import Text
from run_folders import events_in, read
from stories import of

from snn4.agent.run.events import Began, Entered, Evaluated, Event, Learned, Noted
from snn4.agent.show.dashboard import Dashboard
from snn4.agent.show.view import ENERGY_MODEL

NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)


def picture(events: Sequence[Event], width: int = 100, height: int = 40, styled: bool = False) -> str:
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
    test, twin_test = of(Evaluated, events, part="test")
    row, twin = test.scores["CartPole-v1"], twin_test.scores["CartPole-v1"]
    for part in (
        "x  ·  ANN twin", "age 512 steps", "finished", "▶ CartPole-v1", "512/512",
        f"CartPole-v1 {row['return_mean']:.1f}", f"CartPole-v1 {twin['return_mean']:.1f}",
        f"{row['energy_joules'][ENERGY_MODEL] * 1e9:.2f} nJ", "layer 0", "layer 1", "neuron.tau_mem 0.02",
        "run finished at 1,024 steps", "saved checkpoints/000010",
    ):  # fmt: skip
        assert part in shown, part
    assert re.search("[▁▂▃▄▅▆▇█]{3}", shown)
    assert max(map(len, shown.splitlines())) <= 100
    assert len(shown.splitlines()) == 28


@pytest.mark.parametrize("width", [80, 100, 120])
def test_the_share_of_the_twin_s_energy(events: list[Event], width: int) -> None:
    joules = [e.scores["CartPole-v1"]["energy_joules"][ENERGY_MODEL] for e in of(Evaluated, events, part="test")]
    panels = picture(events, width).partition(" events ")[0]  # the log tells it too
    assert f"{joules[0] * 1e9:.2f} nJ" in panels
    assert f" {joules[0] / joules[1]:.0%} of ANN" in panels


def test_spike_bars_are_as_long_as_the_rates() -> None:
    layers = Learned("organism", "CartPole-v1", 0, 1, 10, 1, None, [0.0, 0.25, 1.0], {})
    bars = {}
    for line in picture([layers]).splitlines():
        bar = re.search(r"layer (\d) (.*) (\d\.\d{3})", line)
        if bar:
            bars[bar[1]] = (len(re.findall("[█▉▊▋▌▍▎▏]", bar[2])), len(bar[2]), bar[3])
    none, width, _ = bars["0"]
    quarter, full = bars["1"][0], bars["2"][0]
    assert [rate for _, _, rate in bars.values()] == ["0.000", "0.250", "1.000"]
    assert none == 0
    assert quarter == pytest.approx(width / 4, abs=1)
    assert full == pytest.approx(width, abs=2)


def test_the_picture_moves_with_the_life(events: list[Event]) -> None:
    began = "x  ·  "
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


def test_a_live_picture_is_drawn_and_left_behind(events: list[Event]) -> None:
    file = io.StringIO()
    with Dashboard(Console(file=file, force_terminal=True, width=100, height=40)) as board:
        for event in events:
            board.show(event)
    assert "run finished at 1,024 steps" in file.getvalue()


def test_markup_in_a_note_is_shown_as_it_is() -> None:
    assert "[b]x[/b] [0]" in picture([Noted("[b]x[/b] [0]")])


# Evolution


def test_a_life_that_has_not_slept_looks_like_any_other() -> None:
    shown = picture(STORY[:3])
    assert "candidates" not in shown
    assert len(shown.splitlines()) == 28
    assert "T 4  net_arch.0 64  neuron.kind lif" in shown


def test_asleep() -> None:
    shown = picture(STORY[:4], height=45)
    for part in ("asleep", "generation 0: asleep", "0 of 4 tested", "no candidate is tested yet", "ETA …"):
        assert part in shown, part
    shown = picture(STORY[:5], height=45)
    for part in (
        "3 of 4 tested, 1 stopped", "best so far: candidate 0", "return 110.0 → 150.0", "the same genes",
        "synaptic operations (log)", "• candidate  ◆ organism",
    ):  # fmt: skip
        assert part in shown, part


def test_awake() -> None:
    shown = picture(STORY[:6], height=45)
    for part in (
        "generation 0: awake", "next sleep after 9,000", "now: candidate 2", "return 100.0 → 400.0", "T 4 → 2",
        "synaptic operations 1,600 → 30.0", "net_arch.0 64 → 12", "T 2  net_arch.0 12  neuron.kind lif", "readout rate",
        "• candidate  ◦ half a trial  ◆ organism  ★ adopted",
    ):  # fmt: skip
        assert part in shown, part
    plot = shown[shown.index(" candidates ") : shown.index("• candidate")]
    assert {mark: plot.count(mark) for mark in "•◦◆★×"} == {"•": 1, "◦": 1, "◆": 1, "★": 1, "×": 0}
    shown = picture(STORY, height=45)
    assert "no further sleep in this task" in shown
    assert "unchanged: no candidate is better" in shown


def test_an_evolution_without_an_organism_neither_sleeps_nor_wakes() -> None:
    rows = [candidate(0, {}, 9.0, 50.0), candidate(1, {T: 2}, 8.0, 20.0)]
    under_way, ended = told(0, rows, BORN, asleep=True), told(0, rows, BORN, reason="best so far: candidate 0")
    assert "generation 0: under way" in picture([*STORY[:1], under_way], height=45)
    shown = picture([*STORY[:1], under_way, ended], height=45)
    for part in ("generation 0: ended", "best so far: candidate 0"):
        assert part in shown, part
    assert "sleep" not in shown


def test_a_gene_that_is_gone_with_its_kind_is_not_shown() -> None:
    genes = {"policy.neuron.kind": "if", "policy.neuron.slope": 2.0}
    shown = picture([*STORY, dataclasses.replace(SECOND[-1], genes=genes)], height=45)
    genome = shown[shown.index(" genome ") : shown.index(" candidates ")]
    assert "neuron.kind if" in genome
    assert "readout rate" in genome  # which does not evolve
    assert "net_arch" not in genome


def test_a_resumed_generation_is_drawn_once() -> None:
    """As a `watch` sees it that has run all the time; the log alone tells of it."""
    began = dataclasses.replace(STORY[0], resumed=True)
    again = picture([*STORY[:5], began, STORY[1], *FIRST[1:]], height=45).partition(" events ")[0]
    once = picture([*STORY[:2], *FIRST], height=45).partition(" events ")[0]
    start = " candidates "
    assert again[again.index(start) :] == once[once.index(start) :]
    assert again[again.index(" genome ") :] == once[once.index(" genome ") :]


@pytest.mark.parametrize(("width", "height"), [(20, 5), (40, 12), (60, 24), (80, 30), (110, 40), (250, 80)])
def test_evolution_in_any_terminal(width: int, height: int) -> None:
    for n in range(3, len(STORY) + 1):
        lines = picture(STORY[:n], width, height).splitlines()
        assert max(map(len, lines)) <= width
        assert len(lines) <= height
        if height >= 30 and n in (5, 6):
            assert any("┤" in line for line in lines)


# Images


def test_a_training_is_drawn_as_a_world_of_one_task(trained: Path) -> None:
    events, summary = events_in(trained), read(trained / "summary.json")
    shown = picture(events)
    top1 = f"{100 * summary['indicators'][0]['top1_accuracy']:.2f} %"
    for part in ("tiny-digits", "ANN twin", "age 640 images", "finished", "▶ digits", "320/320", f"digits {top1}"):
        assert part in shown, part


@pytest.mark.parametrize("width", [70, 100, 160])
def test_the_picture_of_a_stream_shows_both_matrices(lived: Path, width: int) -> None:
    shown, summary = picture(events_in(lived), width, height=60), read(lived / "summary.json")
    for name in ("network", "ann_twin"):
        for learned, row in enumerate(summary[name]["matrix"]):
            assert f"{learned} " + "".join(f"{100 * value:>3.0f} " for value in row).rstrip() in shown
        assert f"{100 * summary[name]['average_accuracy']:.2f}" in shown
    assert "finished" in shown
    assert max(map(len, shown.splitlines())) <= width


def test_the_picture_grows_with_the_stream(lived: Path) -> None:
    events = events_in(lived)
    assert "accuracy on each experience" not in picture(events[:1])
    for n, event in enumerate(events, start=1):
        if isinstance(event, Learned):
            shown = picture(events[:n], height=60)
            assert f"{event.number + 1} of 3: {event.task}" in shown
            assert f"{event.step:,}/{event.steps:,}" in shown
            assert f"age {event.age:,} images" in shown


def test_rows_of_a_resumed_stream_replace_those_before() -> None:
    """A dashboard that was shown a row, and again after a resume, keeps one."""

    def tested(number: int, accuracy: float) -> Evaluated:
        scores = {name: {"return_mean": accuracy} for name in ("a", "b")}
        return Evaluated("network", "a", 0, scores, part="test", number=number)

    tasks = [{"environment": name, "steps": 10} for name in ("a", "b")]
    began = Began("x", 0, tasks, {}, ["network"], unit="images", measure="accuracy")
    shown = picture([began, tested(0, 0.1), tested(1, 0.9), tested(0, 0.2)], height=60)
    assert " 20" in shown
    assert " 90" not in shown.split(" events ")[0]
