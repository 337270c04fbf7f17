"""The figures in the documentation are those of the published results."""

from __future__ import annotations

import json
import re
import runpy
from statistics import fmean
from typing import Any

import pytest
from doc_pages import PAGES, ROOT, cells, code_of, text_of

WRITER = runpy.run_path(str(ROOT / "docs" / "write_tables.py"))
CONTINUAL = ROOT / "benchmarks" / "results" / "continual"


@pytest.mark.parametrize("page", WRITER["PAGES"])
def test_tables_are_what_the_commands_print(page: str) -> None:
    text = text_of(f"docs/{page}")
    assert "<!-- begin: " in text
    assert WRITER["written"](text) == text, "python docs/write_tables.py writes the tables again"


def test_the_readme_states_published_numbers() -> None:
    """Each row of README's results names a row of a table in docs/results.md; its numbers are from there."""
    head = "| task or config |"
    lines = (head + text_of("README.md").partition(head)[2].partition("\n\n")[0]).splitlines()
    published = [cells(line) for line in text_of("docs/results.md").splitlines() if line.startswith("| ")]
    assert len(lines) > 6
    for name, *values in map(cells, lines[2:]):
        names = name.split(", ")
        (row,) = (row for row in published if row[: len(names)] == names)
        known = [*row, *(energies(*names) if len(names) == 2 else ())]
        numbers = [number for cell in values for number in re.findall(r"-?\d[\d.]*(?: ± \d[\d.]*)?", cell)]
        assert [number for number in numbers if not any(number in cell for cell in known)] == [], name


def energies(benchmark: str, strategy: str) -> list[str]:
    """Microjoules per decision of the SNN and of its twin, means over seeds; the tables of streams have none."""
    result = json.loads((CONTINUAL / f"{benchmark}.json").read_text(encoding="utf-8"))
    seeds = result["strategies"][strategy]["seeds"]
    return [
        f"{1e6 * fmean(seed[being]['energy_joules']['45nm_fp32'] for seed in seeds):.1f}"
        for being in ("network", "ann_twin")
    ]


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for link in re.findall(r"\]\((?!http)([^)]+)\)", text_of(page)):
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.is_file(), link
        headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE) if anchor else []
        names = [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]
        assert not anchor or anchor in names, link


@pytest.mark.parametrize("page", PAGES)
def test_files_are_there(page: str) -> None:
    """Files of the repository that pages name."""
    folders = "agent|benchmarks|configs|docs|envs|learners|policies|snn4|tests"
    for path in re.findall(rf"`((?:{folders})/[\w/.-]+)`", text_of(page)):
        assert (ROOT / path).exists(), path


def test_imports_are_there() -> None:
    blocks = (block for page in PAGES if "coming_from" not in page for block in code_of(page, "python"))
    for block in blocks:  # those of docs/coming_from need other libraries, and tests/docs runs them
        exec("\n".join(re.findall(r"^(?:from|import) .*$", block, re.MULTILINE)), {})


def test_the_conversion_of_the_documentation() -> None:
    """The block runs as it is written."""
    (block,) = code_of("docs/conversion.md", "python")
    names: dict[str, Any] = {}
    exec(block, names)
    assert (names["scores"].shape, names["by_step"].shape) == ((100, 10), (16, 100, 10))


def test_the_readme_is_short() -> None:
    assert len(text_of("README.md").splitlines()) <= 130
