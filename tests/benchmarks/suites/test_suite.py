"""The flow that all suites share, with a suite that only counts."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from snn4.agent.config.file import ConfigError
from snn4.benchmarks.publishing import RESULTS
from snn4.benchmarks.suites.suite import Cell, Order, measured, planned, read_results


class Counting:
    """Its rows say which cell they are of, and the how-many-eth call."""

    FOLDER = Path("published/counting")
    GROUPS: Mapping[str, Sequence[str]] = {"letters": ("a", "b"), "digits": ("1",)}
    QUICK: Mapping[str, Sequence[str]] = {"a": ("steps=3",)}
    VARIED: Sequence[str] = ()

    def __init__(self, broken: str = "") -> None:
        self.broken, self.calls = broken, 0

    def result_of(self, cell: Cell) -> str:
        if cell.source == "nosuch":
            raise ConfigError("nosuch", ["no such file"])
        names = [change for change in cell.changes if change.startswith("name=")]
        return (names[0].removeprefix("name=") if names else cell.source) + cell.variant

    def measure(self, cell: Cell, runs: Path) -> dict[str, Any]:
        if cell.source == self.broken:
            raise KeyboardInterrupt
        self.calls += 1
        return {"seed": cell.seed, "changes": cell.overrides, "call": self.calls, "runs": str(runs)}

    def summary(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        return {"seeds": [row["seed"] for row in rows]}

    def table(self, results: Iterable[dict[str, Any]]) -> str:
        return "\n".join(result["config"] for result in results)


def silent() -> Console:
    return Console(file=io.StringIO())


def test_cells_are_sources_times_changes_times_seeds(tmp_path: Path) -> None:
    order = Order(["letters", "x"], ["k=1"], ["m=A,B", "n=1,2"], seeds=2, runs=tmp_path)
    cells = planned(Counting(), order).cells
    assert len(cells) == 3 * 4 * 2
    assert list(cells.values())[:2] == ["a-A-1"] * 2
    assert next(iter(cells)).overrides == ["k=1", "m=A", "n=1", "seed=0"]
    assert [cell.source for cell in planned(Counting(), Order(seeds=1)).cells] == ["a", "b", "1"]


def test_each_result_is_a_file_with_its_origin(tmp_path: Path) -> None:
    suite = Counting()
    results = measured(planned(suite, Order(["a", "b"], runs=tmp_path, seeds=2)), silent())
    assert read_results(tmp_path / "results" / "counting") == results
    assert [(result["config"], result["summary"]) for result in results] == [
        ("a", {"seeds": [0, 1]}),
        ("b", {"seeds": [0, 1]}),
    ]
    assert {"command", "commit_hash", "versions", "machine"} <= set(results[0])
    assert {row["runs"] for row in results[0]["seeds"]} == {str(tmp_path)}


def test_what_is_measured_before_an_interruption_is_kept(tmp_path: Path) -> None:
    plan = planned(Counting(broken="b"), Order(["a", "b"], runs=tmp_path, seeds=1))
    with pytest.raises(KeyboardInterrupt):
        measured(plan, silent())
    (path,) = (tmp_path / "results" / "counting").iterdir()
    assert json.loads(path.read_text())["config"] == "a"


def test_quick_measures_small_cells_in_a_place_of_their_own(tmp_path: Path) -> None:
    (result,) = measured(planned(Counting(), Order(quick=True, runs=tmp_path)), silent())
    (row,) = result["seeds"]
    assert row["changes"] == ["steps=3", "seed=0"]
    assert row["runs"] == str(tmp_path / "quick")
    assert (tmp_path / "quick" / "results" / "counting" / "a.json").is_file()
    with pytest.raises(ConfigError, match=r"^--quick: got 1, b, allowed are a$"):
        planned(Counting(), Order(["digits", "b", "a"], quick=True))
    with pytest.raises(
        ConfigError, match=r"^--quick: got --results-dir .*, allowed is no folder of published results$"
    ):
        planned(Counting(), Order(quick=True, results=RESULTS))


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (Order(["nosuch"]), r"^nosuch: no such file$"),
        (Order(["a"], vary=["k"]), r"^--vary: got 'k', allowed is KEY=A,B,…$"),
        (Order(["a"], vary=["=1"]), r"^--vary: got '=1', allowed is KEY=A,B,…$"),
        (Order(["a", "b"], ["name=same"]), r"^name: got same for a and b, allowed is one config a name"),
    ],
)
def test_what_cannot_be_measured_shows_before_anything_runs(order: Order, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        planned(Counting(), order)


def test_progress_has_a_line_for_each_cell(tmp_path: Path) -> None:
    file = io.StringIO()
    measured(planned(Counting(), Order(["a"], runs=tmp_path, seeds=2)), Console(file=file))
    assert file.getvalue().splitlines() == ["a, seed 0: 1 of 2, ETA unknown", "a, seed 1: 2 of 2, ETA unknown"]
    file = io.StringIO()
    measured(planned(Counting(), Order(["a"], runs=tmp_path)), Console(file=file, force_terminal=True, width=100))
    assert "3/3" in file.getvalue()


@pytest.mark.parametrize("content", ["{", "[]", '{"config": "x", "seeds": []}'])
def test_damaged_results_are_named(content: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(ConfigError, match=r"a.json: is no result file"):
        read_results(tmp_path)
