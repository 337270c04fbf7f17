"""The file of a config: found, read, overridden and checked against the dataclass that describes it.

The only importer of pydantic and yaml. Every problem of a file is found at once and told in one line.
"""

from __future__ import annotations

import copy
import dataclasses
import re
import typing
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

import pydantic
import yaml

from snn4.agent.errors import BadInput

CONFIGS = Path(__file__).parents[2] / "configs"


class ConfigError(BadInput):
    """Every problem of a config, one a line."""

    def __init__(self, source: str, problems: Sequence[str]) -> None:
        super().__init__(source, problems)  # what it is made of, so that processes can hand it to one another
        self.problems = [f"{source}: {problem}" for problem in problems]

    def __str__(self) -> str:
        return "\n".join(self.problems)


def read(config: str | Path) -> tuple[dict[str, Any], str]:
    """The mapping in a config's file, and the file."""
    path = find(config)
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(str(path), [f"cannot be read: {' '.join(str(error).split())}"]) from error
    if not isinstance(raw, dict):
        raise ConfigError(str(path), [f"got {type(raw).__name__}, allowed is a mapping of keys to values"])
    return raw, str(path)


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
    return yaml.dump(_plain(dataclasses.asdict(config)), Dumper=_Dumper, sort_keys=False)


class _Loader(yaml.SafeLoader):
    """YAML 1.2 numbers: 1e-3 is a float, as people write it in papers."""


class _Dumper(yaml.SafeDumper):
    """Quotes texts that `_Loader` would take for numbers."""


for _yaml in (_Loader, _Dumper):
    _yaml.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d[\d_]*)(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
    )


def checked(raw: dict[str, Any], source: str, overrides: Sequence[str], root: type) -> Any:
    """The ``root`` that ``raw`` with ``overrides`` describes; raises ConfigError."""
    problems = [*overridden(raw, overrides), *mismatches(raw, root)]
    if problems:
        raise ConfigError(source, problems)
    return built(raw, root)


def built(raw: dict[str, Any], root: type) -> Any:
    """The ``root`` that ``raw`` describes, which has no `mismatches`."""
    return _adapter(root).validate_python(raw)


def overridden(raw: dict[str, Any], overrides: Sequence[str]) -> list[str]:
    """Set every ``key=value`` of ``overrides`` in ``raw``, in place; what can't be set is told."""
    return [problem for override in overrides for problem in _override(raw, override)]


def _forbid_unknown_keys(config: type) -> None:
    # pydantic ignores unknown keys of plain dataclasses unless they carry this; they themselves need not know pydantic.
    config.__pydantic_config__ = pydantic.ConfigDict(extra="forbid", strict=False)  # type: ignore[attr-defined]
    for hint in typing.get_type_hints(config).values():
        for inner in (hint, *typing.get_args(hint)):
            if dataclasses.is_dataclass(inner) and isinstance(inner, type):
                _forbid_unknown_keys(inner)


@cache
def _adapter(root: type) -> pydantic.TypeAdapter[Any]:
    _forbid_unknown_keys(root)
    return pydantic.TypeAdapter(root)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _override(raw: dict[str, Any], override: str) -> Iterator[str]:
    key, equals, text = override.partition("=")
    if not equals or not key:
        yield f"{override}: got no {'key' if equals else repr('=')}, allowed is key=value, for instance seed=3"
        return
    *parents, last = key.split(".")
    here: Any = raw
    try:
        for parent in parents:
            here = here[int(parent)] if isinstance(here, list) else here.setdefault(parent, {})
        here[int(last) if isinstance(here, list) else last] = yaml.load(text, _Loader)
    except (ValueError, IndexError, TypeError, AttributeError):
        yield f"{key}: there is no such place to set; lists are counted from 0 (world.0.steps=1000)"
    except yaml.YAMLError as error:
        yield f"{key}: got {text!r}, which is no YAML value ({' '.join(str(error).split())})"


