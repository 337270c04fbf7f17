"""iCaRL (Rebuffi et al. 2017) on numbered samples; the loss is Avalanche's.

Avalanche's iCaRL supports only its own class-incremental benchmarks (`nc_benchmark`). Its means include mirror images,
even of digits. It rounds shares up, so that a memory of 200 holds 204 exemplars of six classes. A class has at most
1,000 exemplars. It can answer with classes not learned yet (1 to 3 % of answers after the first experience of
Split-digits).
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from avalanche.benchmarks.utils.utils import concat_datasets
from avalanche.core import SupervisedPlugin
from avalanche.training.losses import ICaRLLossPlugin
from torch import Tensor
from torch.nn import functional as F

from snn4.learners.continual.experiences import NumberedSamples, numbers_of
from snn4.learners.continual.memories import Kept
from snn4.learners.continual.numbered_model import NumberedModel


class ICaRLLoss(ICaRLLossPlugin):  # type: ignore[misc]
    """Avalanche's loss: labels for new classes, answers of the network at the beginning of the experience for old ones.

    The teacher is in evaluation mode. Avalanche's teacher is in training mode, without a difference on Split-digits
    (92.0 against 92.2 %).
    """

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        if strategy.clock.train_exp_counter:
            self.old_model = copy.deepcopy(strategy.model).eval()
            new_classes = strategy.experience.classes_in_this_experience
            self.old_classes = sorted({int(y) for y in strategy.adapted_dataset.targets} - set(new_classes))

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Do nothing: the network itself is the next teacher."""


class ICaRL(SupervisedPlugin):  # type: ignore[misc]
    """Exemplars that preserve the mean of each class; they are replayed, and their means are the classifier.

    Args:
        memory: exemplars of all classes together.
        samples: the training samples.
    """

    copies = 1

    def __init__(self, memory: int, samples: NumberedSamples) -> None:
        super().__init__()
        self.memory, self.samples = memory, samples
        self.exemplars: dict[int, Tensor] = {}
        """Numbers of each class's exemplars, the most representative first."""
        self.means = torch.empty(0)
        """Mean features of each class, of length 1 (n_classes, F); 0 for classes not learned yet."""

    def after_train_dataset_adaptation(self, strategy: Any, **kwargs: Any) -> None:
        if self.exemplars:
            old = self.samples.subset(torch.cat(list(self.exemplars.values())))
            strategy.adapted_dataset = concat_datasets([strategy.adapted_dataset, old])

    @torch.no_grad()
    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        model: NumberedModel = strategy.model
        new = sorted(strategy.experience.classes_in_this_experience)
        share = self.memory // (len(self.exemplars) + len(new))
        self.exemplars = {class_: kept[:share] for class_, kept in self.exemplars.items()}
        numbers = numbers_of(strategy.experience.dataset)
        with model.evaluated():
            for class_ in new:
                candidates = numbers[self.samples.labels[numbers] == class_]
                self.exemplars[class_] = candidates[herded(features(model, candidates), share)]
            self.means = self._means(model, model.sight.stream.n_classes)

    def _means(self, model: NumberedModel, n_classes: int) -> Tensor:
        means = {class_: features(model, exemplars).mean(0) for class_, exemplars in self.exemplars.items()}
        unit_means = torch.zeros(n_classes, len(next(iter(means.values()))))
        for class_, mean in means.items():
            unit_means[class_] = F.normalize(mean, dim=0)
        return unit_means

    def kept(self) -> Kept:
        exemplars = [{"class": class_, "rows": rows} for class_, rows in self.exemplars.items()]
        return {"exemplars": exemplars, "means": self.means}

    def restore(self, kept: Kept, samples: NumberedSamples) -> None:
        self.exemplars = {group["class"]: group["rows"] for group in kept["exemplars"]}


def features(model: NumberedModel, numbers: Tensor) -> Tensor:
    """Inputs of the readout for training samples (B, F), of length 1."""
    parts = [model.features(model.sight.samples.images(part)) for part in numbers.split(256)]
    return unit(torch.cat(parts).cpu())


def unit(x: Tensor) -> Tensor:
    """Rows of length 1."""
    return F.normalize(x.flatten(1), dim=1)


def nearest_means(x: Tensor, means: Tensor) -> Tensor:
    """Scores (B, n_classes) of features (B, F) by their nearness to ``means``; -inf for classes not learned yet."""
    learned = means.norm(dim=1) > 0
    return torch.where(learned, -torch.cdist(unit(x), means), -torch.inf)


def herded(x: Tensor, n: int) -> Tensor:
    """Rows of features (N, F), chosen so that their running mean stays nearest to the mean of all (algorithm 4)."""
    mean, total = x.mean(0), torch.zeros_like(x[0])
    free, chosen = torch.ones(len(x), dtype=torch.bool), []
    for k in range(1, min(n, len(x)) + 1):
        distances = (mean - (total + x) / k).norm(dim=1)
        chosen.append(int(torch.where(free, distances, torch.inf).argmin()))
        free[chosen[-1]] = False
        total = total + x[chosen[-1]]
    return torch.tensor(chosen, dtype=torch.int64)
