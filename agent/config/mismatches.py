"""Mismatches between a config and its dataclass: wrong types, failed checks, unknown and missing keys."""

from __future__ import annotations

import copy
import dataclasses
import types
import typing
from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches
from functools import cache
from typing import Any

import pydantic

Place = tuple[str, ...]
"""The keys that lead to a value; an entry of a list is a number from 0."""


def built(raw: dict[str, Any], root: type) -> Any:
    """The instance of ``root`` in ``raw``, which has no `mismatches`."""
    return _adapter(root).validate_python(raw)


def mismatches(raw: dict[str, Any], root: type) -> list[str]:
    """All values that do not fit the types and the checks of ``root``, one line each.

    A dataclass checks its values only once their types are right. So wrong values are recorded and taken out, and the
    rest is checked again until no problem is left.
    """
    rest = copy.deepcopy(raw)
    lines: dict[Place, str] = {}
    taken: set[Place] = set()
    while True:
        try:
            return [*lines.values(), *booleans(rest, built(rest, root))]
        except pydantic.ValidationError as error:
            problems = dict(_line(problem, rest, root) for problem in error.errors(include_url=False))
        for place, line in problems.items():
            lines.setdefault(place, line)
            while place in taken:  # a default cannot be taken out, but the mapping around it can
                place = place[:-1]
            if not place:
                return list(lines.values())
            taken.add(place)
            _take_out(rest, place, root)


def booleans(raw: Any, built: Any, place: str = "") -> Iterator[str]:
    """Problems of true and false in place of numbers: pydantic accepts them as 1 and 0."""
    if isinstance(raw, dict):
        for key, value in raw.items():
            inner = built.get(key) if isinstance(built, dict) else getattr(built, str(key), None)
            yield from booleans(value, inner, f"{place}.{key}".lstrip("."))
    elif isinstance(raw, list) and isinstance(built, (list, tuple)):
        for number, (value, inner) in enumerate(zip(raw, built, strict=True)):
            yield from booleans(value, inner, f"{place}.{number}")
    elif isinstance(raw, bool) and isinstance(built, (int, float)) and not isinstance(built, bool):
        yield f"{place}: got {raw}, allowed is a number"


