"""Genes: the fields of a config that evolution may change."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any


@dataclasses.dataclass(frozen=True)
class Gene:
    """Range of an evolvable field: ``tau_mem: Annotated[float, Gene(2e-3, 100e-3, log=True)] = 20e-3``.

    ``log=True`` searches the range by its logarithm, as suits time constants and learning rates. ``only`` names the
    ``kind`` of the config for which the field has a meaning, and is a gene.
    """

    low: float
    high: float
    log: bool = False
    only: str | None = None


def genome(config: Any, prefix: str = "") -> dict[str, float]:
    """The value of every gene in the dataclass ``config`` and in those that it holds, keyed ``neuron.tau_mem``."""
    found: dict[str, float] = {}
    hints = typing.get_type_hints(type(config), include_extras=True)
    for field in dataclasses.fields(config):
        value, name = getattr(config, field.name), prefix + field.name
        if dataclasses.is_dataclass(value):
            found |= genome(value, name + ".")
        elif any(_counts(note, config) for note in getattr(hints[field.name], "__metadata__", ())):
            found[name] = value
    return found


def _counts(note: Any, config: Any) -> bool:
    return isinstance(note, Gene) and note.only in (None, getattr(config, "kind", None))
