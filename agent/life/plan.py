"""The plan of a life: its tasks in order, what they share, and how far a run is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from snn4.agent.life.config import LifeConfig, LifeTask
from snn4.agent.life.teachers import taught_by
from snn4.agent.run.beings import name_of
from snn4.agent.run.place import Place
from snn4.envs.variations import VariationConfig
from snn4.learners.protection import ProtectionConfig


def plan(config: LifeConfig, places: Mapping[str, Place]) -> RenderableType:
    """A table of the tasks, and what they share; with ``places`` also the progress of each being."""
    table = Table(title=f"{config.name}, seed {config.seed}: {sum(t.steps for t in config.world):,} steps")
    for column in ("", "task", "steps", "from step", "learner", "comes back to"):
        table.add_column(column, justify="right" if column in ("", "steps", "from step") else "left")
    for being in places:
        table.add_column(name_of(being), justify="right")
    first = 0
    for number, task in enumerate(config.world):
        origin = _origin(task, config.world[:number])
        done = [place.progress(number, task.steps) for place in places.values()]
        learned_by = "cross-entropy" if task.data is not None else config.learner_of(task).algorithm
        back = "" if origin is None else f"task {origin}"
        table.add_row(str(number), Text(_label(task)), f"{task.steps:,}", f"{first:,}", learned_by, back, *done)
        first += task.steps
    return Group(table, *map(Text, _notes(config)))


def _origin(task: LifeTask, earlier: Sequence[LifeTask]) -> int | None:
    """Number of the earlier task that ``task`` comes back to: the latest with the same environment and variation, so
    that a return to undrifted physics shows; else the latest of the same name."""
    namesakes = [number for number, past in enumerate(earlier) if past.name == task.name]
    same = [number for number in namesakes if _circumstances(earlier[number]) == _circumstances(task)]
    return max(same or namesakes, default=None)


def _circumstances(task: LifeTask) -> tuple[Any, ...]:
    return task.environment, task.kwargs, task.variation or VariationConfig(), task.data


def _label(task: LifeTask) -> str:
    """The task's label, with its environment unless the label contains it."""
    return task.label if task.environment in task.label else f"{task.label}: {task.environment}"


def _notes(config: LifeConfig) -> Iterator[str]:
    names = list(dict.fromkeys(task.name for task in config.world))
    widths = config.policy.net_arch
    trunk = " -> ".join(map(str, widths))
    if len(names) == 1:
        yield f"one encoder, trunk ({trunk}) and head"
    elif len(widths) < 2:
        yield f"shared: nothing; one layer ({trunk}) has no synapses between hidden layers"
    else:
        yield f"shared: the synapses between hidden layers ({trunk}); own encoders and heads: {', '.join(names)}"
    yield f"protection of what is shared: {_protection(config.protection)}"
    yield from _teaching(config)
    twins = ["its ANN twin"] * config.ann_twin + ["its ReLU twin"] * config.relu_twin
    yield f"lived by: {', and after it by '.join(['the organism', *twins])}"


def _teaching(config: LifeConfig) -> Iterator[str]:
    """Who teaches which tasks, each once."""
    for task in {task.label: task for task in config.world}.values():
        if (lessons := config.teacher_of(task)) is not None:
            yield f"teacher of {task.label}, for the first {lessons.length(task.steps):,} steps: {taught_by(lessons)}"


def _protection(config: ProtectionConfig) -> str:
    match config.kind:
        case "freeze":
            return f"freeze, {config.fraction:.0%} of it after the first task"
        case "ewc":
            return f"ewc, strength {config.strength:g}, importance from {config.samples:,} observations per task"
        case "replay":
            return f"replay, strength {config.strength:g}, {config.samples:,} observations per task"
    return "none"
