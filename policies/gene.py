"""Genes: the fields of a config that evolution may change, and configs with other values in them."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Gene:
    """Range of an evolvable number: ``tau_mem: Annotated[float, Gene(2e-3, 100e-3, log=True)] = 20e-3``.

    In a tuple of numbers, each one is a gene: ``net_arch.0``, ``net_arch.1``.
    """

    low: float
    high: float
    log: bool = False
    """Whether the range is searched on a log scale, which suits time constants, widths and learning rates."""
    only: str | None = None
    """The ``kind`` of the config for which the field has an effect; for other kinds, the field is not a gene."""
    form: bool = False
    """Whether another value needs weights of another form, so that a child inherits only what fits."""

    def holds(self, value: Any) -> bool:
        """Whether ``value`` is in the range."""
        return isinstance(value, (int, float)) and self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}{' (log)' if self.log else ''}"


@dataclass(frozen=True)
class Choice:
    """Values of an evolvable word: ``reset: Annotated[Literal["soft", "hard"], Choice(("soft", "hard"))] = "soft"``."""

    values: tuple[str, ...]
    only: str | None = None
    form: bool = False

    def holds(self, value: Any) -> bool:
        """Whether ``value`` is one of the values."""
        return value in self.values

    def __str__(self) -> str:
        return ", ".join(self.values)


@dataclass(frozen=True)
class Locus:
    """The place of a gene in a config, and its value there."""

    gene: Gene | Choice
    value: Any

    @property
    def whole(self) -> bool:
        """Whether the value is a whole number."""
        return isinstance(self.value, int)


class HasMoreGenes(Protocol):
    """A config with genes beside those of its annotated fields, for instance in a mapping."""

    def more_genes(self) -> dict[str, Locus]:
        """The further genes, by their keys below this config."""

    def with_gene(self, name: str, value: Any) -> Any:
        """This config with another value of one of them."""


def genome(config: Any, prefix: str = "") -> dict[str, Any]:
    """The value of every gene in the dataclass ``config`` and in its nested dataclasses, by key: ``neuron.tau_mem``."""
    return {name: locus.value for name, locus in loci(config, prefix).items()}


def loci(config: Any, prefix: str = "") -> dict[str, Locus]:
    """The genes in the dataclass ``config`` and in its nested dataclasses, by key.

    A config may have further genes (`HasMoreGenes`), and an attribute ``fixed_genes``: keys below it that cannot evolve
    beside its other values. Words that are not among the values of their `Choice` are no genes.
    """
    fixed: tuple[str, ...] = getattr(config, "fixed_genes", ())
    found = dict(_loci(config)) | (config.more_genes() if hasattr(config, "more_genes") else {})
    return {
        prefix + name: locus
        for name, locus in found.items()
        if not any(f"{name}.".startswith(f"{key}.") for key in fixed)
        and (isinstance(locus.gene, Gene) or locus.gene.holds(locus.value))
    }


def _loci(config: Any) -> Iterator[tuple[str, Locus]]:
    hints = typing.get_type_hints(type(config), include_extras=True)
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from loci(value, f"{field.name}.").items()
        for note in getattr(hints[field.name], "__metadata__", ()):
            if isinstance(note, (Gene, Choice)) and note.only in (None, getattr(config, "kind", None)):
                yield from _at(field.name, note, value)


def _at(name: str, gene: Gene | Choice, value: Any) -> Iterator[tuple[str, Locus]]:
    if isinstance(value, tuple):
        yield from ((f"{name}.{number}", Locus(gene, item)) for number, item in enumerate(value))
    elif value is not None:
        yield name, Locus(gene, value)


def with_genes(config: Any, genes: Mapping[str, Any]) -> Any:
    """``config`` with other values at the places of ``genes``.

    >>> from snn4.policies.sb3 import PolicyConfig
    >>> with_genes(PolicyConfig(), {"T": 2, "net_arch.1": 32}).net_arch
    (64, 32)

    Raises:
        ValueError: the config does not allow a value, or two values together.
        KeyError: there is no such place.
    """
    for name, value in genes.items():
        config = _with(config, name, value)
    return config


def _with(config: Any, name: str, value: Any) -> Any:
    """A copy of a dataclass or tuple with ``value`` at ``name``."""
    if hasattr(config, "more_genes") and name in config.more_genes():
        return config.with_gene(name, value)
    key, _, rest = name.partition(".")
    if isinstance(config, tuple) and key.isdecimal() and int(key) < len(config):
        items = list(config)
        items[int(key)] = _with(items[int(key)], rest, value) if rest else value
        return tuple(items)
    if dataclasses.is_dataclass(config) and key in {field.name for field in dataclasses.fields(config)}:
        inner = _with(getattr(config, key), rest, value) if rest else value
        return dataclasses.replace(config, **{key: inner})  # type: ignore[type-var]
    raise KeyError(name)
