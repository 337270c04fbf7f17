"""The genes of a config in a table."""

from __future__ import annotations

from typing import Any

from rich.table import Table
from rich.text import Text

from snn4.agent.show.generations import gene
from snn4.policies.gene import Locus, loci

COLUMNS = ("gene", "value", "range", "learned weights")


def rows(config: Any) -> list[tuple[str, ...]]:
    """Key, value, range and effect on learned weights of each gene that evolves in ``config``."""
    evolution = getattr(config, "evolution", None)
    found = loci(config) if evolution is None else evolution.loci(config)
    return [(name, gene(locus.value), str(locus.gene), _effect(locus)) for name, locus in found.items()]


def _effect(locus: Locus) -> str:
    return "inherited as far as they fit" if locus.gene.form else "stay valid"


def table(found: list[tuple[str, ...]]) -> Table:
    """The genes for a terminal."""
    grid = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in COLUMNS:
        grid.add_column(column, overflow="fold", no_wrap=column == "gene")
    for row in found:
        grid.add_row(*map(Text, row))
    return grid
