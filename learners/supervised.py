"""Supervised learning of images and events on lightning-fabric, in pieces that can be watched, stopped and resumed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional as F

from snn4.learners.mixing import mixed
from snn4.learners.not_finite import NotFinite, check_network
from snn4.learners.recipe import Recipe, averaged_copy, lay_out, learning_rate, make_optimizer
from snn4.policies.networks.classifier import Network, SpikingClassifier

if TYPE_CHECKING:
    from snn4.learners.lessons import Lessons

Batches = Callable[[int, int], Iterable[tuple[Tensor, ...]]]
"""``(epoch, first)`` -> batches of the epoch from ``first`` on: x (B, C, H, W) or (T, B, C, H, W), labels (B,), and
possibly the teacher's logits (teachers, B, classes) if it has seen these very images before."""


@dataclass(frozen=True)
class Fit:
    """A report on a piece of learning."""

    epoch: int
    """Number of finished epochs."""
    images: int
    """Images, or recordings, learned so far in all processes."""
    T: int | None
    """Inner steps in this epoch, if the recipe sets them. None: the T of the network, or the frames of events."""
    loss: float
    accuracy: float
    """On the augmented and mixed batches since the last report."""
    learning_rate: float
    seconds: float


class SupervisedLearner:
    """Training of a spiking or ANN classifier by AdamW or SGD, for ``config.epochs`` epochs.

    All randomness depends on ``seed`` and the number of the batch, so that a learner resumed from `state` after any
    batch equals one that was never interrupted.

    Args:
        config: the recipe.
        network: a `SpikingClassifier`, or a `Classifier` without time.
        batches: the data, this process's share of it.
        n_batches: batches per epoch.
        seed: of mixing and dropout; the data determines order and augmentation.
        fabric: device, precision, processes; already launched.
        lessons: of a teacher; None learns from the labels alone.

    Raises:
        ValueError: if there is no batch, or the recipe's gradient is not for this network.
    """

    def __init__(
        self, config: Recipe, network: Network, batches: Batches, n_batches: int, seed: int, fabric: Fabric,
        lessons: Lessons | None = None,
    ) -> None:  # fmt: skip
        if n_batches < 1:
            raise ValueError("batch_size: got more than all training samples, allowed is at most their number")
        self.config = config
        self.seed = seed
        self.fabric = fabric
        self.batches, self.n_batches = batches, n_batches
        lay_out(network, config)
        self.module, self.spiking = network, isinstance(network, SpikingClassifier)
        self.in_tandem = self.spiking and config.gradient == "rates"
        self.lessons = lessons
        trained = self.module if lessons is None else lessons.joined(config, fabric.device)
        self.network, self.optimizer = fabric.setup(self._learning, make_optimizer(config, trained))
        if self.spiking and not self.in_tandem:
            self.network.mark_forward_method("run")
        self.average = averaged_copy(config, self.module)
        self.step = self.images = 0
        """Batches, and images in all processes, learned so far."""
        self.stopped = False
        """Whether ``stop`` ended the last `learn`."""

    @property
    def _learning(self) -> nn.Module:
        """What runs forward and backward."""
        if not self.in_tandem:
            return self.module
        from snn4.learners.conversion.tandem import Tandem  # of conversions, which few trainings start from

        return Tandem(self.module)

    @property
    def epoch(self) -> int:
        """Number of finished epochs."""
        return self.step // self.n_batches

    @property
    def steps(self) -> int:
        """Number of batches in all epochs."""
        return self.config.epochs * self.n_batches

    @property
    def learned(self) -> Network:
        """The network to use, with the moving average of its weights if the recipe keeps one."""
        return self.module if self.average is None else self.average.module  # type: ignore[return-value]

    def learn(self, stop: Callable[[], bool] = lambda: False, every: float = 2.0) -> Iterator[Fit]:
        """Learn to the end of the current epoch, with reports at intervals and at the end.

        Args:
            stop: called after each batch; True in any process stops all processes.
            every: seconds between reports.

        Raises:
            NotFinite: with the epoch, the batch, and the name of the tensor.
        """
        epoch, first = divmod(self.step, self.n_batches)
        T = self.config.T_of(epoch)
        self.network.train()
        sums = self._zeros()
        before = self.images
        started = time.perf_counter()
        for number, batch in enumerate(self.batches(epoch, first), first):
            x, labels, *answers = self.fabric.to_device(batch)
            sums += self._learn_batch(x, labels, T, *answers)
            self.stopped, due = self._agreed(stop(), time.perf_counter() - started > every)
            if due or self.stopped or number + 1 == self.n_batches:
                where = f"epoch {epoch}, batch {number}"
                loss, accuracy = self._means(sums, self.images - before, where)
                rate, seconds = learning_rate(self.config, self.step - 1, self.steps), time.perf_counter() - started
                yield Fit(self.epoch, self.images, T if x.dim() == 4 else None, loss, accuracy, rate, seconds)
                sums = self._zeros()
                before = self.images
                started = time.perf_counter()
            if self.stopped:
                return

    def _learn_batch(self, x: Tensor, labels: Tensor, T: int | None, answers: Tensor | None = None) -> Tensor:
        """One step of the optimizer; returns the sums of loss and correct answers (2,) over the batch."""
        torch.manual_seed(self._seed_of_step())
        rate = learning_rate(self.config, self.step, self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        x, targets = mixed(self.config, x, labels, self.module.config.n_classes)
        scores, loss = self._scores_and_loss(self._laid_out(x), targets, T, answers)
        self.optimizer.zero_grad(set_to_none=True)
        self.fabric.backward(loss)
        if self.lessons is not None:
            self.lessons.share_gradients(self.fabric)
        if self.config.clip is not None:
            self.fabric.clip_gradients(self.network, self.optimizer, max_norm=self.config.clip)
        self.optimizer.step()
        if self.average is not None:
            self.average.update_parameters(self.module)
        self.step += 1
        self.images += len(labels) * self.fabric.world_size
        right = (scores.detach().mean(0).argmax(1) == labels).sum()
        return torch.stack([loss.detach() * len(labels), right])

    def _zeros(self) -> Tensor:
        return torch.zeros(2, device=self.fabric.device)  # sums stay on the device: reading them would wait for it

    def _agreed(self, *votes: bool) -> tuple[bool, ...]:
        """Whether any process agrees, per vote: one that stopped or reported alone would leave the others waiting."""
        if self.fabric.world_size == 1:
            return votes
        counts: Any = self.fabric.all_reduce(torch.tensor(votes, dtype=torch.float32), reduce_op="sum")
        return tuple((counts > 0).tolist())

    def _means(self, sums: Tensor, images: int, where: str) -> tuple[float, float]:
        """Loss and accuracy over the ``images`` of all processes; NotFinite if the loss or a weight is not finite."""
        total: Any = self.fabric.all_reduce(sums, reduce_op="sum")
        loss, accuracy = (total / images).tolist()
        if not math.isfinite(loss):
            raise NotFinite(f"{where}: the loss is {loss}; try a smaller learning_rate, or clip")
        check_network(self.module, where)
        return loss, accuracy

    def _scores_and_loss(
        self, x: Tensor, targets: Tensor, T: int | None, answers: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        if self.lessons is None:
            scores = self._scores(x, T)
            return scores, self._loss(scores, targets)
        with self.fabric.autocast():
            taught = self.lessons.ask(x, answers)
        with self.lessons.watching(x.shape[-4]) as shown:
            scores = self._scores(x, T)
        own = self._loss(scores, targets)
        return scores, self.lessons.loss(own, scores, taught, shown, by_step=self.config.loss == "tet")

    def _laid_out(self, x: Tensor) -> Tensor:
        is_image = self.config.channels_last and x.dim() == 4
        return x.contiguous(memory_format=torch.channels_last) if is_image else x

    def _scores(self, x: Tensor, T: int | None) -> Tensor:
        """Scores per step (T, B, classes); an ANN has one step, and sees the mean over the bins of events.

        In tandem, the mean over all steps is the only one.
        """
        with self.fabric.autocast():  # on one device, Fabric calls `run` without its precision
            if self.in_tandem:
                return self.network(x, T).float().unsqueeze(0)  # type: ignore[no-any-return]
            if self.spiking:
                return self.network.run(x, None, T if x.dim() == 4 else None)[0].float()  # type: ignore[no-any-return]
            return self.network(x.mean(0) if x.dim() == 5 else x).float().unsqueeze(0)  # type: ignore[no-any-return]

    def _loss(self, scores: Tensor, targets: Tensor) -> Tensor:
        if self.config.loss == "mean":
            return F.cross_entropy(scores.mean(0), targets, label_smoothing=self.config.label_smoothing)
        # temporal efficient training (Deng et al. 2022): every step has its own loss
        targets = targets.repeat(len(scores), *(1,) * (targets.dim() - 1))
        return F.cross_entropy(scores.flatten(0, 1), targets, label_smoothing=self.config.label_smoothing)

    def _seed_of_step(self) -> int:
        entropy = [self.seed, self.step, self.fabric.global_rank]
        return int(np.random.SeedSequence(entropy).generate_state(1)[0])

    def state(self) -> dict[str, Any]:
        """Everything that learning depends on, as plain data and tensors."""
        average = None if self.average is None else self.average.state_dict()
        return {
            "step": self.step, "images": self.images, "network": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(), "average": average,
            "lessons": None if self.lessons is None else self.lessons.state(),
        }  # fmt: skip

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
        self.step, self.images = state["step"], state["images"]
        self.module.load_state_dict(state["network"])
        if self.lessons is not None:
            self.lessons.load_state(state["lessons"])
        self.optimizer.load_state_dict(state["optimizer"])
        for parameter, values in self.optimizer.state.items():
            # Fused optimizers need moments in the memory layout of their parameter.
            for name, moment in values.items():
                if isinstance(moment, Tensor) and moment.shape == parameter.shape:
                    values[name] = torch.empty_like(parameter).copy_(moment)
        if self.average is not None:
            self.average.load_state_dict(state["average"])
