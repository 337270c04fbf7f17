"""Consolidation of synapses by the activity of their neurons, without labels or backward passes."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Any

import torch
from avalanche.core import SupervisedPlugin
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from snn4.learners.continual.experiences import NumberedSamples, numbers_of
from snn4.learners.continual.memories import Kept
from snn4.learners.continual.numbered_model import NumberedModel
from snn4.policies.neurons import Neuron
from snn4.policies.normalization import StepNorm2d

_SYNAPSES = (nn.Linear, nn.Conv2d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, StepNorm2d)
_NEURONS = (Neuron, nn.ReLU)


class ActiveSynapses(SupervisedPlugin):  # type: ignore[misc]
    """A penalty that pulls each weight to its earlier value, in proportion to its importance, as in `Ewc`:

    ``loss + strength / 2 * sum of importance * (weight - weight when the experience began)^2``.

    After each experience, the importance of a weight grows by the rate of the neuron before it times the rate of the
    neuron behind it, relative to the layer (`activity`).

    Args:
        strength: of the penalty. The best value depends on the stream: the average accuracy on Permuted-digits and
            Split-digits by class is 50 and 24 % for 0.3, the default, 33 and 51 % for 3, 37 and 21 % for none
            (validation data, 3 seeds).
        n: samples per experience for measuring the rates.
    """

    beside_weights = True
    copies = 1

    def __init__(self, strength: float, n: int) -> None:
        super().__init__()
        self.strength, self.n = strength, n
        self.importance: dict[str, Tensor] = {}
        self._before: dict[str, Tensor] = {}

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        named = strategy.model.named_parameters()
        self._before = {name: p.detach().clone() for name, p in named if name in self.importance}

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        if not self._before:
            return
        named = dict(strategy.model.named_parameters())
        forces = [(self.importance[name] * (named[name] - x).square()).sum() for name, x in self._before.items()]
        strategy.loss += self.strength / 2 * torch.stack(forces).sum()

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        numbers = numbers_of(strategy.experience.dataset)
        chosen = numbers[torch.randperm(len(numbers))[: self.n]]
        with strategy.model.evaluated():
            gained = activity(strategy.model, chosen.split(256))
        self.importance = {name: self.importance.get(name, 0) + x for name, x in gained.items()}

    def kept(self) -> Kept:
        return {"importances": self.importance}

    def restore(self, kept: Kept, samples: NumberedSamples) -> None:
        self.importance = kept["importances"]


@torch.no_grad()
def activity(model: NumberedModel, batches: Iterable[Tensor]) -> dict[str, Tensor]:
    """For each weight, the product of the mean activity before and behind it; the largest in a layer is 1.

    Activity is the rate of spikes, the mean output of a ReLU, or the mean probability of a class. Before the first
    layer, it is the mean size of the input; behind a last block without neurons before the readout, the mean size of
    the currents. Biases and norms take the activity of the neurons behind them. ``batches`` are numbers (B,).
    """
    rates = _Rates(model)
    for numbers in batches:
        with rates:
            rates.behind_waiting(_probabilities(model, numbers), 1)  # only the readout still waits
    names = {layer: name for name, layer in model.named_modules()}
    importances: dict[str, Tensor] = {}
    for layer, behind in rates.behind.items():
        for name, parameter in layer.named_parameters(recurse=False):
            weights = isinstance(layer, _SYNAPSES) and name == "weight"
            x = _products(layer, rates.before[layer], behind) if weights else behind.expand_as(parameter)
            importances[f"{names[layer]}.{name}"] = x / x.max().clamp_min(torch.finfo(x.dtype).tiny)
    return importances


def _probabilities(model: NumberedModel, numbers: Tensor) -> Tensor:
    """Probabilities of all outputs (B, outputs), 0 in the heads of other tasks."""
    probabilities = model(numbers).softmax(1)
    if model.heads == 1:
        return probabilities
    heads = probabilities.new_zeros(len(probabilities), model.heads, probabilities.shape[1])
    heads[torch.arange(len(heads)), model.sight.samples.tasks[numbers]] = probabilities
    return heads.flatten(1)


def _products(layer: nn.Module, before: Tensor, behind: Tensor) -> Tensor:
    weight: Tensor = layer.weight  # type: ignore[assignment]
    if weight.dim() == 2:
        return torch.outer(behind, before)
    groups: int = layer.groups  # type: ignore[assignment]
    inputs = before.view(groups, -1).repeat_interleave(len(behind) // groups, 0)  # per output channel
    return (behind[:, None] * inputs)[:, :, None, None].expand_as(weight)


class _Rates:
    """Sums of the activity before and behind each layer with weights, inside ``with`` blocks.

    Layers run in order: a layer waits until the next neurons, or the readout, run.
    """

    def __init__(self, model: NumberedModel) -> None:
        self.model = model
        *_, self.readout = model.network.network.children()
        self.before: dict[nn.Module, Tensor] = {}
        self.behind: dict[nn.Module, Tensor] = {}
        self._waiting: list[nn.Module] = []
        self._handles: list[RemovableHandle] = []

    def __enter__(self) -> None:
        for layer in self.model.modules():
            if isinstance(layer, (*_SYNAPSES, *_NORMS)):
                self._handles.append(layer.register_forward_hook(self._pass))
            elif isinstance(layer, _NEURONS):
                self._handles.append(layer.register_forward_hook(self._reach))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles, self._waiting = [], []

    def behind_waiting(self, x: Tensor, channels: int) -> None:
        """Add activity ``x``, with its channels in dimension ``channels``, behind all waiting layers."""
        for layer in self._waiting:
            _add(self.behind, layer, x, channels)
        self._waiting = []

    def _pass(self, layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if layer is self.readout:
            self.behind_waiting(inputs[0].abs(), 1)
        self._waiting.append(layer)
        if isinstance(layer, _SYNAPSES):
            _add(self.before, layer, inputs[0].abs(), 1)

    def _reach(self, layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if isinstance(output, tuple):  # neurons return spikes (T, B, …) and a state
            self.behind_waiting(output[0], 2)
        else:
            self.behind_waiting(output, 1)


def _add(sums: dict[nn.Module, Tensor], layer: nn.Module, x: Tensor, channels: int) -> None:
    others = [dim for dim in range(x.dim()) if dim != channels]
    sums[layer] = sums.get(layer, 0) + x.float().sum(others)
