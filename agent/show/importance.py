"""How much genes matter: rank correlations between genes and objectives."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn4.agent.show.generations import Candidate, Generation, short_names

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Importance:
    """The rank correlation of each gene with each objective."""

    correlations: Mapping[str, Mapping[str, float]]
    """From -1 to 1, by gene and objective; the most important gene first. A word of a gene is a gene of 0 and 1."""
    candidates: int
    chance: float
    """Beyond this, chance alone brings a correlation once in 20 times, roughly."""


def importance(generations: Iterable[Generation], objectives: Sequence[str]) -> Importance | None:
    """Importance of all genes that vary within generations; None if too few candidates were tested.

    Ranks are taken within generations: later ones have inherited more learning, which their genes have not brought
    about. Their means are then left out, which makes it a Spearman correlation if there is one generation.
    """
    groups = [each.tested for each in generations if len(each.tested) > 1]
    free = sum(map(len, groups)) - len(groups) - 1
    if free < 2:
        return None
    scores = {name: _ranks([[one.scores[name] for one in group] for group in groups]) for name in objectives}
    found = {
        gene: {name: _correlation(ranks, scores[name]) for name in objectives}
        for gene, values in _columns(groups).items()
        if (ranks := _ranks(values)).any()
    }
    order = sorted(found, key=lambda gene: -max(map(abs, found[gene].values())))
    return Importance({gene: found[gene] for gene in order}, sum(map(len, groups)), _chance(free))


def _columns(groups: Sequence[Sequence[Candidate]]) -> dict[str, list[list[float]]]:
    """The values of each gene, and 0 or 1 for each word of a gene of words, in each generation."""
    names = dict.fromkeys(name for group in groups for one in group for name in one.genes)
    columns: dict[str, list[list[float]]] = {}
    for name, bare in short_names(names).items():
        words = sorted({str(one.genes[name]) for group in groups for one in group if _is_word(one.genes.get(name))})
        for word in words if len(words) > 2 else words[:1]:  # of two words, one says it all
            columns[f"{bare} = {word}"] = [[float(one.genes.get(name) == word) for one in group] for group in groups]
        if not words:
            columns[bare] = [[_number(one.genes.get(name)) for one in group] for group in groups]
    return columns


def _is_word(value: Any) -> bool:
    return isinstance(value, str)


def _number(value: Any) -> float:
    """NaN for a candidate that does not have the gene."""
    return math.nan if value is None else float(value)


def _ranks(groups: Sequence[Sequence[float]]) -> Floats:
    """Ranks within each group, centred, and as fractions of its size; equal values share the mean of their ranks."""
    return np.concatenate([_centred(np.asarray(group, float)) for group in groups])


def _centred(values: Floats) -> Floats:
    """Without the mean; 0 for NaN."""
    known = ~np.isnan(values)
    _, places, counts = np.unique(values[known], return_inverse=True, return_counts=True)
    ranks = np.zeros(len(values))
    middle = np.cumsum(counts) - (counts - 1) / 2
    ranks[known] = (middle[places] - (known.sum() + 1) / 2) / max(1, known.sum())
    return ranks


def _correlation(a: Floats, b: Floats) -> float:
    size = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / size if size else 0.0


def _chance(free: int) -> float:
    """The correlation at which a normal deviate reaches 1.96."""
    return min(1.0, 1.96 / math.sqrt(free))
