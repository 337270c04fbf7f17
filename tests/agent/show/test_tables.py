from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console, RenderableType
from run_folders import events_in
from stories import of

from snn4.agent.evaluation.matrix import retained
from snn4.agent.run.events import Evaluated
from snn4.agent.show.tables import Fitting, heatmap, measure_rows, rich_table


def printed(table: RenderableType, width: int = 80) -> list[str]:
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(table)
    return [line.rstrip() for line in console.export_text().splitlines()]


def test_measures_in_rows(lived: Path) -> None:
    rows = {being: of(Evaluated, events_in(lived), being=being) for being in ("network", "ann_twin")}
    header, *body = measure_rows({being: retained(own) for being, own in rows.items()})
    assert header == ["", "SNN", "ANN twin"]
    table = {name: values for name, *values in body}
    averages = [f"{100 * retained(own)['average_accuracy']:.2f}" for own in rows.values()]
    assert table["average accuracy, %"] == averages
    assert measure_rows({"network": retained(rows["network"][:1])})[1] == ["average accuracy, %", "-"]
    assert "spikes per decision" not in table  # what a decision costs is known when it was summed up


def test_costs_in_rows_of_any_version(lived: Path) -> None:
    matrix = retained(of(Evaluated, events_in(lived), being="network"))
    cost = {"spikes_per_decision": 5.0, "energy_joules": {"45nm_fp32": 2e-9, "45nm_int8": 1e-9}}  # as 0.1 wrote it
    new = {**cost, "energy_joules": {**cost["energy_joules"], "45nm_int8_memory": 3e-9}}
    table = {name: values for name, *values in measure_rows({"network": matrix | new, "ann_twin": matrix | cost})}
    assert table["45nm_int8 J per decision"] == ["1 n", "1 n"]
    assert table["45nm_int8_memory J per decision"] == ["3 n", "-"]


def test_a_matrix_in_colours() -> None:
    """What is learned stands on its colour, what is not yet stands on none."""
    console = Console(width=100, force_terminal=True, color_system="truecolor")
    parts = list(console.render(heatmap([[0.5, 0.0], [1.0, 0.5], [0.0, 1.0]], "SNN")))
    grounds = [part.style.bgcolor.triplet for part in parts if part.style and part.style.bgcolor]
    assert grounds == [(253, 231, 37), (68, 1, 84), (253, 231, 37)]


@pytest.mark.parametrize(("width", "form"), [(80, "long heading"), (12, "short")])
def test_the_first_form_that_fits(width: int, form: str) -> None:
    forms = [["long heading", "1"], ["a name", "22"]], [["short", "1"], ["a", "22"]]
    assert printed(Fitting("", *forms), width)[1].strip().startswith(form)


def test_a_line_above_the_last_rows() -> None:
    lines = printed(rich_table([["[x]", "n"], ["a", "1"], ["b", "22"], ["c", "3"]], "title", apart=1))
    assert "[x]" in lines[2]
    assert [line[:1] for line in lines[4:8]] == ["│", "│", "├", "│"]
