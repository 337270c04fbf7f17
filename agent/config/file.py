"""The file of a config: find it, read it, override keys, and check it against its dataclass.

All problems of a file are reported at once, one per line.
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
    """All problems of a config, one per line."""

    def __init__(self, source: str, problems: Sequence[str]) -> None:
        super().__init__(source, problems)  # the constructor's arguments, so that it can be pickled
        self.problems = [" ".join(f"{source}: {problem}".splitlines()) for problem in problems]

    def __str__(self) -> str:
        return "\n".join(self.problems)


def read(config: str | Path) -> tuple[dict[str, Any], str]:
    """The mapping in a config's file, and the path of the file."""
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
        raise Unreadable(f"too large, allowed are {BYTES:,} bytes")
    return content.decode("utf-8")


def find(config: str | Path) -> Path:
    """The file ``config``, or else the shipped config of that name."""
    path = Path(config)
    if path.is_file():
        return path
    shipped = {file.stem: file for file in sorted(CONFIGS.glob("*.yaml"))}
    if str(config) in shipped:
        return shipped[str(config)]
    near = get_close_matches(path.stem, shipped, n=1)
    hint = f"did you mean {near[0]}? Shipped" if near else "shipped"
    problem = "is a folder" if str(config) and path.is_dir() else "no such file"
    raise ConfigError(str(config) or "CONFIG", [f"{problem}; {hint} configs are {', '.join(shipped)}"])


def dump(config: Any) -> str:
    """YAML of a config with every field, from which `read` and `checked` give the same config."""
    return write(dataclasses.asdict(config))


def checked(raw: dict[str, Any], source: str, overrides: Sequence[str], root: type) -> Any:
    """The instance of ``root`` in ``raw`` with ``overrides``; raises ConfigError."""
    problems = [*overridden(raw, overrides), *mismatches(raw, root)]
    if problems:
        raise ConfigError(source, problems)
    return built(raw, root)


def overridden(raw: dict[str, Any], overrides: Sequence[str]) -> list[str]:
    """Set every ``key=value`` of ``overrides`` in ``raw``, in place; return the problems."""
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
        yield f"{key}: got {shown(text)}, which is not a YAML value ({error})"
        return
    if not _set(raw, parts, value):
        yield f"{key}: there is no such place to set; lists are counted from 0 (world.0.steps=1000)"


def _set(container: Any, parts: Sequence[str], value: Any) -> bool:
    """Set ``value`` at the place ``parts`` in ``container``, with new mappings where needed; False if impossible."""
    part, *rest = parts
    if isinstance(container, list) and part.isdecimal() and len(part) < 10 and int(part) < len(container):
        key: Any = int(part)
    elif isinstance(container, dict):
        key = part
    else:
        return False
    if rest:
        inner = container[key] if isinstance(container, list) else container.get(key)
        inner = {} if inner is None else inner
        if not _set(inner, rest, value):
            return False
        value = inner
    container[key] = value
    return True
