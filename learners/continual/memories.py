"""Avalanche's strategies with samples in memory; memories are saved and restored as plain data."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from avalanche.benchmarks.utils import DataAttribute, make_avalanche_dataset
from avalanche.benchmarks.utils.flat_data import FlatData
from avalanche.benchmarks.utils.utils import concat_datasets
from avalanche.training.plugins import AGEMPlugin, GDumbPlugin, GEMPlugin, MIRPlugin, ReplayPlugin
from avalanche.training.storage_policy import (
    BalancedExemplarsBuffer,
    ClassBalancedBuffer,
    ExperienceBalancedBuffer,
    ReservoirSamplingBuffer,
)
from scipy.optimize import nnls
from torch import Tensor

from snn4.learners.continual.earlier_self import EarlierSelf
from snn4.learners.continual.experiences import Batches, NumberedSamples, columns, numbers_of
from snn4.learners.continual.logit_adjustment import log_frequencies

Kept = dict[str, Any]
"""The data that a strategy keeps between experiences: plain data and tensors. ``rows`` are numbers of samples."""


def kept_buffer(policy: BalancedExemplarsBuffer) -> Kept:
    """The groups of a balanced buffer, in order."""
    return {"groups": [_kept_group(key, group) for key, group in policy.buffer_groups.items()]}


def refill(policy: BalancedExemplarsBuffer, kept: Kept, samples: NumberedSamples) -> None:
    """Restore a buffer from `kept_buffer`."""
    for group in kept["groups"]:
        buffer = policy.buffer_groups[group["key"]] = ReservoirSamplingBuffer(group["size"])
        dataset = samples.subset(group["rows"])
        buffer.buffer = _with_scores(dataset, group["scores"]) if "scores" in group else dataset
        buffer._buffer_weights = group["weights"]
    if isinstance(policy, ExperienceBalancedBuffer):
        policy._num_exps = len(policy.buffer_groups)
    else:
        policy.seen_classes = set(policy.buffer_groups)


def _kept_group(key: int, group: ReservoirSamplingBuffer) -> Kept:
    kept = {"key": key, "size": group.max_size, "rows": numbers_of(group.buffer), "weights": group._buffer_weights}
    if hasattr(group.buffer, "logits"):  # even without samples: Avalanche joins groups only if all have scores
        kept["scores"] = torch.stack(list(group.buffer.logits)) if len(group.buffer) else torch.empty(0)
    return kept


def _with_scores(dataset: Any, scores: Tensor) -> Any:
    attribute = DataAttribute(FlatData([list(scores)]), "logits", use_in_getitem=True)
    return make_avalanche_dataset(dataset, data_attributes=[attribute])


class ByExperience(ExperienceBalancedBuffer):  # type: ignore[misc]
    """Avalanche's buffer with equal shares of all experiences."""

    def update(self, strategy: Any, **kwargs: Any) -> None:
        self.post_adapt(strategy, strategy.experience)  # Avalanche's `update` warns about Avalanche's own calls


class ByClass(ClassBalancedBuffer):  # type: ignore[misc]
    """Avalanche's buffer with equal shares of all classes."""

    def update(self, strategy: Any, **kwargs: Any) -> None:
        self.post_adapt(strategy, strategy.experience)


class Replay(ReplayPlugin):  # type: ignore[misc]
    """Avalanche's replay with logit adjustment, distillation and repeated augmented rehearsal (Zhang et al. 2022).

    Each update on a mini-batch draws other old samples. All mini-batches of old samples have the same size; in
    Avalanche, the last one before each shuffle has the remainder.

    Args:
        policy: the memory.
        batch_size_mem: old samples per update.
        adjustment: tau of logit adjustment; 0: none.
        distillation: strength of `EarlierSelf`; 0: none.
    """

    def __init__(
        self, policy: BalancedExemplarsBuffer, batch_size_mem: int, adjustment: float = 0.0, distillation: float = 0.0
    ) -> None:
        super().__init__(policy.max_size, batch_size_mem=batch_size_mem, storage_policy=policy)
        self.adjustment, self._added = adjustment, torch.empty(0)
        self.distillation, self.copies = distillation, int(distillation > 0)
        self._teacher: EarlierSelf | None = None

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        memory = self.storage_policy.buffer
        if not len(memory):
            return
        new, old = strategy.dataloader, Batches(columns(memory), self.batch_size_mem)
        strategy.dataloader = _Beside(new, old)
        if self.adjustment:
            drawn = (new, new.mean_size), (old, old.whole_size)
            frequencies = log_frequencies(drawn, strategy.model.heads, strategy.model.sight.stream.n_classes)
            self._added = self.adjustment * frequencies.to(strategy.device)
        if self.distillation:
            new = strategy.experience.classes_in_this_experience
            self._teacher = EarlierSelf(strategy.model, old, new, self.distillation)

    def after_forward(self, strategy: Any, **kwargs: Any) -> None:
        if len(self._added):
            heads = strategy.mb_task_id % len(self._added)  # a single head serves all tasks
            self._scores = strategy.mb_output
            strategy.mb_output = self._scores + self._added[heads]

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        if len(self._added):
            strategy.mb_output = self._scores  # accuracy is measured on these
        if self._teacher is not None:
            strategy.loss = self._teacher.added(strategy.loss, strategy.mb_output, strategy.mb_x, strategy.mb_task_id)

    def kept(self) -> Kept:
        return kept_buffer(self.storage_policy)

    def restore(self, kept: Kept, samples: NumberedSamples) -> None:
        refill(self.storage_policy, kept, samples)