def shown(value: Any, written: Callable[[Any], str] = repr) -> str:
    """``value`` for a message; of a long one only the beginning."""
    text = written(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def kinds(hint: Any) -> tuple[Any, ...]:
    """The types that ``hint`` allows; several for a union."""
    union = isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union
    return typing.get_args(hint) if union else (hint,)


def dataclass_of(hint: Any) -> type | None:
    """The dataclass that ``hint`` allows, alone or in a list; None without one."""
    inner = [*kinds(hint), *(part for kind in kinds(hint) for part in typing.get_args(kind))]
    return next((kind for kind in inner if isinstance(kind, type) and dataclasses.is_dataclass(kind)), None)


_LONGEST = 100
"""Characters of a value in a message."""
_TOGETHER = {"classes": "experiences"}
"""A key that is taken out together with another one, whose entries it counts."""


@cache
def _adapter(root: type) -> pydantic.TypeAdapter[Any]:
    _forbid_unknown_keys(root)
    return pydantic.TypeAdapter(root)


def _forbid_unknown_keys(config: type) -> None:
    # pydantic ignores unknown keys of a plain dataclass without this attribute; set here, configs need no pydantic.
    config.__pydantic_config__ = pydantic.ConfigDict(extra="forbid", strict=False)  # type: ignore[attr-defined]
    for hint in _hints(config).values():
        if (inner := dataclass_of(hint)) is not None:
            _forbid_unknown_keys(inner)


@cache
def _hints(config: type) -> dict[str, Any]:
    return typing.get_type_hints(config)


def _line(problem: Any, raw: Any, root: type) -> tuple[Place, str]:
    """Place and line of one of pydantic's problems."""
    place = _place(problem, raw)
    if problem["type"] in ("value_error", "assertion_error"):  # raised by the dataclass that holds the key
        field, message = _of_field(str(problem["ctx"]["error"]), _type_at(place, root))
        place = (*place, *field)
    else:
        message = _explain(problem, place, root)
    return place, f"{shown('.'.join(place), str)}: {message}"


def _place(problem: Any, raw: Any) -> Place:
    """The keys of ``raw`` that lead to the problem; pydantic's location also contains names of types."""
    value, place = raw, list[str]()
    for part in problem["loc"]:
        if isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
        elif isinstance(value, dict) and (key := _key(value, str(part))) in value:
            value = value[key]
        else:
            continue
        place.append(str(part))
    if problem["type"] == "missing":
        place.append(str(problem["loc"][-1]))
    return tuple(place)


def _of_field(message: str, hint: Any) -> tuple[Place, str]:
    """The field in front of the ``message`` of a dataclass's own check, and the rest of the message."""
    name, _, rest = message.partition(": ")
    field, config = tuple(name.split(".")), dataclass_of(hint)
    return (field, rest) if config is not None and field[0] in _hints(config) else ((), message)


def _take_out(raw: Any, place: Place, root: type) -> None:
    """Remove the value at ``place``, or replace it where one is required."""
    *path, last = place
    container = raw
    for part in path:
        key = int(part) if isinstance(container, list) else _key(container, part)
        if not isinstance(container, (list, dict)) or (isinstance(container, dict) and key not in container):
            return
        container = container[key]
    hint = _type_at(place, root)
    if isinstance(container, list) and dataclass_of(hint):
        container[int(last)] = _stand_in(hint)
    elif isinstance(container, list):
        _take_out(raw, tuple(path), root)
    elif isinstance(container, dict):
        container.pop(_key(container, last), None)
        container.pop(_TOGETHER.get(last), None)
        config = dataclass_of(_type_at(path, root))
        if config is not None and last in _required(config):
            container[last] = _stand_in(hint)


def _stand_in(hint: Any) -> Any:
    """A substitute for a value that was taken out and has no default."""
    if typing.get_origin(hint) is tuple:
        return [_stand_in(typing.get_args(hint)[0])]
    if (config := dataclass_of(hint)) is not None:
        return {name: _stand_in(_hints(config)[name]) for name in _required(config)}
    return "x" if hint is str else 1


def _required(config: type) -> list[str]:
    missing = dataclasses.MISSING
    fields = dataclasses.fields(config)
    return [field.name for field in fields if field.default is missing and field.default_factory is missing]


def _key(mapping: Any, name: str) -> Any:
    """The key with the text ``name``: in YAML, a key may be a number."""
    return next((key for key in mapping if str(key) == name), name)


def _type_at(place: Sequence[str], root: Any) -> Any:
    """The type of the value at ``place``; Any beyond the dataclasses."""
    hint = root
    for part in place:
        config = dataclass_of(hint)
        if config is not None and not (part.isdecimal() and typing.get_origin(hint) is tuple):
            hint = _hints(config).get(part, Any)
        else:
            hint = next(iter(typing.get_args(hint)), Any)
    return hint


def _explain(problem: Any, place: Place, root: type) -> str:
    got = shown(problem["input"])
    match problem["type"]:
        case "unexpected_keyword_argument":
            return f"unknown key; {_allowed_keys(place, root)}"
        case "missing":
            return "missing, it has no default"
        case "literal_error":
            return f"got {got}, allowed is {problem['ctx']['expected']}"
        case "dataclass_type":
            return f"got {got}, allowed is a mapping of keys to values"
        case "invalid_key":
            return "got a key that is not a text, allowed are texts; put it in quotes"
        case _ if problem["loc"][-1] == "[key]":
            return "got a key that is not a text, allowed are texts; put it in quotes"
        case _:
            return f"got {got}, allowed is {_wanted(problem['msg'])}"


def _allowed_keys(place: Place, root: type) -> str:
    config = dataclass_of(_type_at(place[:-1], root))
    allowed = [] if config is None else [field.name for field in dataclasses.fields(config)]
    near = get_close_matches(place[-1], allowed, n=1)
    return f"{f'did you mean {near[0]}? ' if near else ''}Allowed are {', '.join(allowed)}"


def _wanted(message: str) -> str:
    return message.removeprefix("Input should be ").replace("valid tuple", "list")  # YAML's counterpart
