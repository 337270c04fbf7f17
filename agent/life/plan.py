"""The plan of a life, lived or not: its tasks in order, what they share, and where it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from snn4.agent.config.file import find
from snn4.agent.life.config import ContinualConfig, LifeConfig, LifeTask, is_stream, is_training, load, load_continual
from snn4.agent.run.events import Entered, Evaluated, Learned, Recalled
from snn4.agent.run.journal import RunError, read_events
from snn4.envs.data.datasets import count_classes
from snn4.envs.stream_config import SCENARIOS
from snn4.envs.variations import VariationConfig
from snn4.learners.protection import ProtectionConfig


@dataclass(frozen=True)
class Place:
    """Where a being is: in the task with that number, at that step of it."""

    number: int = 0
    step: int = 0
    tested: bool = False
    """Whether it has lived to the end and was tested."""


def show(config: str) -> None:
    """Print the plan of ``config``, a file, a shipped config or a run folder.

    Raises:
        RunError: what is there is no life.
    """
    folder = Path(config)
    is_run = (folder / "run.json").is_file()
    file = folder / "config.yaml" if is_run else find(config)
    if is_training(file):
        raise RunError(f"{config}: describes a training, which has no world; allowed are lives and streams")
    found = places(folder) if is_run else {}
    Console().print(stream_plan(load_continual(file), found) if is_stream(file) else plan(load(file), found))


def plan(config: LifeConfig, places: Mapping[str, Place]) -> RenderableType:
    """A table of the tasks, and what they share; with ``places``, how far each being is."""
    table = Table(title=f"{config.name}, seed {config.seed}: {sum(t.steps for t in config.world):,} steps")
    for column in ("", "task", "steps", "from step", "learner", "comes back to"):
        table.add_column(column, justify="right" if column in ("", "steps", "from step") else "left")
    for being in places:
        table.add_column(being.replace("_", " "), justify="right")
    first = 0
    for number, task in enumerate(config.world):
        origin = _origin(task, config.world[:number])
        done = [_done(place, number, task.steps) for place in places.values()]
        learned_by = "cross-entropy" if task.data is not None else (task.learner or config.learner).algorithm
        back = "" if origin is None else f"task {origin}"
        table.add_row(str(number), Text(_label(task)), f"{task.steps:,}", f"{first:,}", learned_by, back, *done)
        first += task.steps
    return Group(table, *map(Text, _notes(config)))


def stream_plan(config: ContinualConfig, places: Mapping[str, Place]) -> RenderableType:
    """A table of a stream's experiences; with ``places``, which of them each being has learned."""
    stream, strategy = config.stream, config.strategy
    title = f"{config.name}, seed {config.seed}: {stream.data.name}, scenario {stream.scenario}"
    table = Table()  # without the title, which is often wider and would be broken
    for column in ("", "classes", *(being.replace("_", " ") for being in places)):
        table.add_column(column)
    # Images that lie in folders show their classes only when they are read.
    known = None if stream.data.name == "imagefolder" else stream.groups(count_classes(stream.data))
    for number in range(stream.experiences if known is None else len(known)):
        classes = "in the folder" if known is None else " ".join(map(str, known[number]))
        done = ["learned" if place.tested or number < place.number else "" for place in places.values()]
        table.add_row(str(number), classes, *done)
    notes = [f"{stream.scenario}: {SCENARIOS[stream.scenario]}"]
    notes += [f"shift: {stream.shift}, another in each experience"] if stream.shift != "none" else []
    notes += [f"against forgetting: {strategy.name}; epochs an experience: {config.training.epochs}", _beings(config)]
    return Group(Text(title, style="italic"), table, *map(Text, notes))


def places(folder: Path) -> dict[str, Place]:
    """Where each being of a run is, as its journal tells."""
    found: dict[str, Place] = {}
    for _, event, _ in read_events(folder):
        match event:
            case Entered() | Learned():
                found[event.being] = Place(event.number, event.step)
            case Recalled():
                found[event.being] = Place(event.learned)
            case Evaluated(final=True) if event.being in found:
                found[event.being] = Place(found[event.being].number, found[event.being].step, tested=True)
    return found


def _done(place: Place, number: int, steps: int) -> str:
    if place.tested or number < place.number:
        return "lived"
    if number > place.number:
        return ""
    return f"{place.step:,} ({place.step / steps:.0%})"


def _origin(task: LifeTask, earlier: Sequence[LifeTask]) -> int | None:
    """Number of the stay that ``task`` comes back to: the latest under the same circumstances, so that a return to
    undrifted physics shows; else the latest of its name."""
    met = [n for n, stay in enumerate(earlier) if stay.name == task.name]
    same = [n for n in met if _circumstances(earlier[n]) == _circumstances(task)]
    return max(same or met, default=None)


def _circumstances(task: LifeTask) -> tuple[Any, ...]:
    return task.environment, task.kwargs, task.variation or VariationConfig(), task.data


def _label(task: LifeTask) -> str:
    """What tests call the task, and its environment where that does not show."""
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
    yield _beings(config)


def _beings(config: LifeConfig | ContinualConfig) -> str:
    return f"lived by: the organism{', and by its ANN twin after it' if config.ann_twin else ''}"


def _protection(config: ProtectionConfig) -> str:
    match config.kind:
        case "freeze":
            return f"freeze, {config.fraction:.0%} of it after the first task"
        case "ewc":
            return f"ewc, strength {config.strength:g}, importance from {config.samples:,} observations a task"
        case "replay":
            return f"replay, strength {config.strength:g}, {config.samples:,} observations a task"
    return "none"