def mismatches(raw: dict[str, Any], root: type) -> list[str]:
    """What does not fit the types and the checks of ``root``.

    A dataclass checks its values only once their types are right, so what is wrong is told, taken out, and the rest
    checked again until nothing new is found.
    """
    rest, taken = copy.deepcopy(raw), set[tuple[str, ...]]()
    found: list[str] = []
    while True:
        try:
            return [*found, *_booleans(rest, built(rest, root))]
        except pydantic.ValidationError as error:
            places = {_place(e): e for e in error.errors() if _place(e) not in taken}
        if not places:
            return found
        for place, e in places.items():
            found.append(_explain(e, ".".join(place), root))
            taken.add(place)
            _take_out(rest, place)


def _booleans(raw: Any, built: Any, place: str = "") -> Iterator[str]:
    """Problems of true and false in the place of numbers: pydantic takes them for 1 and 0."""
    if isinstance(raw, dict):
        for key, value in raw.items():
            inner = built.get(key) if isinstance(built, dict) else getattr(built, str(key), None)
            yield from _booleans(value, inner, f"{place}.{key}".lstrip("."))
    elif isinstance(raw, list) and isinstance(built, (list, tuple)):
        for number, (value, inner) in enumerate(zip(raw, built, strict=True)):
            yield from _booleans(value, inner, f"{place}.{number}")
    elif isinstance(raw, bool) and isinstance(built, (int, float)) and not isinstance(built, bool):
        yield f"{place}: got {raw}, allowed is a number"


def _place(error: Any) -> tuple[str, ...]:
    # pydantic also names types on the way ("learner", "LearnerConfig", "algorithm"), which are no keys of the file.
    *way, last = (str(part) for part in error["loc"]) if error["loc"] else ("",)
    place = (*(part for part in way if part != "LearnerConfig"), *((last,) if last else ()))
    if error["type"] == "value_error":  # raised by the dataclass that holds the key, or holds what holds it
        place += tuple(str(error["ctx"]["error"]).partition(":")[0].split("."))
    return place


_REQUIRED: dict[str, Any] = {"name": "x", "environment": "x", "steps": 1, "world": [{"environment": "x", "steps": 1}]}
"""What stands in for a value that was taken out and has no default."""
_TOGETHER = {"classes": "experiences"}
"""What is taken out with a value, as it counts it."""


def _take_out(here: Any, place: Sequence[str]) -> None:
    *parents, last = place
    for parent in parents:
        here = here[int(parent)] if isinstance(here, list) else here[_key(here, parent)]
    if isinstance(here, dict):
        here.pop(_key(here, last), None)
        here.pop(_TOGETHER.get(last), None)
        if last in _REQUIRED and place[0] in _REQUIRED:  # data.name and network.name have defaults
            here[last] = _REQUIRED[last]


def _key(mapping: dict[Any, Any], name: str) -> Any:
    """The key that is written ``name``: YAML also has keys that are numbers."""
    return next((key for key in mapping if str(key) == name), name)


def _explain(error: Any, place: str, root: type) -> str:
    match error["type"]:
        case "unexpected_keyword_argument":
            *parents, key = place.split(".")
            allowed = [f.name for f in dataclasses.fields(_type_at(parents, root))]
            near = get_close_matches(key, allowed, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            return f"{place}: unknown key; {hint}Allowed are {', '.join(allowed)}"
        case "missing":
            return f"{place}: missing, it has no default"
        case "value_error":
            return f"{place}: {str(error['ctx']['error']).partition(': ')[2]}"
        case "literal_error":
            return f"{place}: got {error['input']!r}, allowed is {error['ctx']['expected']}"
        case "dataclass_type":
            return f"{place}: got {error['input']!r}, allowed is a mapping of keys to values"
        case _:
            return f"{place}: got {error['input']!r}, allowed is {_wanted(error['msg'])}"


def _wanted(message: str) -> str:
    return message.removeprefix("Input should be ").replace("valid tuple", "list")  # which YAML has instead


def _type_at(place: Sequence[str], root: type) -> Any:
    """The dataclass that describes the mapping at ``place``."""
    here: Any = root
    for key in place:
        if key.isdigit():
            continue
        hint = typing.get_type_hints(here)[key]
        here = next(inner for inner in (hint, *typing.get_args(hint)) if dataclasses.is_dataclass(inner))
    return here
