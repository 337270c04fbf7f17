"""The keys of a config with type, default, allowed values and meaning, derived from the dataclasses themselves."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import itertools
import re
import textwrap
import typing
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from typing import Any, Literal

from rich.table import Table
from rich.text import Text

from snn4.agent.config.document import write_inline
from snn4.agent.config.file import ConfigError
from snn4.agent.config.mismatches import dataclass_of, kinds, shown
from snn4.policies.gene import Gene


@dataclasses.dataclass(frozen=True)
class Key:
    """A key: one line of a table."""

    name: str
    """The full name, as in an override: ``world.0.steps``."""
    type: str
    """In YAML's terms: int, float, text, true or false, list of int, mapping, null."""
    default: str
    """As YAML; ``required`` without a default, empty for a mapping with keys of its own."""
    allowed: str
    """The words of a choice, or the range of evolution, which a config may exceed."""
    meaning: str


COLUMNS = ("key", "type", "default", "allowed", "meaning")


def keys(root: type, key: str = "") -> list[Key]:
    """All keys of the dataclass ``root`` in the order of its fields; with ``key``, this key and those below it.

    Keys of ``options`` depend on the ``name`` beside them, and are listed only if ``key`` contains ``options``.

    Raises:
        ConfigError: there is no such key; suggests the nearest one.
    """
    name = re.sub(r"\.\d+(?=\.|$)", ".0", key)  # all entries of a list have the same keys
    rows = list(_below(root, "", options="options" in name.split(".")))
    chosen = [row for row in rows if f"{row.name}.".startswith(f"{name}.")] if name else rows
    if not chosen:
        raise ConfigError(shown(key, str), [_unknown(name, [row.name for row in rows])])
    return chosen


def _below(config: type, prefix: str, options: bool) -> Iterator[Key]:
    for field in dataclasses.fields(config):
        yield _row(config, field.name, prefix)
        if field.name == "options" and options:
            yield from _options(config, prefix)
        if (inner := dataclass_of(_hints(config)[field.name])) is not None:
            yield from _below(inner, _prefix(config, field.name, prefix), options)


def _prefix(config: type, name: str, prefix: str) -> str:
    """The prefix of the keys below ``name``; in a list, of the keys of its first entry."""
    is_list = any(typing.get_origin(kind) is tuple for kind in kinds(_hints(config)[name]))
    return f"{prefix}{name}.{'0.' if is_list else ''}"


@cache
def _row(config: type, name: str, prefix: str) -> Key:
    field = next(field for field in dataclasses.fields(config) if field.name == name)
    hint = _hints(config)[name]
    inner = dataclass_of(hint)
    meaning = _docstrings(config).get(name) or (inner and inspect.getdoc(inner)) or ""
    return Key(prefix + name, _type(hint), _default(field), _allowed(config, name), _line(meaning))


def _options(config: type, prefix: str) -> Iterator[Key]:
    """The keys of ``options`` for every choice of ``name``; a key of several choices is listed once."""
    names: dict[Key, list[str]] = {}
    for name, entry in _choices(config, "name").items():
        for row in _options_of(entry):
            try:
                config(name=name, options={row.name: getattr(entry, "options", {}).get(row.name)})
            except ValueError:  # not an option: it comes from the data, or from another key
                continue
            names.setdefault(row, []).append(name)
    for row, owners in names.items():
        meaning = f"{row.meaning} ({', '.join(owners)})".strip()
        yield dataclasses.replace(row, name=f"{prefix}options.{row.name}", meaning=meaning)


def _options_of(entry: Any) -> Iterator[Key]:
    """The keys that ``options`` may change in a strategy or in a network's config."""
    if hasattr(entry, "options"):
        for name, value in entry.options.items():
            allowed = ", ".join(entry.choices.get(name, ()))
            yield Key(name, _type(type(value)), write_inline(value), allowed, "")
        return
    owner: type = type(entry)
    for field in dataclasses.fields(owner):
        row = _row(owner, field.name, "")
        yield dataclasses.replace(row, default=_written(getattr(entry, field.name)))


def _unknown(name: str, names: Sequence[str]) -> str:
    near = get_close_matches(name, names, n=1)
    parent = name
    while parent and not any(other.startswith(f"{parent}.") for other in names):
        parent = parent.rpartition(".")[0]
    beside = [other for other in names if other.rpartition(".")[0] in (parent, f"{parent}.0")]
    return f"unknown key; {f'did you mean {near[0]}? ' if near else ''}Allowed are {', '.join(beside)}"


def _type(hint: Any) -> str:
    """A type in YAML's terms."""
    words = {int: "int", float: "float", str: "text", bool: "true or false", type(None): "null"}
    return " or ".join(dict.fromkeys(words.get(kind) or _compound(kind) for kind in kinds(hint)))


def _compound(kind: Any) -> str:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return _type(type(inner[0]))
    if origin is tuple:
        return f"list of {_type(inner[0])}"
    return "mapping"


def _default(field: dataclasses.Field[Any]) -> str:
    value = field.default
    if field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
    return "required" if value is dataclasses.MISSING else _written(value)


def _written(value: Any) -> str:
    return "" if dataclasses.is_dataclass(value) else write_inline(value)


def _allowed(config: type, name: str) -> str:
    """The words of a choice, or the range of a gene."""
    literals = [kind for kind in kinds(_hints(config)[name]) if typing.get_origin(kind) is Literal]
    words = [str(word) for kind in literals for word in typing.get_args(kind)]
    notes = getattr(typing.get_type_hints(config, include_extras=True)[name], "__metadata__", ())
    genes = [f"evolves from {note.low:g} to {note.high:g}" for note in notes if isinstance(note, Gene)]
    return ", ".join(words or _choices(config, name) or genes)


def _choices(config: type, name: str) -> Mapping[str, Any]:
    """The table named in a field's docstring ("One of `DATASETS`."), in its own or another module; else empty."""
    table = re.search(r"[Oo]ne of `(?:([\w.]+)\.)?([A-Z]+)`", _docstrings(config).get(name, ""))
    return getattr(importlib.import_module(table[1] or config.__module__), table[2]) if table else {}


@cache
def _hints(config: type) -> dict[str, Any]:
    return typing.get_type_hints(config)


@cache
def _docstrings(config: type) -> dict[str, str]:
    """The string literal after each field, including inherited fields."""
    texts: dict[str, str] = {}
    for owner in reversed([kind for kind in config.__mro__ if dataclasses.is_dataclass(kind)]):
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
        assert isinstance(definition, ast.ClassDef)
        for statement, following in itertools.pairwise(definition.body):
            match statement, following:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    texts[name] = text
    return texts


def _line(text: str) -> str:
    """The first paragraph of ``text`` in one line."""
    return " ".join(text.partition("\n\n")[0].split())


def table(rows: Sequence[Key]) -> Table:
    """The keys for a terminal."""
    grid = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in COLUMNS:
        grid.add_column(column, overflow="fold", no_wrap=column == "key")
    for row in rows:
        grid.add_row(*map(Text, dataclasses.astuple(row)))
    return grid


def plain(rows: Sequence[Key]) -> str:
    """The keys for a pipe: one per line, with tabs between the columns."""
    return "".join("\t".join(dataclasses.astuple(row)) + "\n" for row in rows)
