"""The figures in the documentation are those of the published results."""

from __future__ import annotations

import re
import shlex
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from snn4.agent.config.file import find
from snn4.benchmarks.cli import app
from snn4.benchmarks.leaderboard.pages import TABLES, by_suite
from snn4.benchmarks.records import RESULTS, read_records

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "CONTRIBUTING.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")))


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


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


def test_commands_and_imports_are_there() -> None:
    texts = "\n".join(map(text_of, PAGES))
    names = [command.name or command.callback.__name__ for command in app.registered_commands if command.callback]
    names += [str(group.name) for group in app.registered_groups]
    known = {name.replace("_", "-") for name in names}
    for command, argument in re.findall(
        r"^(?:\| .*`)?snn4-agent ([a-z][a-z-]*)(?: ([a-z]\w*)\b(?![/-]))?", texts, re.MULTILINE
    ):
        assert command in known, command
        if argument and command in ("run", "train", "world"):
            find(argument)
    for block in re.findall(r"^```python\n(.*?)^```", texts, re.MULTILINE | re.DOTALL):
        exec("\n".join(re.findall(r"^(?:from|import) .*$", block, re.MULTILINE)), {})


def test_the_conversion_of_the_documentation() -> None:
    """The block runs as it is written."""
    (block,) = re.findall(r"^```python\n(.*?)^```", text_of("docs/conversion.md"), re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    exec(block, names)
    assert (names["scores"].shape, names["by_step"].shape) == ((100, 10), (16, 100, 10))


def test_the_readme_is_short() -> None:
    assert len(text_of("README.md").splitlines()) <= 130
