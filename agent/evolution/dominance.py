"""Which candidates no other one beats, in any number of objectives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from snn4.agent.evolution.objectives import worth

Scores = Mapping[str, float]
"""Of a candidate, by objective."""


def undominated(scores: Mapping[int, Scores]) -> list[int]:
    """The numbers of those that no other one beats: none is as good in all objectives and better in one.

    Of those with equal scores, the first.

    >>> scores = [{"return": 1.0, "spikes": 5.0}, {"return": 1.0, "spikes": 4.0}, {"return": 0.5, "spikes": 3.0}]
    >>> undominated(dict(enumerate(scores)))
    [1, 2]
    """
    worths = {number: [worth(name, value) for name, value in own.items()] for number, own in scores.items() if own}
    return [
        number
        for number, own in worths.items()
        if not any(
            other != number and _beats(others, own) and (others != own or other < number)
            for other, others in worths.items()
        )
    ]


def _beats(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether ``one`` is at least as good in all objectives."""
    return all(mine >= theirs for mine, theirs in zip(one, other, strict=True))
