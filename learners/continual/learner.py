"""Continual learning: Avalanche's and our strategies for spiking networks and their ANN twins.

Making a `ContinualLearner` imports Avalanche; importing this module does not.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from snn4.learners.continual.config import ContinualRecipe as ContinualRecipe
from snn4.learners.continual.experiences import ExperienceStream as ExperienceStream
from snn4.learners.continual.experiences import NumberedSamples
from snn4.learners.continual.experiences import n_outputs as n_outputs
from snn4.learners.continual.split_network import SplitNetwork, split_after_spikes, split_before_readout
from snn4.learners.continual.strategies import STRATEGIES as STRATEGIES
from snn4.learners.continual.strategies import StrategyConfig as StrategyConfig
from snn4.learners.not_finite import NotFinite, check_network
from snn4.learners.randomness import Randomness
from snn4.learners.recipe import make_optimizer
from snn4.policies.metering.meter import Cost, Meter
from snn4.policies.networks.classifier import Network


@dataclass(frozen=True)
class Lesson:
    """A report on a piece of an experience."""

    experience: int
    epoch: int
    """From 0."""
    images: int
    """New samples of the experience learned so far, in all epochs."""
    total: int
    """The same at the end of the experience."""
    loss: float
    """Including the strategy's own terms."""
    accuracy: float
    """In the updates since the last report, including replayed samples."""
    seconds: float


