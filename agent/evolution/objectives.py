"""What evolution wants: objectives, and how a preference weighs one against another."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from snn4.agent.errors import CannotGoOn
from snn4.agent.run.events import Score

Samples = dict[str, list[float]]
"""Measurements by objective. The samples of two candidates are pairs: the same episodes, or the same blocks of them."""
Fitness = dict[str, Samples]
"""Samples in each task, by its label."""

OBJECTIVES: Mapping[str, Callable[[Score], float]] = {
    "return": lambda score: float(score["return_mean"]),
    "synaptic_operations": lambda score: float(score["effective_acs"] + score["effective_macs"]),
    "spikes": lambda score: float(score["spikes_per_decision"]),
    "energy": lambda score: float(score["energy_joules"]["45nm_fp32_memory"]),
    "parameters": lambda score: float(score["parameters"]),
}
"""return (for images, the accuracy) is maximised. All others are minimised: accumulates and multiplications at
synapses, spikes, and joules by the model 45nm_fp32_memory, of one decision; and parameters."""


class Silent(CannotGoOn):
    """No neuron spikes: what a network answers does not depend on what it sees."""


def require_spikes(scores: Mapping[str, Score]) -> None:
    """Raise Silent unless a neuron has spiked in any of the tasks."""
    if not any(score["spikes_per_decision"] for score in scores.values()):
        raise Silent("silent: no neuron spikes")


def maximised(objective: str) -> bool:
    """Whether more of ``objective`` is better."""
    return objective == "return"


def check_objectives(objectives: Sequence[str]) -> None:
    """ValueError for an unknown objective, none at all, or one that is named twice."""
    wrong = [name for name in objectives if name not in OBJECTIVES]
    if wrong or not objectives or len(set(objectives)) < len(objectives):
        got = ", ".join(objectives) or "none"
        raise ValueError(f"objectives: got {got}, allowed are {', '.join(OBJECTIVES)}, each once")


@dataclass(frozen=True)
class Preference:
    """``cheap within 1 % of value``: the least of ``cheap`` among all whose ``value`` is at most 1 % below the best.

    Without ``cheap``, the best ``value`` counts alone.
    """

    value: str
    cheap: str | None = None
    within: float = 0.0
    """Fraction of the value."""

    @classmethod
    def parse(cls, text: str, objectives: Sequence[str]) -> Preference:
        """The preference in words.

        Raises:
            ValueError: it is of another form, or names an objective that is not among ``objectives``.
        """
        found = re.fullmatch(r"\s*(\w+)\s+within\s+([\d.]+)\s*%\s+of\s+(\w+)\s*", text)
        alone = text.strip()
        names = [found[1], found[3]] if found else [alone]
        if any(name not in objectives for name in names) or len(set(names)) < len(names):
            first, *rest = objectives
            example = f"{rest[0]} within 1 % of {first}" if rest else first
            raise ValueError(
                f"prefer: got {text!r}, allowed is one of {', '.join(objectives)}, or two with a margin: {example!r}"
            )
        return cls(found[3], found[1], float(found[2]) / 100) if found else cls(alone)


def means(fitness: Fitness) -> dict[str, float]:
    """The mean of each objective over all tasks."""
    tasks = list(fitness.values())
    return {objective: fmean(fmean(samples[objective]) for samples in tasks) for objective in tasks[0]}


def by_objective(scores: Mapping[str, Score], objectives: Sequence[str]) -> dict[str, float]:
    """The mean of each objective over the tasks of ``scores``."""
    return {name: fmean(map(OBJECTIVES[name], scores.values())) for name in objectives}


def worth(objective: str, value: float) -> float:
    """``value`` with a sign with which more is better."""
    return value if maximised(objective) else -value


def as_fitness(plain: Mapping[str, Any]) -> Fitness:
    """A fitness that was kept as plain data."""
    return {task: {name: list(values) for name, values in samples.items()} for task, samples in plain.items()}
