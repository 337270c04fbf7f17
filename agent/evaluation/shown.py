"""Data shown to classifiers for a test: in order, without augmentation, with a progress bar for each turn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Task as RichTask
from rich.text import Text
from torch import Tensor

from snn4.agent.evaluation.accuracy import Batch
from snn4.agent.evaluation.classifier import Examination, ExaminationConfig, examine
from snn4.agent.run.beings import ANN_TWIN, NETWORK
from snn4.envs.data.datasets import Data, Samples


class Speed(ProgressColumn):
    """Samples per second."""

    def render(self, task: RichTask) -> Text:
        return Text("" if task.speed is None else f"{task.speed:,.0f}/s")


def bars() -> Progress:
    """Progress bars on the terminal, with speed and the time left; none where the output is no terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Speed(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def examined(
    models: Mapping[str, Any], data: Data, config: ExaminationConfig, progress: Progress | None = None
) -> Examination:
    """All measurements of ``models`` (the network, and its twin if that was trained) on the test data."""
    test, validation = (Shown(name, InOrder(getattr(data, name)), progress) for name in ("test", "validation"))
    return examine(models[NETWORK], models.get(ANN_TWIN), test, validation, data.classes, config, data.notes)


@dataclass(frozen=True)
class InOrder:
    """The batches of ``samples``, in order and without augmentation; can be iterated many times."""

    samples: Samples
    batch_size: int = 128

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self.samples.batches(self.batch_size)

    def __len__(self) -> int:
        return self.samples.n_batches(self.batch_size)


@dataclass
class Shown:
    """Batches with a progress bar for each iteration over them, which may take minutes."""

    name: str
    batches: InOrder
    progress: Progress | None
    times: int = 0

    def __iter__(self) -> Iterator[Batch]:
        if self.progress is None:
            yield from self.batches
            return
        self.times += 1
        bar = self.progress.add_task(f"{self.name} data, turn {self.times}", total=len(self.batches.samples))
        try:
            for x, labels in self.batches:
                yield x, labels
                self.progress.advance(bar, len(labels))
        finally:
            self.progress.remove_task(bar)
