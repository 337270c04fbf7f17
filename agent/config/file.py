"""The file of a config: found, read, overridden and checked against the dataclass that describes it.

Every problem of a file is found at once and told in one line.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from snn4.agent.config.document import BYTES, DEPTH, Unreadable, parse, write
from snn4.agent.config.mismatches import built as built
from snn4.agent.config.mismatches import mismatches as mismatches
from snn4.agent.config.mismatches import shown
from snn4.agent.errors import BadInput

CONFIGS = Path(__file__).parents[2] / "configs"


class ConfigError(BadInput):
    """Every problem of a config, one a line."""

    def __init__(self, source: str, problems: Sequence[str]) -> None:
        super().__init__(source, problems)  # what it is made of, so that processes can hand it to one another
        self.problems = [" ".join(f"{source}: {problem}".splitlines()) for problem in problems]

    def __str__(self) -> str:
        return "\n".join(self.problems)


def read(config: str | Path) -> tuple[dict[str, Any], str]:
    """The mapping in a config's file, and the file."""
    path = find(config)
    try:
        raw = parse(_text(path))
    except (OSError, UnicodeDecodeError, Unreadable) as error:
        raise ConfigError(str(path), [f"cannot be read: {error}"]) from error
    if not isinstance(raw, dict):
        raise ConfigError(str(path), [f"got {type(raw).__name__}, allowed is a mapping of keys to values"])
    return raw, str(path)


def _text(path: Path) -> str:
    with path.open("rb") as file:
        content = file.read(BYTES + 1)
    if len(content) > BYTES:
        raise Unreadable(f"it is too large, allowed are {BYTES:,} bytes")
    return content.decode("utf-8")


def find(config: str | Path) -> Path:
    """The file that ``config`` names, or the shipped config of that name."""
    path = Path(config)
    if path.is_file():
        return path
    shipped = {file.stem: file for file in sorted(CONFIGS.glob("*.yaml"))}
    if str(config) in shipped:
        return shipped[str(config)]
    near = get_close_matches(path.stem, shipped, n=1)
    hint = f"did you mean {near[0]}? Shipped" if near else "shipped"
    what = "is a folder" if str(config) and path.is_dir() else "no such file"
    raise ConfigError(str(config) or "CONFIG", [f"{what}; {hint} configs are {', '.join(shipped)}"])


def dump(config: Any) -> str:
    """YAML of a config with every field written out, which `load` reads to the same config."""
    return write(dataclasses.asdict(config))


def checked(raw: dict[str, Any], source: str, overrides: Sequence[str], root: type) -> Any:
    """The ``root`` that ``raw`` with ``overrides`` describes; raises ConfigError."""
    problems = [*overridden(raw, overrides), *mismatches(raw, root)]
    if problems:
        raise ConfigError(source, problems)
    return built(raw, root)


def overridden(raw: dict[str, Any], overrides: Sequence[str]) -> list[str]:
    """Set every ``key=value`` of ``overrides`` in ``raw``, in place; what can't be set is told."""
    return [problem for override in overrides for problem in _override(raw, override)]


def _override(raw: dict[str, Any], override: str) -> Iterator[str]:
    key, equals, text = override.partition("=")
    if not equals or not key:
        yield f"{override}: got no {'key' if equals else repr('=')}, allowed is key=value, for instance seed=3"
        return
    parts = key.split(".")
    if not all(parts) or len(parts) > DEPTH:
        yield f"{shown(key, str)}: allowed are 1 to {DEPTH} names or numbers with dots between them"
        return
    try:
        value = parse(text)
    except Unreadable as error:
        yield f"{key}: got {shown(text)}, which is no YAML value ({error})"
        return
    if not _set(raw, parts, value):
        yield f"{key}: there is no such place to set; lists are counted from 0 (world.0.steps=1000)"


def _set(here: Any, parts: Sequence[str], value: Any) -> bool:
    """Whether there is such a place in ``here``, which then holds ``value``; mappings that are missing are made."""
    part, *rest = parts
    if isinstance(here, list) and part.isdecimal() and len(part) < 10 and int(part) < len(here):
        key: Any = int(part)
    elif isinstance(here, dict):
        key = part
    else:
        return False
    if not rest:
        here[key] = value
        return True
    inner = here[key] if isinstance(here, list) else here.get(key)
    inner = {} if inner is None else inner
    if not _set(inner, rest, value):
        return False
    here[key] = inner
    return True
