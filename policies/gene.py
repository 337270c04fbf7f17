"""Genes: the fields of a config that evolution may change."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any


@dataclasses.dataclass(frozen=True)
class Gene:
    """Range of an evolvable field: ``tau_mem: Annotated[float, Gene(2e-3, 100e-3, log=True)] = 20e-3``.

    ``log=True`` searches the range on a log scale, which suits time constants and learning rates. ``only`` names the
    ``kind`` of the config for which the field has an effect; for other kinds, the field is not a gene.
    """

    low: float
    high: float
    log: bool = False
    only: str | None = None


def genome(config: Any, prefix: str = "") -> dict[str, float]:
    """The value of every gene in the dataclass ``config`` and in its nested dataclasses, by key: ``neuron.tau_mem``."""
    genes: dict[str, float] = {}
    hints = typing.get_type_hints(type(config), include_extras=True)
    for field in dataclasses.fields(config):
        value, name = getattr(config, field.name), prefix + field.name
        if dataclasses.is_dataclass(value):
            genes |= genome(value, name + ".")
        elif any(_is_gene(annotation, config) for annotation in getattr(hints[field.name], "__metadata__", ())):
            genes[name] = value
    return genes


def _is_gene(annotation: Any, config: Any) -> bool:
    return isinstance(annotation, Gene) and annotation.only in (None, getattr(config, "kind", None))
