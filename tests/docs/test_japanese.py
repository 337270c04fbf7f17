"""README.ja.md says what README.md and docs/plan.md say: the same commands, figures and links."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import PurePosixPath

import pytest
from doc_pages import code_of, numbers, tables_of, text_of

ENGLISH, JAPANESE, PLAN = "README.md", "README.ja.md", "docs/plan.md"


def test_the_first_commands_are_the_same() -> None:
    assert code_of(JAPANESE, "bash")[0] == code_of(ENGLISH, "bash")[0]


def test_the_pictures_are_the_same() -> None:
    pictures = re.compile(r"!\[[^]]*\]\(([^)]*)\)")
    assert pictures.findall(text_of(JAPANESE)) == pictures.findall(text_of(ENGLISH))


def test_the_results_are_the_same() -> None:
    english, japanese = (table_with(page, "CartPole-v1") for page in (ENGLISH, JAPANESE))
    assert [(row[0], *map(numbers, row)) for row in japanese] == [(row[0], *map(numbers, row)) for row in english]


def test_every_command_is_there() -> None:
    """The list of commands in README.md is a table here."""
    (listed,) = (block for block in code_of(ENGLISH, "bash") if "snn4-agent doctor" in block)
    commands = [line.partition("#")[0].strip() for line in listed.splitlines() if line.startswith("snn4-agent ")]
    assert [row[0] for row in table_with(JAPANESE, "`snn4-agent doctor`")] == [f"`{command}`" for command in commands]


def test_the_plan_is_the_same() -> None:
    english, japanese = next(tables_of(PLAN)), table_with(JAPANESE, "`train.py --backend`")
    assert len(english) == len(japanese)
    for one, other in zip(english, japanese, strict=True):
        assert other[1] == one[1]  # the command
        assert sorted(numbers(other[2])) == sorted(numbers(one[2])), one[0]
        assert list(targets(other[3], JAPANESE)) == list(targets(one[3], PLAN))


@pytest.mark.parametrize("page", [JAPANESE, PLAN])
def test_the_pages_know_each_other(page: str) -> None:
    assert {JAPANESE: PLAN, PLAN: JAPANESE}[page] in targets(text_of(page), page)


def table_with(page: str, first: str) -> list[list[str]]:
    """The table whose rows have ``first`` among their first cells."""
    (table,) = (table for table in tables_of(page) if first in [row[0] for row in table])
    return table


def targets(text: str, page: str) -> Iterator[str]:
    """Where the links of ``text`` on ``page`` lead, as paths in the repository."""
    for link in re.findall(r"\]\((?!http)([^)#]+)", text):
        yield os.path.normpath(PurePosixPath(page).parent / link)
