"""Image classification by the policy of a life: encoder of the task -> shared trunk -> head; cross-entropy loss."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from stable_baselines3.common.policies import BasePolicy
from torch import Tensor
from torch.nn import functional as F

from snn4.learners.not_finite import NotFinite, check_network
from snn4.learners.reinforcement import Progress
from snn4.policies.acting.behaviour import head_outputs
from snn4.policies.acting.waking import load_sleepers, sleepers, write_notes
from snn4.policies.metering.meter import Meter


@dataclass(frozen=True)
class ClassificationConfig:
    """Settings for learning images inside a life."""

    learning_rate: float = 1e-3
    """Learning rate of the policy's Adam."""
    batch_size: int = 64
    """Images per update."""

    def __post_init__(self) -> None:
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate: got {self.learning_rate}, allowed is a finite number > 0")
        if not 1 <= self.batch_size <= 10**6:
            raise ValueError(f"batch_size: got {self.batch_size}, allowed is a whole number >= 1 and <= 1,000,000")


class Images(Protocol):
    """Training images by position (B,), augmented by random numbers (B,): x (B, C, H, W), labels (B,)."""

    def take(self, positions: Tensor, numbers: Tensor | None, /) -> tuple[Tensor, Tensor]: ...

    def __len__(self) -> int: ...


class ClassificationLearner:
    """A learner of ``steps`` images, with the interface of `ReinforcementLearner`: each image is one step, and a
    correct answer returns 1.

    Order and augmentation depend only on the seed of `begin`, so that a learner resumed from `state` at a `begin`
    equals one that was never interrupted.
    """

    def __init__(self, config: ClassificationConfig, policy: BasePolicy, images: Images, steps: int) -> None:
        self.config = config
        self.policy = policy
        self.images = images
        self.steps = steps
        self.step = 0
        self._random, self._order = torch.Generator(), torch.empty(0, dtype=torch.int64)
        self.notes: list[str] = []
        """See `ReinforcementLearner`."""
        write_notes(policy, self.notes)
        for group in policy.optimizer.param_groups:
            group["lr"] = config.learning_rate

    def begin(self, seed: int) -> None:
        """Start a repeatable stretch: ``seed`` determines all randomness."""
        self._random.manual_seed(seed)
        torch.manual_seed(seed)
        self._order = torch.empty(0, dtype=torch.int64)

    def learn(self, until: int, stop: Callable[[], bool] = lambda: False) -> Iterator[Progress]:
        """Learn up to image ``until``, with about 200 reports per task.

        Raises:
            NotFinite: naming the loss or the parameter, and the step.
        """
        stopped = False
        while self.step < until and not stopped:
            started, goal = time.perf_counter(), min(until, self.step + max(1, self.steps // 200))
            right = images = 0
            while self.step < goal and not stopped:
                x, labels = self._batch(min(self.config.batch_size, until - self.step))
                loss, answers = self._update(x, labels)
                right, images = right + int((answers == labels).sum()), images + len(labels)
                self.step += len(labels)
                stopped = stop()
            self._check(loss)
            with Meter(self.policy) as meter, torch.no_grad():
                head_outputs(self.policy, x)
            seconds = time.perf_counter() - started
            yield Progress(self.step, right / images, meter.spike_rates, {"train/loss": loss}, seconds)

    def _batch(self, size: int) -> tuple[Tensor, Tensor]:
        """The next images; all images come once before any repeats."""
        if len(self._order) < size:
            self._order = torch.cat([self._order, torch.randperm(len(self.images), generator=self._random)])
        chosen, self._order = self._order[:size], self._order[size:]
        x, labels = self.images.take(chosen, torch.randint(2**62, (len(chosen),), generator=self._random))
        return x.to(self.policy.device), labels.to(self.policy.device)

    def _update(self, x: Tensor, labels: Tensor) -> tuple[float, Tensor]:
        self.policy.set_training_mode(True)
        scores = head_outputs(self.policy, x)
        loss = F.cross_entropy(scores, labels)
        self.policy.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.policy.optimizer.step()
        self.policy.set_training_mode(False)
        return loss.item(), scores.argmax(1)

    def _check(self, loss: float) -> None:
        if not math.isfinite(loss):
            raise NotFinite(f"step {self.step}: train/loss is {loss}")
        check_network(self.policy, f"step {self.step}: policy")

    def skip(self, steps: int) -> None:
        """Count ``steps`` images that were learned elsewhere."""
        self.step += steps

    def adopt(self, before: dict[str, Any], normalization: dict[str, Any] | None) -> None:
        """Go on at the place of a learner of another policy in the same task, whose `state` was ``before``."""
        self.step = before["step"]

    def close(self) -> None:
        """Do nothing."""

    def normalize_as(self, statistics: dict[str, Any] | None) -> None:
        """Do nothing: the data set fixes the statistics of images."""

    def normalization(self) -> None:
        """None: see `normalize_as`."""

    def state(self) -> dict[str, Any]:
        """Everything that learning depends on at a `begin`."""
        return {
            "step": self.step,
            "policy": self.policy.state_dict(),
            "optimizer": self.policy.optimizer.state_dict(),
            "sleepers": sleepers(self.policy),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
        self.step = state["step"]
        self.policy.load_state_dict(state["policy"])
        self.policy.optimizer.load_state_dict(state["optimizer"])
        load_sleepers(self.policy, state.get("sleepers", {}))  # checkpoints of 0.1 have none
