"""The pages of the documentation, as text and as tables."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = (
    "README.md",
    "README.ja.md",
    "CONTRIBUTING.md",
    *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")),
)
"""Paths in the repository."""


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def code_of(page: str, language: str) -> list[str]:
    """The code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text_of(page), re.MULTILINE | re.DOTALL)


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("| ").split("|")]


def tables_of(page: str) -> Iterator[list[list[str]]]:
    """The rows of each table, without its head."""
    for lines in re.findall(r"^\|.*\n\| ?-.*\n((?:\|.*\n)+)", text_of(page), re.MULTILINE):
        yield [cells(line) for line in lines.splitlines()]


def numbers(text: str) -> list[str]:
    """The numbers in a text, with their spreads."""
    return [number.strip(".,") for number in re.findall(r"-?\d[\d.,]*(?: ± \d[\d.]*)?", text)]