class ContinualLearner:
    """A network that learns the experiences of a stream in order, with a strategy against forgetting.

    A strategy object lives for one experience: it is made, restored from plain data, learns, and returns plain data.
    All randomness depends on ``seed`` and the number of the experience. So a learner that continues from `state`
    equals, bit by bit, one that was never interrupted, and an interrupted experience leaves no trace.

    Args:
        strategy: the strategy and its memory.
        training: the recipe.
        network: with `n_outputs` outputs: one head, or with task labels one head per task.
        stream: the experiences.
        seed: of all randomness.
        device: of the network.

    Raises:
        ValueError: before learning begins, for a strategy that does not support the scenario or the network, a memory
            that is too small for it, and a network with other outputs than the stream.
        ModuleNotFoundError: without Avalanche, with the package to install.
    """

    def __init__(
        self,
        strategy: StrategyConfig,
        training: ContinualRecipe,
        network: Network,
        stream: ExperienceStream,
        seed: int,
        device: str | torch.device = "cpu",
    ) -> None:
        strategy.check_scenario(stream.scenario)
        if network.config.n_classes != n_outputs(stream):
            raise ValueError(
                f"n_classes: got a network with {network.config.n_classes} outputs, allowed are {n_outputs(stream)}, "
                "the outputs of the stream's heads (n_outputs)"
            )
        split = _split(strategy, network)
        try:
            from snn4.learners.continual import avalanche_strategies, numbered_model, task_gates
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "Avalanche provides the strategies: pip install 'snn4-agent[continual]'"
            ) from error
        self.strategy, self.training = strategy, training
        self.network = network
        self.stream = stream
        self.seed = seed
        samples = NumberedSamples(stream)
        sight = numbered_model.Sight(stream, samples, training.augment)
        self._model = task_gates.make_model(
            network.to(device), sight, split, torch.device(device), training.precision == "bf16",
            gates=(seed, strategy.chosen["gated"]) if strategy.name == "task-gates" else None,
        )  # fmt: skip
        self._making = avalanche_strategies.Making(strategy, training, self._model, samples)
        self._making.check()
        self._make = avalanche_strategies.make_strategy
        self.learned = 0
        """Number of finished experiences."""
        self.stopped = False
        """Whether ``stop`` ended the last `learn`."""
        self._state = self._snapshot(None, None)

    def learn(self, experience: Any, stop: Callable[[], bool] = lambda: False, every: float = 2.0) -> Iterator[Lesson]:
        """Learn the next experience, with reports at intervals and at the end of each epoch.

        There is no report if nothing is left to learn: joint learns everything in the first experience.

        Args:
            experience: of the stream's ``train``.
            stop: called after each update; True ends learning at once and restores the state before the experience.
            every: seconds between reports.

        Raises:
            ValueError: for another experience than the next one.
            NotFinite: if the loss or a weight is not finite; the state before the experience is restored.
        """
        number = experience.current_experience
        if number != self.learned:
            raise ValueError(f"experience: got number {number}, allowed is {self.learned}, the next")
        self.stopped = False
        if self.strategy.name == "joint" and number:
            self.learned += 1
            self._state = {**self._state, "learned": self.learned}
            return
        try:
            yield from self._learn(number, stop, every)
        finally:
            if self.learned == number:  # stopped, abandoned or failed
                self.load_state(self._state)

    def _learn(self, number: int, stop: Callable[[], bool], every: float) -> Iterator[Lesson]:
        randomness, optimizer = Randomness(self.seed, number), self._optimizer(number)
        strategy = self._make(self._making, optimizer, number, self._state["memory"])
        updates = strategy.learn(self._making.samples.experiences[number])
        sums, started = torch.zeros(3, device=self._model.device), time.perf_counter()
        while True:
            with randomness:
                update = next(updates, None)
            if update is None:
                break
            sums += update.sums
            self.stopped, seconds = stop(), time.perf_counter() - started
            if self.stopped or seconds > every or update.ends_epoch:
                loss, accuracy = self._means(sums, f"experience {number}, epoch {update.epoch}")
                yield Lesson(number, update.epoch, update.images, update.total, loss, accuracy, seconds)
                sums, started = torch.zeros_like(sums), time.perf_counter()
            if self.stopped:
                return
        self.learned += 1
        self._state = self._snapshot(optimizer, strategy)

    def _optimizer(self, number: int) -> torch.optim.Optimizer:
        if self.strategy.name == "spike-replay" and number:
            self._model.freeze_lower()
        optimizer = make_optimizer(self.training.recipe, self.network)
        if self._state["optimizer"] is not None:
            # A copy, since the optimizer changes these tensors.
            optimizer.load_state_dict(copy.deepcopy(self._state["optimizer"]))
        return optimizer

    def _means(self, sums: Tensor, where: str) -> tuple[float, float]:
        """Loss and accuracy; NotFinite if the loss or a weight is not finite."""
        loss, right, n = sums.tolist()
        if not math.isfinite(loss):
            raise NotFinite(f"{where}: the loss is {loss / n}; try a smaller learning_rate, or clip")
        check_network(self.network, where)
        return loss / n, right / n

    @torch.no_grad()
    def scores(self, experience: Any) -> float:
        """Accuracy on all samples of an experience from any part of the stream, each in the head of its task."""
        right = 0
        with self._model.evaluated():
            for x, labels, tasks in batches(experience.dataset):
                right += int((self._answer(x, tasks).argmax(1).cpu() == labels).sum())
        return right / len(experience.dataset)

    def _answer(self, x: Tensor, tasks: Tensor) -> Tensor:
        if self.strategy.name == "icarl" and self._state["memory"] is not None:
            from snn4.learners.continual.icarl import nearest_means

            return nearest_means(self._model.features(x).cpu(), self._state["memory"]["means"])
        return self._model.answer(x, tasks)

    @torch.no_grad()
    def cost(self, experience: Any, n: int = 256) -> Cost:
        """Spikes and operations per decision, on ``n`` samples spread over an experience.

        Raises:
            ValueError: for networks with layers whose operations cannot be counted.
        """
        total = len(experience.dataset)
        places = torch.linspace(0, total - 1, min(n, total)).round().long()  # data sets are often sorted by class
        x, _, tasks = next(batches(experience.dataset.subset(places.tolist()), n))
        with self._model.evaluated(), Meter(self.network) as meter:
            self._model.answer(x, tasks)
        return meter.cost()

    def decision(self, experience: Any) -> Callable[[], Tensor]:
        """A function that decides on the first sample of an experience, without learning."""
        x, _, tasks = next(batches(experience.dataset.subset([0]), 1))

        def decide() -> Tensor:
            with self._model.evaluated(), torch.no_grad():
                return self._model.answer(x, tasks)

        return decide

    @property
    def replay_bytes(self) -> int:
        """Size of the samples that the strategy keeps, as stored: raw, or spikes as bits."""
        return self._making.replay_bytes(self._state["memory"])

    @property
    def memory_bytes(self) -> int:
        """Size of everything that the strategy needs besides the network: samples, scores, importances, copies of the
        network, and the keys by which Avalanche draws samples; without labels and tasks."""
        return self._making.memory_bytes(self._state["memory"])

    def state(self) -> dict[str, Any]:
        """Everything that learning depends on, after the last whole experience, as plain data and tensors."""
        return self._state

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
        self._model.unfreeze_lower()  # spike-replay freezes it again after its first experience
        self.learned, self._state = state["learned"], state
        self.network.load_state_dict(state["network"])

    def _snapshot(self, optimizer: torch.optim.Optimizer | None, strategy: Any) -> dict[str, Any]:
        keeps_moments = not self.training.fresh_optimizer and self.strategy.name not in ("gdumb", "spike-replay")
        return {
            "learned": self.learned,
            "network": {name: x.detach().clone() for name, x in self.network.state_dict().items()},
            "optimizer": optimizer.state_dict() if optimizer and keeps_moments else None,
            "memory": strategy.remembering.kept() if strategy and strategy.remembering else None,
        }


def batches(dataset: Any, size: int = 256) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Raw samples (B, …), labels and task labels (B,), in order."""
    for first in range(0, len(dataset), size):
        x, y, tasks = zip(*(dataset[place] for place in range(first, min(first + size, len(dataset)))), strict=True)
        yield torch.stack(x), torch.tensor(y), torch.tensor(tasks)


def _split(strategy: StrategyConfig, network: Network) -> SplitNetwork | None:
    if strategy.name == "spike-replay":
        return split_after_spikes(network, strategy.chosen["layer"])
    return split_before_readout(network) if strategy.name in ("icarl", "er-aml") else None