class _Beside:
    """Mini-batches of new samples, each followed by old samples."""

    def __init__(self, new: Batches, old: Batches) -> None:
        self.new, self.old = new, old

    def __len__(self) -> int:
        return len(self.new)

    def __iter__(self) -> Any:
        for new, old in zip(self.new, self.old.endless(), strict=False):
            yield [torch.cat(pair) for pair in zip(new, old, strict=True)]


class Gem(GEMPlugin):  # type: ignore[misc]
    """Avalanche's GEM with SciPy's solver in place of quadprog's."""

    def solve_quadprog(self, g: Tensor) -> Tensor:
        """The gradient nearest to ``g`` that harms no memory (equation 11): with v = u + margin and P = L L^T,

        ``min over u >= 0 of |L^T u + L^-1 (G g + P margin)|^2``, a non-negative least-squares problem.
        """
        memories, gradient = self.G.double().cpu().numpy(), g.double().cpu().numpy()
        products = memories @ memories.T
        lower = np.linalg.cholesky(products + 1e-3 * np.eye(len(products)))
        target = np.linalg.solve(lower, memories @ gradient) + lower.T @ np.full(len(products), self.memory_strength)
        weights = nnls(lower.T, -target)[0] + self.memory_strength
        return torch.from_numpy(weights @ memories + gradient).float()

    def kept(self) -> Kept:
        return {"experiences": [{"rows": rows} for rows in self.memory_x.values()]}

    def restore(self, kept: Kept, samples: NumberedSamples) -> None:
        for number, experience in enumerate(kept["experiences"]):
            rows = experience["rows"]
            self.memory_x[number], self.memory_y[number] = rows, samples.labels[rows]
            self.memory_tid[number] = samples.tasks[rows]


class AGem(AGEMPlugin):  # type: ignore[misc]
    """Avalanche's A-GEM, with random choices by torch, and ``sample_size`` samples drawn from all memories together.

    In Avalanche, Python's generator chooses the samples to keep, and each memory gives ``sample_size // memories``.
    """

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        if self.buffers:
            self.buffer_dliter = Batches(columns(concat_datasets(self.buffers)), self.sample_size).endless()

    def update_memory(self, dataset: Any, num_workers: int = 0, **kwargs: Any) -> None:
        chosen = torch.randperm(len(dataset))[: self.patterns_per_experience]
        self.buffers.append(dataset.subset(chosen.tolist()))

    def kept(self) -> Kept:
        return {"experiences": [{"rows": numbers_of(buffer)} for buffer in self.buffers]}

    def restore(self, kept: Kept, samples: NumberedSamples) -> None:
        self.buffers = [samples.subset(experience["rows"]) for experience in kept["experiences"]]


class Mir(MIRPlugin):  # type: ignore[misc]
    """Avalanche's MIR, except that all samples in memory are candidates. Avalanche leaves out all classes of an
    experience's last mini-batch until the next experience ends: on a class-incremental stream, the newest classes.

    As in Avalanche, candidates pass the network in training mode, and so change the statistics of norms.
    """

    copies = 1

    def __init__(self, *, batch_size_mem: int, **kwargs: Any) -> None:
        super().__init__(batch_size_mem=batch_size_mem, **kwargs)
        self._largest_batch = batch_size_mem

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        memory = self.storage_policy.buffer
        if len(memory):
            # With fewer samples than it must choose, Avalanche would leave out some.
            self.batch_size_mem = min(self._largest_batch, self.subsample, len(memory))
            self.replay_loader = Batches(columns(memory), self.subsample).endless()

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        self.storage_policy.post_adapt(strategy, strategy.experience)

    def kept(self) -> Kept:
        return kept_buffer(self.storage_policy)

    def restore(self, kept: Kept, samples: NumberedSamples) -> None:
        refill(self.storage_policy, kept, samples)


class GDumb(GDumbPlugin):  # type: ignore[misc]
    """Avalanche's GDumb, which resets the same network to its initial weights."""

    def __init__(self, memory: int) -> None:
        super().__init__(memory)
        self.storage_policy = ByClass(memory)
        self.initial: dict[str, Tensor] | None = None

    def before_train_dataset_adaptation(self, strategy: Any, **kwargs: Any) -> None:
        if self.initial is None:
            self.initial = {name: x.detach().clone() for name, x in strategy.model.state_dict().items()}
        strategy.model.load_state_dict(self.initial)

    def before_eval_dataset_adaptation(self, strategy: Any, **kwargs: Any) -> None:
        pass

    def kept(self) -> Kept:
        return {**kept_buffer(self.storage_policy), "initial": self.initial}

    def restore(self, kept: Kept, samples: NumberedSamples) -> None:
        refill(self.storage_policy, kept, samples)
        self.initial = kept["initial"]
