"""The figures in the documentation are those of the published results."""

from __future__ import annotations

import re
import shlex
import sys
from importlib import import_module
from typing import Any

import pytest
from doc_pages import PAGES, ROOT, code_of, text_of

from snn4.benchmarks.cli import app
from snn4.benchmarks.leaderboard.pages import TABLES, by_suite
from snn4.benchmarks.records import RESULTS, read_records


@pytest.mark.parametrize("marker", [marker for marker in TABLES if not marker.endswith(".json")])
def test_tables_are_what_the_commands_print(
    marker: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program, *arguments = shlex.split(marker)
    if program == "snn4-agent":
        app(arguments, standalone_mode=False)
    else:
        _, module, *options = arguments
        monkeypatch.setattr(sys, "argv", [module, *options])
        import_module(module).main()
    assert capsys.readouterr().out.strip() == TABLES[marker](by_suite(read_records(RESULTS)))


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
