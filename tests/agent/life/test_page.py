from __future__ import annotations

import copy
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from evolutions import ADOPTED, BORN, STORY
from pages import Page
from rich.console import Console
from stories import Story, of

from snn4.agent.life.config import LifeConfig
from snn4.agent.life.kind import title
from snn4.agent.life.life import Life
from snn4.agent.life.page import retention_measure_rows, retention_rows, score_rows, sections, tables
from snn4.agent.run.events import Evaluated, Event
from snn4.agent.show.page import write_page


@dataclass
class Lived:
    events: list[Event]
    summary: dict[str, Any]
    config: LifeConfig


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory, tiny: Callable[..., LifeConfig]) -> Lived:
    """A life in two tasks, of which the first comes back, with its twin."""
    world = (
        "world=[{environment: CartPole-v1, steps: 128, reference: 500}, {environment: Acrobot-v1, steps: 128, "
        "kwargs: {max_episode_steps: 50}}, {environment: CartPole-v1, steps: 128, reference: 500}]"
    )
    life = Life(tiny(world, "ann_twin=true"))
    return Lived(Story(life, tmp_path_factory.mktemp("life")).tell(), life.summary(), life.config)


def test_the_report_of_a_life(lived: Lived, tmp_path: Path) -> None:
    write_page(tmp_path / "r.html", "<a life>", sections(lived.events, lived.summary))
    page = Page((tmp_path / "r.html").read_text())
    for rows in (score_rows(lived.summary), *map(retention_rows, lived.summary["retention"].values())):
        assert all(row in page.rows for row in rows)
    courses = [f"{name}-v1: {what}" for name in ("CartPole", "Acrobot") for what in ("return", "spikes per decision")]
    energies = [f"{name}-v1: return against nJ per decision (45nm fp32 memory)" for name in ("CartPole", "Acrobot")]
    spikes = ["spikes of some neurons of each layer", "mean spike rate of each layer"]
    assert page.pictures == ["SNN: return, %", "ANN twin: return, %", *energies, *spikes, *courses]
    layers = lived.summary["decisions"]["layers"]
    steps = lived.summary["decisions"]["number"] * lived.config.policy.T
    assert [len(layer["spikes"]) for layer in layers] == [steps] * len(lived.config.policy.net_arch)
    assert "<a life>" in page.texts


def test_a_life_that_goes_on(lived: Lived, tmp_path: Path) -> None:
    for n in (0, 1, len(lived.events) // 2, len(lived.events)):
        write_page(tmp_path / "r.html", "x", sections(lived.events[:n], None))
        page = Page((tmp_path / "r.html").read_text())
        met = {task for event in of(Evaluated, lived.events[:n], part="validation") for task in event.scores}
        assert (page.rows, len(page.pictures)) == ([], 2 * len(met))
        assert any("Not tested yet" in text for text in page.texts)


def test_tables_say_what_the_summary_holds(lived: Lived) -> None:
    header, *rows = score_rows(lived.summary)
    assert [row[0] for row in rows] == [f"{t}-v1 {who}" for t in ("CartPole", "Acrobot") for who in ("SNN", "ANN twin")]
    snn = lived.summary["tasks"]["CartPole-v1"]
    assert dict(zip(header, rows[0], strict=True))["return"] == f"{snn['return_mean']:.1f} ± {snn['return_std']:.1f}"
    assert dict(zip(header, rows[0], strict=True))["nJ fp32"] == f"{1e9 * snn['energy_joules']['45nm_fp32']:.3f}"
    assert dict(zip(header, rows[0], strict=True))["nJ int8 memory"] == _nanojoules(snn, "45nm_int8_memory")
    retention = lived.summary["retention"]["organism"]
    header, *after, chance, reference = retention_rows(retention)
    assert header == ["after", "CartPole-v1", "Acrobot-v1"]
    assert [row[0] for row in after] == ["0 CartPole-v1", "1 Acrobot-v1", "2 CartPole-v1"]
    assert (after[0][1:], reference[1]) == ([f"{100 * retention['normalized'][0][0]:.0f}", "-"], "500.0")
    assert chance[1] == f"{retention['chance']['CartPole-v1']:.1f}"


def _nanojoules(row: dict[str, Any], model: str) -> str:
    return f"{1e9 * row['energy_joules'][model]:.3f}"


@pytest.mark.parametrize(("width", "shown"), [(80, False), (120, True)])
def test_a_wide_terminal_shows_energy_with_memory(lived: Lived, width: int, shown: bool) -> None:
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(tables({**lived.summary, "config": {"name": "a life"}, "seed": 0}))
    text = console.export_text()
    row = lived.summary["tasks"]["Acrobot-v1"]
    assert _nanojoules(row, "45nm_int8") in text
    assert (_nanojoules(row, "45nm_int8_memory") in text) == ("nJ int8 memory" in text) == shown
    assert "…" not in text


def test_a_summary_of_before_the_model(lived: Lived, tmp_path: Path) -> None:
    older = copy.deepcopy(lived.summary)
    for key in ("tasks", "ann_twin"):
        for row in older[key].values():
            del row["energy_joules"]["45nm_int8_memory"]
    assert [row[-1] for row in score_rows(older)[1:]] == ["-"] * 4
    write_page(tmp_path / "r.html", "x", sections([], older))
    (header,) = (row for row in Page((tmp_path / "r.html").read_text()).rows if "45nm_int8_memory" in row)
    column = header.index("45nm_int8_memory")
    assert {row[column] for row in Page((tmp_path / "r.html").read_text()).rows if len(row) == len(header)} == {
        "45nm_int8_memory", "-"
    }  # fmt: skip


def test_measures_of_returns(lived: Lived) -> None:
    retention = lived.summary["retention"]
    header, *rows = retention_measure_rows(retention)
    table = {name: values for name, *values in rows}
    assert header == ["", "SNN", "ANN twin"]
    wanted = [f"{100 * row['measures']['average_accuracy']:.2f}" for row in retention.values()]
    assert table["average return, %"] == wanted
    assert table["memory, bytes"] == ["0", "0"]
    older = {being: {"measures": row["measures"]} for being, row in retention.items()}  # as 0.1 wrote it
    assert ["memory, bytes", "-", "-"] in retention_measure_rows(older)


def test_a_life_with_evolution(lived: Lived, tmp_path: Path) -> None:
    write_page(tmp_path / "r.html", "x", sections(STORY, None))
    page = Page((tmp_path / "r.html").read_text())
    assert "return against synaptic operations of all candidates" in page.pictures
    assert any("T 4 → 2, net_arch.0 64 → 12" in row for row in page.rows)
    evolution = {"generations": 2, "candidates": 6, "adopted": ["2"], "genes": ADOPTED, "genes_at_birth": BORN}
    console = Console(width=120, file=io.StringIO(), record=True)
    console.print(tables({**lived.summary, **_ABOUT, "evolution": evolution}))
    assert "2 generations, 6 candidates, 1 adopted" in console.export_text()


_ABOUT = {"seed": 0, "config": {"name": "x"}}


@pytest.mark.parametrize("task", [{}, {"name": ""}, {"name": "CartPole-v1"}])
def test_the_title_of_any_version(task: dict[str, str]) -> None:
    world = [{"environment": "CartPole-v1", **task}, {"environment": "CartPole-v1", "name": "pole"}]
    assert title({"name": "x", "seed": 3, "world": world}) == "x: CartPole-v1, pole, seed 3"
