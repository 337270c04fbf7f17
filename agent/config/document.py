"""The text of a config: YAML's core (null, booleans, numbers, texts, lists, mappings), limited in size and depth."""

from __future__ import annotations

import re
from typing import Any

import yaml

BYTES, VALUES, DEPTH = 4_000_000, 200_000, 32
"""Limits of a document: bytes, values (an alias counts with all its values), nesting of lists and mappings."""

LARGEST = 2**63
"""Whole numbers are smaller than this, as in NumPy and torch."""


class Unreadable(ValueError):
    """The text is not a valid document, or exceeds the limits; the message is one line."""


def parse(text: str) -> Any:
    """The value of a YAML text; raises Unreadable."""
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise Unreadable(" ".join(str(error).split())) from error


def write(value: Any) -> str:
    """YAML text from which `parse` reads the same value."""
    return yaml.dump(_plain(value), Dumper=_Dumper, sort_keys=False)


def write_inline(value: Any) -> str:
    """As `write`, in one line."""
    text = yaml.dump(_plain(value), Dumper=_Dumper, sort_keys=False, default_flow_style=True, width=float("inf"))
    return text.removesuffix("\n").removesuffix("\n...")


class _Loader(yaml.SafeLoader):
    """Reads numbers as in YAML 1.2, so that 1e-3 is a float; dates are texts."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = self.values = 0
        self.sizes: dict[int, tuple[int, int]] = {}  # values and depth of each finished node

    def compose_node(self, parent: Any, index: Any) -> Any:
        """As PyYAML's; ComposerError beyond the limits, before any node becomes a value."""
        mark = self.peek_event().start_mark
        is_alias = self.check_event(yaml.AliasEvent)
        before = self.values
        self._count(1, 1, mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        if not is_alias:
            self.sizes[id(node)] = self.values - before, 1 + max(map(self._height, _children(node)), default=0)
        elif id(node) not in self.sizes:
            raise yaml.composer.ComposerError(None, None, "a value that contains itself", mark)
        else:
            self._count(*self.sizes[id(node)], mark)
        return node

    def _count(self, values: int, height: int, mark: Any) -> None:
        self.values += values
        if self.depth + height > DEPTH:
            raise yaml.composer.ComposerError(None, None, f"nested too deeply, allowed are {DEPTH} levels", mark)
        if self.values > VALUES:
            raise yaml.composer.ComposerError(None, None, f"too many values, allowed are {VALUES:,}", mark)

    def _height(self, node: Any) -> int:
        return self.sizes[id(node)][1]

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        """As PyYAML's, but Python's errors (of a number such as 0b_) become errors of the document."""
        try:
            value = super().construct_object(node, deep)
            if isinstance(value, int) and abs(value) >= LARGEST:
                raise ValueError(value)
            if isinstance(value, str):
                value.encode()  # fails for half a surrogate pair, which YAML can write
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            kind = node.tag.rpartition(":")[2]
            problem = f"{str(node.value)[:60]!r} is no {_IN_WORDS.get(kind, kind)}"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from error
        return value


_IN_WORDS = {"int": "whole number below 2^63", "str": "text of whole characters"}


class _Dumper(yaml.SafeDumper):
    """Quotes texts that `_Loader` would read as numbers."""


def _children(node: Any) -> list[Any]:
    if isinstance(node, yaml.MappingNode):
        return [inner for pair in node.value for inner in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


_CORE = {f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str", "seq", "map")}
_Loader.yaml_constructors = {
    tag: constructor for tag, constructor in _Loader.yaml_constructors.items() if tag is None or tag in _CORE
}
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag in {*_CORE, "tag:yaml.org,2002:merge"}]
    for first, resolvers in _Loader.yaml_implicit_resolvers.items()
}
for _yaml in (_Loader, _Dumper):
    _yaml.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d[\d_]*)(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
    )


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
