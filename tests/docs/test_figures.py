"""What the recipes and the plan claim stands in a published table."""

from __future__ import annotations

import re

import pytest
from doc_pages import ROOT, numbers, tables_of, text_of

PUBLISHED = [
    line
    for page in ("results", "compression", "export", "speed", "c", "spinnaker")
    for line in text_of(f"docs/{page}.md").splitlines()
    if line.startswith("|")
]


def published(claim: str) -> bool:
    """Whether one row of a published table has all figures of ``claim``: the numbers with a decimal point."""
    figures = [number for number in numbers(claim) if "." in number]
    return any(all(figure in line for figure in figures) for line in PUBLISHED)


@pytest.mark.parametrize("table", range(2))
def test_the_plan_quotes_results(table: int) -> None:
    rows = list(tables_of("docs/plan.md"))[table]
    assert len(rows) >= 5
    for item, _, result, file in rows:
        for claim in result.split(";"):
            assert published(claim), f"{item}: {claim}"
        assert re.search(r"\]\(", file), item


def test_recipes_quote_results() -> None:
    rows = [row for table in tables_of("docs/recipes.md") for row in table]
    assert len(rows) > 20
    for row in rows:
        assert published(" ".join(row[1:])), row


def test_a_wrong_figure_is_found() -> None:
    assert published("99.54 ± 0.16 %, ANN twin 99.63 ± 0.16 %")
    assert not published("99.54 ± 0.17 %")
    assert not published("99.54 ± 0.16 %, ANN twin 92.15 %")  # each stands in a table, but not in one row


def test_the_site_has_every_config_of_the_recipes() -> None:
    configs = {path.stem for path in (ROOT / "configs").glob("*.yaml")}
    assert (
        set(re.findall(r"^snn4-agent (?:run|distill) ([a-z]\w*)\b(?![/-])", text_of("docs/recipes.md"), re.M))
        <= configs
    )
