from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from evolutions import ADOPTED, BORN, FIRST, STORY, T, row, told
from pages import Page
from rich.console import Console

from snn4.agent.run.events import Event
from snn4.agent.show import evolution_charts as charts
from snn4.agent.show.evolution_page import gene_rows, lineage_rows, sections, tables
from snn4.agent.show.generations import Generations, Objectives
from snn4.agent.show.page import write_page

SVG = "{http://www.w3.org/2000/svg}"
SCATTER, IMPORTANCE = "return against synaptic operations of all candidates", "importance of genes"


def page(events: list[Event], tmp_path: Path) -> Page:
    write_page(tmp_path / "r.html", "x", sections(events))
    return Page((tmp_path / "r.html").read_text())


def words(svg: str) -> set[str]:
    return {"".join(text.itertext()).strip() for text in ElementTree.fromstring(svg).iter(f"{SVG}text")}


def test_the_page_of_an_evolution(tmp_path: Path) -> None:
    read = page(STORY, tmp_path)
    assert read.pictures == [SCATTER, IMPORTANCE]
    assert len(read.ids) == len(set(read.ids))
    assert "2 generations, 6 candidates, 1 adopted, 1 stopped." in read.texts
    generations = Generations(STORY)
    assert read.rows == lineage_rows(generations, Objectives.of(generations))


@pytest.mark.parametrize(("events", "pictures"), [(0, []), (3, []), (4, []), (5, [SCATTER]), (6, [SCATTER])])
def test_the_page_grows_with_the_evolution(events: int, pictures: list[str], tmp_path: Path) -> None:
    read = page(STORY[:events], tmp_path)
    assert read.pictures == pictures
    assert ("Lineage" in read.texts) == (events > 3)


def test_the_lineage() -> None:
    generations = Generations(STORY)
    assert lineage_rows(generations, Objectives.of(generations)) == [
        ["generation", "task", "age", "adopted", "genes", "return", "synaptic operations", "reason"],
        ["0", "CartPole-v1", "1,000", "candidate 2", "T 4 → 2, net_arch.0 64 → 12", "100.0 → 400.0", "1,600 → 30.0",
         "return 100 -> 400"],
        ["1", "CartPole-v1", "2,000", "-", "-", "390.0", "31.0", "no candidate is better beyond the noise"],
    ]  # fmt: skip
    begun = Generations(FIRST[:1])
    assert lineage_rows(begun, Objectives.of(begun))[1][3:] == ["-", "-", "-", "asleep"]


def test_an_evolution_without_an_organism_and_with_one_objective(tmp_path: Path) -> None:
    rows = [row(n, {T: n}, float(n)) for n in range(5)]
    for own in rows:
        del own["scores"]["synaptic_operations"]
    read = page([dataclasses.replace(told(0, rows, {T: 4}, adopted=4), being="network")], tmp_path)
    assert read.pictures == [IMPORTANCE]
    assert read.rows[1][3:6] == ["candidate 4", "-", "4.0"]


def test_every_cost_has_a_picture(tmp_path: Path) -> None:
    rows = [row(n, {T: n}, float(n), 2.0) for n in range(3)]
    for own in rows:
        own["scores"]["energy"] = 1e-9
    assert page([told(0, rows, {T: 4})], tmp_path).pictures == [SCATTER, "return against energy of all candidates"]


def test_the_picture_of_candidates() -> None:
    generations = Generations(STORY)
    drawn = charts.draw_candidates(generations, "return", "synaptic_operations")
    assert {"candidate", "front", "adopted", "genes at birth", "generation", "return"} <= words(drawn)
    assert {"100", "1,000"} <= words(drawn)  # powers of ten in plain numbers
    assert "generation" not in words(charts.draw_candidates(Generations(FIRST), "return", "synaptic_operations"))
    assert drawn.count("currentColor") > 10  # its ink is that of the page


def test_the_front_is_drawn_through_the_candidates_that_no_other_one_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[Any] = []
    monkeypatch.setattr(charts, "svg", lambda draw, *_: lines.extend(_lines(draw)))
    charts.draw_candidates(Generations(STORY), "return", "synaptic_operations")
    assert lines == [[[10.0, 300.0], [30.0, 400.0]]]


def _lines(draw: Any) -> list[Any]:
    from matplotlib.figure import Figure

    figure = Figure(layout="constrained")
    draw(figure)
    return [line.get_xydata().tolist() for line in figure.axes[0].lines]


# Tables


def printed(evolution: dict[str, Any]) -> str:
    console = Console(width=100, file=io.StringIO(), record=True)
    console.print(tables(evolution))
    return console.export_text()


def test_genes_at_birth_and_now() -> None:
    evolution = {"generations": 2, "candidates": 6, "adopted": ["2"], "genes": ADOPTED, "genes_at_birth": BORN}
    assert gene_rows(evolution) == [["gene", "at birth", "now"], ["T", "4", "2"], ["net_arch.0", "64", "12"]]
    output = printed(evolution)
    assert "evolution: 2 generations, 6 candidates, 1 adopted\n" in output
    assert "net_arch.0" in output


def test_an_evolution_that_has_changed_no_gene() -> None:
    evolution = {"generations": 1, "candidates": 6, "adopted": [], "genes": BORN, "genes_at_birth": BORN}
    assert printed(evolution).strip() == "evolution: 1 generation, 6 candidates, 0 adopted; all genes are as at birth"
