"""Avalanche's and our strategies, made from their names; importing this module imports Avalanche, which is slow."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import torch
from avalanche.benchmarks.utils.utils import concat_datasets
from avalanche.training.plugins import EvaluationPlugin
from avalanche.training.storage_policy import ClassBalancedBuffer
from avalanche.training.supervised.der import DER
from avalanche.training.supervised.er_ace import ER_ACE
from avalanche.training.supervised.er_aml import ER_AML
from avalanche.training.templates import SupervisedTemplate
from torch import nn

from snn4.learners.continual.active_synapses import ActiveSynapses
from snn4.learners.continual.config import ContinualRecipe
from snn4.learners.continual.er_ace import Arriving, asymmetric_cross_entropy
from snn4.learners.continual.experiences import NumberedSamples
from snn4.learners.continual.icarl import ICaRL, ICaRLLoss
from snn4.learners.continual.lesson_loop import RecipePlugin, in_pieces
from snn4.learners.continual.memories import (
    AGem,
    ByClass,
    ByExperience,
    GDumb,
    Gem,
    Kept,
    Mir,
    Replay,
    kept_buffer,
    refill,
)
from snn4.learners.continual.numbered_model import NumberedModel
from snn4.learners.continual.penalties import Ewc, Lwf, Mas, Si
from snn4.learners.continual.spike_replay import Code, SpikeReplay, latent_code
from snn4.learners.continual.strategies import STRATEGIES, StrategyConfig
from snn4.learners.plain_data import on_device, tensors


class _Buffered:
    """A strategy of Avalanche with its memory in ``storage_policy``."""

    storage_policy: Any

    def __init__(self, *, samples: NumberedSamples, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if type(self.storage_policy) is ClassBalancedBuffer:
            self.storage_policy = ByClass(self.storage_policy.max_size)

    def kept(self) -> Kept:
        return kept_buffer(self.storage_policy)

    def restore(self, kept: Kept, samples: NumberedSamples) -> None:
        refill(self.storage_policy, kept, samples)


class Der(_Buffered, DER):  # type: ignore[misc]
    """Avalanche's DER."""


class ErAce(_Buffered, ER_ACE):  # type: ignore[misc]
    """Avalanche's ER-ACE, except that a sample enters the memory after the update on it. Avalanche's memory holds its
    share of an experience from the beginning."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.ace_criterion = asymmetric_cross_entropy

    def _before_training_exp(self, **kwargs: Any) -> None:
        policy = self.storage_policy
        before = policy.buffer
        super()._before_training_exp(**kwargs)
        self.replay_loader = None
        if len(before):
            self.replay_loader = Arriving(before, policy.buffer, policy.max_size, self.batch_size_mem)

    def _after_training_iteration(self, **kwargs: Any) -> None:
        super()._after_training_iteration(**kwargs)
        if self.replay_loader is not None:
            self.replay_loader.meet(self.mb_x)


class ErAml(_Buffered, ER_AML):  # type: ignore[misc]
    """Avalanche's ER-AML. Its memory holds its share of an experience from the beginning, before any update."""


