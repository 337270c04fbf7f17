"""``snn4-agent bench control``: whole lives for several seeds, SNN and ANN twin, as published in
``benchmarks/results/control/``.

    snn4-agent bench control cartpole acrobot --seeds 5 --jobs 2
    snn4-agent bench control mujoco --figures figures
    snn4-agent bench control control_stream protection.kind=none name=control_stream_unprotected --seeds 1

Test returns are those of the weights with the best validation return.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from snn4.agent.evaluation.returns import normalized
from snn4.agent.run.beings import ANN_TWIN, ORGANISM
from snn4.agent.run.events import Began, Evaluated, Event, Saved
from snn4.agent.run.journal import read_events
from snn4.benchmarks.publishing import RESULTS, done_once, kept, mean_and_std
from snn4.benchmarks.suites import efficiency
from snn4.benchmarks.suites.checks import ready
from snn4.benchmarks.suites.int8_twin import int8_twin
from snn4.benchmarks.suites.suite import Cell
from snn4.benchmarks.tables.control import table as table

FOLDER = CONTROL = RESULTS / "control"
GROUPS = {
    "classic": ("cartpole", "acrobot", "mountain_car", "mountain_car_continuous", "pendulum"),
    "box2d": ("lunar_lander",),
    "minatar": ("minatar_asterix", "minatar_breakout", "minatar_freeway", "minatar_seaquest", "minatar_space_invaders"),
    "mujoco": ("inverted_double_pendulum", "hopper", "half_cheetah", "walker2d", "swimmer"),
}
QUICK = {
    "cartpole": ("world.0.steps=1024", "evaluation={every: 256, episodes: 5, test_episodes: 10}"),
    "pendulum": ("world.0.steps=400", "evaluation={every: 200, episodes: 5, test_episodes: 10}"),
}
VARIED: Sequence[str] = ()
_BEINGS = {"tasks": ORGANISM, "ann_twin": ANN_TWIN}


def result_of(cell: Cell) -> str:
    """The name of the config, with the variant."""
    return f"{ready(cell.source, _changes(cell), 'life').name}{cell.variant}"


def measure(cell: Cell, runs: Path) -> dict[str, Any]:
    """The summary, durations and validations of a life, and the test of its twin in int8."""
    return live_once(cell.source, _changes(cell), runs)


def _changes(cell: Cell) -> list[str]:
    return ["ann_twin=true", *cell.overrides]


def live_once(config: str, changes: Sequence[str], runs: Path) -> dict[str, Any]:
    """The summary, durations and validations of one life, which is lived or resumed unless ``runs`` has it."""
    folder = done_once(config, changes, runs)
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    copied = ("seed", "commit_hash", "tasks", "ann_twin", "retention")  # retention: only with several tasks
    events = [(when, event) for when, event, _ in read_events(folder)]
    row = {**{key: summary[key] for key in copied if key in summary}, **_durations(events)}
    if len(summary["tasks"]) == 1:
        row["validations"] = {being: validations((event for _, event in events), being) for being in _BEINGS.values()}
    if summary["ann_twin"]:
        row["int8_twin"] = kept(folder / "int8_twin.json", lambda: int8_twin(folder))
    return row


def validations(events: Iterable[Event], being: str) -> list[list[float]]:
    """Environment steps and mean return of each validation in the only task of a life."""
    return [
        [event.age, score["return_mean"]]
        for event in events
        if isinstance(event, Evaluated) and event.part == "validation" and event.being == being
        for score in event.scores.values()
    ]


def figures(results: Iterable[dict[str, Any]], folder: Path) -> list[Path]:
    """Learning curves and performance profiles, as SVG files in ``folder``."""
    from snn4.benchmarks.suites.figures import draw  # imports matplotlib

    return draw(list(efficiency.learned(results)), folder)


def _durations(events: Sequence[tuple[datetime, Event]]) -> dict[str, float | None]:
    """Seconds from birth to the end of the organism's test (None if interrupted), and of the slowest checkpoint."""
    births = [when for when, event in events if isinstance(event, Began)]
    tests = [when for when, event in events if isinstance(event, Evaluated) and event.part == "test"]
    return {
        "organism_seconds": _between(births[0], tests[0]) if len(births) == 1 else None,
        "slowest_checkpoint_seconds": max(event.seconds for _, event in events if isinstance(event, Saved)),
    }


def _between(start: datetime, end: datetime) -> float:
    return (end - start).total_seconds()


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and spread over seeds; for several tasks also ``normalized``, the retention of each task at the end."""
    costs = ("spikes_per_decision", "effective_acs", "effective_macs")
    keys = ("return_mean", *costs, "env_steps_per_second")
    return {
        who: {
            task: {
                **{key: mean_and_std([row[who][task][key] for row in rows], key not in costs) for key in keys},
                **_retention(rows, who, task),
                "energy_joules_45nm_fp32": mean_and_std([row[who][task]["energy_joules"]["45nm_fp32"] for row in rows]),
                "energy_joules_45nm_int8": mean_and_std([row[who][task]["energy_joules"]["45nm_int8"] for row in rows]),
            }
            for task in rows[0][who]
        }
        for who in ("tasks", "ann_twin")
        if rows[0][who]
    }


def _retention(rows: list[dict[str, Any]], who: str, task: str) -> dict[str, Any]:
    """Test returns on a scale from chance (0) to the reference of the task (1), if the config has one."""
    values = [
        normalized(row[who][task]["return_mean"], retention["chance"][task], retention["reference"][task])
        for row in rows
        if (retention := row.get("retention", {}).get(_BEINGS[who]))
    ]
    returns = [value for value in values if value is not None]
    return {"normalized": mean_and_std(returns, True)} if returns else {}
