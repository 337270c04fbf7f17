"""The command line accepts every command that stands in the documentation."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from doc_pages import PAGES, text_of

from snn4.agent.config.file import find
from snn4.benchmarks.cli import app

COMMANDS: Any = typer.main.get_command(app)
COMMAND = re.compile(r"^(?:\$ )?snn4-agent (.*)$|`snn4-agent ([^`]*)`", re.MULTILINE)


@pytest.mark.parametrize("page", PAGES)
def test_options_and_configs_exist(page: str) -> None:
    for words in commands(page):
        context = parse(words)
        config = "" if context is None else context.params.get("config", "")
        if re.fullmatch(r"[a-z]\w*", config) and words[0] != "config":  # its argument is a key
            find(config)


@pytest.mark.slow  # reads a config for each of them
@pytest.mark.parametrize("page", PAGES)
def test_keys_exist(page: str) -> None:
    from snn4.agent import command_configs

    for words in commands(page):
        context = parse(words) if words[0] in ("run", "train", "distill") else None
        if context is None:
            continue
        given = context.params
        overrides = given["overrides"] or []
        if re.search(r"…|CONFIG|SOURCE|/|\.yaml", " ".join([given["config"], *overrides])):
            continue
        shorthands = {"backend": given["backend"], "teacher": command_configs.listed(given.get("teacher"))}
        command_configs.read_config(given["config"], overrides, shorthands)


def test_a_wrong_option_is_found() -> None:
    with pytest.raises(Exception, match="--stpes"):
        parse(["convert", "runs/digits", "--stpes", "8"])


def commands(page: str) -> Iterator[list[str]]:
    """Each command of a page, as words without ``snn4-agent``."""
    text = text_of(page).replace("\\\n", " ")
    for found in COMMAND.finditer(text):
        words = words_of(found[1] or found[2] or "", text[found.end() :])
        if words and not words[0].startswith("-") and not {"[KEY=VALUE", "[KEY]", "…"} & set(words):
            yield words


def words_of(command: str, rest: str) -> list[str]:
    try:
        return shlex.split(command, comments=True)
    except ValueError:  # a quotation goes on in the next lines
        return shlex.split(command + rest.partition("'")[0] + "'", comments=True)


def parse(words: list[str]) -> typer.Context | None:
    """The arguments and options of a command, which is not run; None where the text names a command without them."""
    command = COMMANDS
    while hasattr(command, "commands"):
        if not words:
            return None
        if words[0].startswith("-"):  # the group is a command itself
            break
        assert words[0] in command.commands, words[0]
        command, words = command.commands[words[0]], words[1:]
    try:
        return command.make_context(command.name, list(words))
    except Exception as error:
        if type(error).__name__ == "MissingParameter":
            return None
        raise
