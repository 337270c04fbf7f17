"""Avalanche's strategies that penalise changes of weights or scores, with state as plain data."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from avalanche.training.plugins import EWCPlugin, LwFPlugin, MASPlugin, SynapticIntelligencePlugin
from avalanche.training.utils import ParamData, copy_params_dict
from torch import Tensor

from snn4.learners.continual.experiences import NumberedSamples, numbers_of
from snn4.learners.continual.memories import Kept


class Ewc(EWCPlugin):  # type: ignore[misc]
    """Avalanche's EWC."""

    beside_weights = True
    """Whether kept tensors must be on the device of the weights."""

    def kept(self) -> Kept:
        return {"weights": _by_experience(self.saved_params), "importances": _by_experience(self.importances)}

    def restore(self, kept: Kept, samples: NumberedSamples) -> None:
        for number, weights in kept["weights"].items():
            self.saved_params[number] = _parameters(weights)
        for number, importances in kept["importances"].items():
            self.importances[number] = _parameters(importances)


class Si(SynapticIntelligencePlugin):  # type: ignore[misc]
    """Avalanche's SI, corrected for CPUs and without its limit on importances.

    On a CPU, Avalanche keeps views of the weights instead of copies: no weight seems to move, all importances are 0,
    and SI has no effect. Its limit, 0.001, gives all weights above it the same importance: 43 to 87 % of them after one
    experience of digits or Split-MNIST (eps 0.1; 91 to 100 % with Avalanche's 1e-7), and more after each further one.

    Only importances and trajectories persist between experiences.
    """

    copies = 5
    """Copies of the network during learning, besides the data kept between experiences: weights before and after an
    update, gradient, trajectory in the experience, and weights at its start."""
    ewc_data: Any

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        importances, trajectory = self.ewc_data[1], dict(self.syn_data["cum_trajectory"])
        self.ewc_data = ({}, {})  # if empty, Avalanche initialises all data
        super().before_training_exp(strategy, **kwargs)
        self.ewc_data[1].update(importances)
        self.syn_data["cum_trajectory"].update(trajectory)
        _separate(self.ewc_data[0])

    def before_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        super().before_training_iteration(strategy, **kwargs)
        _separate(self.syn_data["old_theta"])

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        c, data = 1, (self.ewc_data, self.syn_data)
        self.update_ewc_data(strategy.model, *data, math.inf, self.excluded_parameters, c, eps=self.eps)
        for importance in self.ewc_data[1].values():
            importance.data.clamp_(min=0)  # a negative importance would push weights away

    def kept(self) -> Kept:
        return {"importances": _tensors(self.ewc_data[1]), "trajectory": _tensors(self.syn_data["cum_trajectory"])}

    def restore(self, kept: Kept, samples: NumberedSamples) -> None:
        self.ewc_data = ({}, _parameters(kept["importances"]))
        self.syn_data["cum_trajectory"] = _parameters(kept["trajectory"])


class Mas(MASPlugin):  # type: ignore[misc]
    """Avalanche's MAS, except that a loss of exactly 0 is no error, and importances are measured in evaluation mode.

    Avalanche measures in training mode without shuffling, so that norms keep statistics of the last stored samples.
    """

    beside_weights = True
    copies = 1

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        if self.importance:
            self.params = copy_params_dict(strategy.model)

    def _get_importance(self, strategy: Any) -> dict[str, ParamData]:
        """Mean over mini-batches of the absolute gradient of the mean squared norm of scores (equation 3)."""
        model, mini_batches = strategy.model, numbers_of(strategy.experience.dataset).split(strategy.train_mb_size)
        sums = {name: torch.zeros_like(x) for name, x in model.named_parameters()}
        with model.evaluated():
            for batch in mini_batches:
                model.zero_grad()
                model(batch).square().sum(1).mean().backward()
                for name, x in model.named_parameters():
                    sums[name] += 0 if x.grad is None else x.grad.abs()
        return _parameters({name: x / len(mini_batches) for name, x in sums.items()})

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        if not strategy.loss:
            strategy.loss = strategy.loss + torch.finfo(strategy.loss.dtype).tiny
        super().before_backward(strategy, **kwargs)

    def kept(self) -> Kept:
        return {"importances": _tensors(self.importance or {})}

    def restore(self, kept: Kept, samples: NumberedSamples) -> None:
        self.importance = _parameters(kept["importances"])


class Lwf(LwFPlugin):  # type: ignore[misc]
    """Avalanche's LwF, with the teacher copied at the beginning of an experience, so that only its learned classes must
    be kept.

    As in Avalanche, the teacher is in training mode: its batch norms use the statistics of each mini-batch, like the
    student's. Evaluation mode would use the statistics of old samples, which do not fit shifted ones: on
    Permuted-digits LwF is then worse than no protection (average accuracy of an ANN after five experiences: naive
    39.6 %, evaluation mode 34.3, training mode 42.8; spiking 36.7, 32.8, 37.3; 3 seeds). On Split-digits, both modes
    are equal within the spread.
    """

    copies = 1

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        if self.lwf.prev_classes_by_task:
            self.lwf.prev_model = copy.deepcopy(strategy.model)

    def kept(self) -> Kept:
        learned = self.lwf.prev_classes_by_task.items()
        return {"classes": {int(task): sorted(map(int, classes)) for task, classes in learned}}

    def restore(self, kept: Kept, samples: NumberedSamples) -> None:
        for task, classes in kept["classes"].items():
            self.lwf.prev_classes_by_task[task] = set(classes)


def _separate(data: dict[str, ParamData]) -> None:
    for value in data.values():
        value.data = value.data.clone()


def _tensors(data: dict[str, ParamData]) -> dict[str, Tensor]:
    return {name: value.data for name, value in data.items()}


def _by_experience(data: dict[int, dict[str, ParamData]]) -> dict[int, dict[str, Tensor]]:
    return {number: _tensors(parameters) for number, parameters in data.items() if parameters}


def _parameters(tensors: dict[str, Tensor]) -> dict[str, ParamData]:
    return {name: ParamData(name, x.shape, init_tensor=x.clone(), device=x.device) for name, x in tensors.items()}
