"""Control as the field reports it: interquartile means with intervals, sample efficiency, performance profiles."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn4.agent.run.beings import ANN_TWIN, ORGANISM
from snn4.benchmarks.suites.references import REFERENCES, Reference
from snn4.benchmarks.suites.statistics import (
    area_under_curve,
    interquartile_mean,
    interval,
    performance_profile,
    steps_to,
)
from snn4.benchmarks.tables.markdown import markdown

INT8_TWIN = "int8_twin"
KEYS = {ORGANISM: "tasks", ANN_TWIN: "ann_twin", INT8_TWIN: "int8_twin"}
"""The key of each being's test scores in a row."""
NAMES = {ORGANISM: "SNN", ANN_TWIN: "ANN twin", INT8_TWIN: "int8 twin"}
THRESHOLD = 0.9
"""Normalised return at which a task counts as learned."""
MARKS = (0.25, 0.5, 0.75, 0.9, 1.0)
"""Normalised returns of the performance profile."""


@dataclass(frozen=True)
class Learning:
    """What one being has learned in one environment, with all seeds."""

    environment: str
    being: str
    returns: NDArray[np.float64]
    """Of test episodes (seeds, 1, episodes); old results have one mean per seed."""
    steps: list[float]
    """Of validations, up to the earliest end of a life; empty for old results and for lives with several tasks."""
    curve: NDArray[np.float64]
    """Mean validation return (seeds, steps)."""

    def on_scale(self, scale: Reference, mark: float) -> Learning:
        """The same with normalised returns."""
        low, span = scale.chance, mark - scale.chance
        returns, curve = (self.returns - low) / span, (self.curve - low) / span
        return Learning(self.environment, self.being, returns, self.steps, curve)


def learned(results: Iterable[dict[str, Any]]) -> Iterator[Learning]:
    """Everything that ``results`` of lives in one environment hold, SNN, twin and int8 twin after each other."""
    for result in results:
        rows = result["seeds"]
        if len(rows[0]["tasks"]) != 1:
            continue
        (environment,) = rows[0]["tasks"]
        for being, key in KEYS.items():
            scores = [row[key][environment] for row in rows if environment in row.get(key, {})]
            if len(scores) == len(rows):
                returns = [score.get("returns", [score["return_mean"]]) for score in scores]
                steps, curve = _curve([row.get("validations", {}).get(being, []) for row in rows])
                yield Learning(environment, being, np.asarray(returns)[:, None], steps, curve)


def _curve(validations: Sequence[Sequence[Sequence[float]]]) -> tuple[list[float], NDArray[np.float64]]:
    """Steps and returns (seeds, steps); lives of other lengths are cut, and read at the steps of the first one."""
    if not all(validations):
        return [], np.empty((len(validations), 0))
    end = min(points[-1][0] for points in validations)
    steps = [step for step, _ in validations[0] if step <= end]
    curves = [np.asarray(points, float).T for points in validations]
    return steps, np.stack([np.interp(steps, own, returns) for own, returns in curves])


def scales(every: Sequence[Learning]) -> dict[str, tuple[Reference, float]]:
    """Chance and mark of each environment that has both: the mark is the reference's, or else the twin's mean."""
    known = {}
    for one in every:
        scale = REFERENCES.get(one.environment)
        if scale is not None and scale.mark is not None:
            known[one.environment] = (scale, scale.mark)
        elif scale is not None and one.being == ANN_TWIN and (mark := float(one.returns.mean())) > scale.chance:
            known[one.environment] = (scale, mark)
    return known


def sample_efficiency(one: Learning, scale: tuple[Reference, float] | None) -> dict[str, Any]:
    """Area under the curve and steps to `THRESHOLD`, both of the interquartile mean over seeds; None where unknown."""
    if scale is None or not one.steps:
        return {"area": None, "steps": None}
    curve = interquartile_mean(one.on_scale(*scale).curve, axis=0).tolist()
    return {"area": area_under_curve(one.steps, curve), "steps": steps_to(one.steps, curve, THRESHOLD)}


def profile(every: Sequence[Learning], being: str, marks: Sequence[float] = MARKS) -> dict[str, Any] | None:
    """Interquartile mean over environments and seeds of normalised returns, and the profile at ``marks``.

    Environments need the same number of seeds: those with fewer are left out. None without any.
    """
    known = scales(every)
    own = [one.on_scale(*known[one.environment]) for one in every if one.being == being and one.environment in known]
    if not own:
        return None
    most = max(len(one.returns) for one in own)
    own = [one for one in own if len(one.returns) == most]
    scores = np.stack([one.returns.mean((1, 2)) for one in own], 1)  # (seeds, environments)
    return {
        "environments": [one.environment for one in own], "seeds": most, "iqm": interval(scores),
        "marks": list(marks), "profile": interval(scores, lambda drawn: performance_profile(drawn, marks)),
    }  # fmt: skip


def table(results: Iterable[dict[str, Any]]) -> str:
    """Markdown: a line per environment and being, then one per being over all environments."""
    every = list(learned(results))
    known = scales(every)
    lines = [_line(one, known.get(one.environment)) for one in every]
    head = ["environment", "being", "seeds", "IQM of returns [95 %]", "area under curve", f"steps to {THRESHOLD:g}"]
    parts = [markdown(head, lines)]
    profiles = [(being, found) for being in KEYS if (found := profile(every, being)) is not None]
    if profiles:
        head = ["over all", "environments", "seeds", "IQM of normalised returns [95 %]", *(f"> {m:g}" for m in MARKS)]
        parts.append(markdown(head, [_profile_line(being, found) for being, found in profiles]))
    return "\n\n".join(parts)


def _line(one: Learning, scale: tuple[Reference, float] | None) -> list[str]:
    efficiency = sample_efficiency(one, scale)
    area = "-" if efficiency["area"] is None else f"{efficiency['area']:.2f}"
    steps = "-" if efficiency["steps"] is None else f"{efficiency['steps']:,.0f}"
    return [one.environment, NAMES[one.being], str(len(one.returns)), shown(interval(one.returns), 1), area, steps]


def _profile_line(being: str, found: dict[str, Any]) -> list[str]:
    shares = [f"{100 * share:.0f} %" for share in found["profile"]["value"]]
    return [NAMES[being], str(len(found["environments"])), str(found["seeds"]), shown(found["iqm"], 2), *shares]


def shown(found: dict[str, Any], digits: int) -> str:
    """A value with its interval."""
    value = f"{found['value']:.{digits}f}"
    return value if found["low"] is None else f"{value} [{found['low']:.{digits}f}, {found['high']:.{digits}f}]"
