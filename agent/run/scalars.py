"""The scalars of a run for TensorBoard."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from snn4.agent.run.events import PARENT, Evaluated, Event, Evolved, Learned


class Scalars:
    """Writes the numbers in events to ``folder``, over the age of the run."""

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter  # takes a second, which reading a journal does not need

        self.folder = folder
        self._writer = SummaryWriter(str(folder))

    def write(self, event: Event, when: datetime | None = None) -> None:
        """Write the scalars of ``event``, which happened at ``when`` or now."""
        for name, (value, step) in scalars(event).items():
            self._writer.add_scalar(name, value, step, walltime=when and when.timestamp())

    def write_again(self, events: Iterable[tuple[Event, datetime]]) -> None:
        """Replace all scalars by those of ``events``; TensorBoard would show those of older files as well."""
        self.close()  # the writer opens a new file with the next scalar
        for path in self.folder.glob("events.out.tfevents.*"):
            path.unlink()
        for event, when in events:
            self.write(event, when)

    def close(self) -> None:
        """Write scalars that are still in memory."""
        self._writer.close()


_COSTS = ("loss", "spikes_per_decision", "effective_acs", "effective_macs")


def scalars(event: Event) -> dict[str, tuple[float, int]]:
    """Value and age, by name, of each number in ``event`` that becomes a curve."""
    if isinstance(event, Learned):
        name = f"{event.being}/{event.number}-{event.task}"
        values = {f"{name}/{key}": value for key, value in event.losses.items()}
        values |= {f"{name}/spike_rate/layer_{i}": rate for i, rate in enumerate(event.spike_rates)}
        values |= {} if event.episode_return is None else {f"{name}/episode_return": event.episode_return}
        return {key: (value, event.age) for key, value in values.items()}
    if isinstance(event, Evaluated):
        return {
            f"{event.being}/{event.part}/{task}/{key}": (score[key], event.age)
            for task, score in event.scores.items()
            for key in ("return_mean", *_COSTS)
            if score.get(key) is not None
        }
    if isinstance(event, Evolved) and not event.asleep:
        return {f"{event.being}/evolution/{key}": (value, event.age) for key, value in _generation(event).items()}
    return {}


def _generation(event: Evolved) -> dict[str, float]:
    """Whether a candidate was adopted, the best return of a candidate, and the scores of the being that lives on."""
    scores = {row["number"]: row["scores"] for row in event.candidates}
    survivor = scores.get(PARENT if event.adopted is None else event.adopted, {})
    returns = [own["return"] for number, own in scores.items() if number != PARENT and "return" in own]
    best = {"best_return": max(returns)} if returns else {}
    return {"adopted": float(event.adopted is not None), **best, **survivor}
