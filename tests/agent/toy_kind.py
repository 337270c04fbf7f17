"""A kind of run of which the runner knows nothing: it draws numbers, and comes to their mean."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

from rich.text import Text

from snn4.agent import kinds
from snn4.agent.config.file import checked
from snn4.agent.run import checkpoint
from snn4.agent.run.beings import ORGANISM
from snn4.agent.run.events import Entered, Event, Learned
from snn4.agent.run.journal import RunError
from snn4.agent.run.work import OneProcess, Pause


@dataclass(frozen=True)
class ToyConfig:
    name: str
    numbers: int = 400
    seed: int = 0
    keep_checkpoints: int = 2
    kind: str = "toy"


class Toy:
    unit = "steps"
    measure = "return"
    notes: ClassVar[list[str]] = []
    genome: ClassVar[dict[str, Any]] = {}
    fingerprint: ClassVar[dict[str, Any]] = {}
    beings = (SimpleNamespace(name=ORGANISM),)

    def __init__(self, config: ToyConfig) -> None:
        self.config, self.drawn = config, [0.0][:0]
        self.tasks = [{"environment": "numbers", "steps": config.numbers}]

    age = property(lambda self: len(self.drawn))
    finished = property(lambda self: self.age == self.config.numbers)

    def live(self, stop: Callable[[], bool]) -> Iterator[Event | Pause]:
        yield Entered(ORGANISM, "numbers", 0, self.age, self.config.numbers)
        while not self.finished and not stop():
            self.drawn.append(random.Random(self.config.seed + self.age).random())
            yield Learned(ORGANISM, "numbers", 0, self.age, self.config.numbers, self.age, self.drawn[-1], [], {}, 1e-3)
            if self.age % 20 == 0 or stop():
                yield Pause()

    def state(self) -> dict[str, Any]:
        return {"model": {"drawn": self.drawn}, "learner": {}}

    def load_state(self, state: dict[str, Any]) -> None:
        self.drawn = state["model"]["drawn"]

    def summary(self) -> dict[str, Any]:
        return {"mean": sum(self.drawn) / self.age}


def evaluate(config: ToyConfig, folder: Path, options: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    if (saved := checkpoint.newest(folder)) is None:
        raise RunError(f"{folder}: holds no checkpoint yet")
    toy = Toy(config)
    toy.load_state(saved.state)
    return toy.summary(), saved.notes


TOY: Any = SimpleNamespace(
    name="toy", schema=ToyConfig, shorthands={}, options={"episodes": "numbers"}, evaluate=evaluate,
    read=lambda raw, source, overrides: checked(raw, source, overrides, ToyConfig),
    processes=lambda config: OneProcess(), prepare=lambda config, processes: Toy(config), about=lambda config: {},
    title=lambda config: f"{config['name']}: toy", tables=lambda summary: Text(f"mean {summary['mean']:.3f}"),
    sections=lambda events, summary: [f"<p>{summary or 'not yet'}</p>"], plan=lambda config, places: Text("numbers"),
)  # fmt: skip
_NAMED = kinds.named


def install() -> None:
    """Let `kinds` know of it."""
    kinds.named = lambda name: TOY if name == "toy" else _NAMED(name)