class Together(SupervisedTemplate):  # type: ignore[misc]
    """Several experiences as one, as in Avalanche's JointTraining and Cumulative.

    Args:
        samples: the training samples.
        all_at_once: whether later experiences are included.
    """

    def __init__(self, *, samples: NumberedSamples, all_at_once: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.samples = samples
        self.all_at_once = all_at_once
        self.n_joined = 0

    def train_dataset_adaptation(self, **kwargs: Any) -> None:
        self.n_joined = len(self.samples.experiences) if self.all_at_once else self.clock.train_exp_counter + 1
        self.adapted_dataset = concat_datasets([x.dataset for x in self.samples.experiences[: self.n_joined]])

    def kept(self) -> Kept:
        return {"rows": torch.arange(self.samples.first[self.n_joined])}

    def restore(self, kept: Kept, samples: NumberedSamples) -> None:
        """Do nothing: the number of experiences is known."""


@dataclass(frozen=True)
class Making:
    """The parts that all strategies are made from."""

    config: StrategyConfig
    training: ContinualRecipe
    model: NumberedModel
    samples: NumberedSamples

    @cached_property
    def code(self) -> Code:
        """The storage format of spike-replay for the output of its layer."""
        return latent_code(self.model, self.samples.images(torch.zeros(1, dtype=torch.int64)))

    @property
    def memory(self) -> int:
        """Number of samples that may be kept."""
        if self.config.memory_bytes is None:
            return self.config.memory
        scores = 4 * self.model.sight.stream.n_classes if self.config.name == "der" else 0
        size = self.code.sample_bytes if self.config.name == "spike-replay" else self.samples.sample_bytes + scores
        return self.config.memory_bytes // size

    @property
    def share(self) -> int:
        """Number of samples per experience."""
        return self.memory // len(self.samples.experiences)

    @property
    def memory_batch_size(self) -> int:
        return self.training.memory_batch_size or self.training.batch_size

    def _smallest_class(self) -> int:
        """Number of samples of the smallest class in any experience."""
        first = self.samples.first
        parts = [self.samples.labels[start:end] for start, end in pairwise(first)]
        return min(int(part.unique(return_counts=True)[1].min()) for part in parts)

    def check(self) -> None:
        """ValueError for a memory that is too small, a batch size that is too large, or a layer whose outputs are not
        single spikes.

        With less memory, Avalanche's DER and ER-ACE would learn without it, and its ER-AML would wait forever for a
        whole mini-batch of a class.
        """
        name, n_classes = self.config.name, self.model.sight.stream.n_classes
        n_experiences = len(self.samples.experiences)
        least = {
            "gem": n_experiences, "agem": n_experiences, "spike-replay": n_experiences, "icarl": n_classes,
            "der": self.memory_batch_size, "er-ace": self.memory_batch_size,
            "er-aml": max(self.memory_batch_size, n_classes * self.training.batch_size),
        }.get(name, 1)  # fmt: skip
        if STRATEGIES[name].replays and self.memory < least:
            setting = "memory: got" if self.config.memory_bytes is None else "memory_bytes: got room for"
            raise ValueError(f"{setting} {self.memory} samples, allowed for {name} here are {least} or more")
        if name == "er-aml" and (few := self._smallest_class()) < self.training.batch_size:
            raise ValueError(
                f"batch_size: got {self.training.batch_size}, allowed for er-aml here is {few} or less, the size of "
                "the smallest class"
            )
        if name == "spike-replay":
            self.code  # noqa: B018  # raises for other values than 0 and 1

    def replay_bytes(self, kept: Kept | None) -> int:
        """Size of the samples in ``kept``; numbers count as raw samples."""
        return sum(len(x) * self.samples.sample_bytes if name == "rows" else x.nbytes
                   for name, x in tensors(kept) if name in ("rows", "codes"))  # fmt: skip

    def memory_bytes(self, kept: Kept | None) -> int:
        """Size of everything in ``kept``, and of the copies of the network that the strategy makes while learning."""
        others = sum(x.nbytes for name, x in tensors(kept) if name not in ("rows", "codes", "labels", "tasks"))
        _, plugins, _ = _parts(self)
        copies = sum(getattr(plugin, "copies", 0) for plugin in plugins)
        network = sum(x.nbytes for x in self.model.network.state_dict().values())
        return self.replay_bytes(kept) + others + copies * network


def make_strategy(making: Making, optimizer: torch.optim.Optimizer, number: int, kept: Kept | None) -> Any:
    """The strategy after ``number`` experiences, restored from ``kept``."""
    kind, plugins, extra = _parts(making)
    recipe, model = making.training.recipe, making.model
    strategy = in_pieces(kind)(**{
        "passes": making.training.passes, "model": model, "optimizer": optimizer, "criterion": nn.CrossEntropyLoss(),
        "train_mb_size": recipe.batch_size, "train_epochs": making.config.chosen.get("epochs") or recipe.epochs,
        "plugins": [RecipePlugin(recipe, model.sight), *plugins], "device": model.device,
        "evaluator": _no_metrics, "eval_every": -1, **extra,
    })  # fmt: skip
    strategy.clock.train_exp_counter = number
    strategy.remembering = next((part for part in (strategy, *plugins) if hasattr(part, "kept")), None)
    if kept is not None:
        if getattr(strategy.remembering, "beside_weights", False):  # checkpoints are on the CPU
            kept = on_device(model.device, kept)
        strategy.remembering.restore(kept, making.samples)
    return strategy


def _no_metrics() -> EvaluationPlugin:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "No loggers specified", UserWarning)
        return EvaluationPlugin(loggers=[], collect_all=False)


Parts = tuple[type[Any], list[Any], dict[str, Any]]
"""Avalanche's class of the strategy, plugins, other arguments."""

PENALTIES = {"ewc": Ewc, "si": Si, "mas": Mas, "lwf": Lwf}
OWN_LOOPS = {"der": Der, "er-ace": ErAce, "er-aml": ErAml}


def _parts(m: Making) -> Parts:
    options, name = m.config.chosen, m.config.name
    if name in PENALTIES:
        return SupervisedTemplate, [PENALTIES[name](**options)], {}
    if name in OWN_LOOPS:
        extra = {"feature_extractor": _features(m.model)} if name == "er-aml" else {}
        sizes = {"mem_size": m.memory, "batch_size_mem": m.memory_batch_size}
        return OWN_LOOPS[name], [], {**sizes, **options, **extra, "samples": m.samples}
    match name:
        case "joint" | "cumulative":
            return Together, [], {"samples": m.samples, "all_at_once": name == "joint"}
        case "spike-replay":
            sizes = {"memory": m.memory, "batch_size_mem": m.memory_batch_size}
            return SpikeReplay, [], {**sizes, "code": m.code, "samples": m.samples}
        case "icarl":
            loss = ICaRLLoss()
            return SupervisedTemplate, [ICaRL(m.memory, m.samples), loss], {"criterion": loss}
    return SupervisedTemplate, _plugins(m, options), {}


def _plugins(m: Making, options: dict[str, Any]) -> list[Any]:
    match m.config.name:
        case "replay":
            policy = {"experience": ByExperience, "class": ByClass}[options["balance"]]
            return [Replay(policy(m.memory), m.memory_batch_size, options["logit_adjustment"], options["distillation"])]
        case "mir":
            return [Mir(mem_size=m.memory, batch_size_mem=m.memory_batch_size, **options)]
        case "gem":
            return [Gem(m.share, **options)]
        case "agem":
            return [AGem(m.share, **options)]
        case "gdumb":
            return [GDumb(m.memory)]
        case "active-synapses" | "task-gates":  # task-gates: the model has the gates
            return [ActiveSynapses(options["strength"], options["samples"])]
    return []  # naive


def _features(model: NumberedModel) -> Any:
    return lambda numbers: model.features(model.sight.images(numbers))
