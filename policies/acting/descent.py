"""How the neurons of one hidden layer descend from those of a parent, and how the next layer then reads them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Descent:
    """The neurons that a hidden layer of a child continues."""

    source: Tensor
    """(neurons of the child,): the neuron of the parent that each of them continues."""
    mean: Tensor
    """(neurons of the parent,): mean of what each of them passes on. It stands in for the neurons that are removed."""

    def read(self, weight: Tensor, bias: Tensor, random: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Weights (m, neurons of the child) and biases (m,) of the next layer, from those of the parent.

        Copies of a neuron share its weights; what removed neurons pass on in the mean goes to the biases.
        """
        removed = self._copies() == 0
        if removed.any():
            bias = bias + weight[:, removed.to(weight.device)] @ self.mean[removed].to(weight)
        return self._shared(weight, random), bias

    def _shared(self, weight: Tensor, random: np.random.Generator) -> Tensor:
        """``weight`` (m, neurons of the parent), divided among copies so that theirs sum to exactly the parent's.

        Each weight is divided in its own unequal parts. Parts in one ratio for all m would give the copies parallel
        gradients, from which Adam, which drops the scale of gradients, learns the same for all of them.
        """
        shared = weight[:, self.source.to(weight.device)]
        for neuron in (self._copies() > 1).nonzero().flatten().tolist():
            rest = weight[:, neuron]
            first, *others = (self.source == neuron).nonzero().flatten().tolist()
            for waiting, copy in zip(range(len(others), 0, -1), others, strict=True):
                fractions = random.integers(4, 8, len(weight)) / (8 * (waiting + 1))  # at most the equal part
                kept = rest * (1 - torch.from_numpy(fractions).to(weight))
                shared[:, copy] = rest - kept  # exact, because kept is at least half of rest (Sterbenz)
                rest = kept
            shared[:, first] = rest
        return shared

    def noise(self, log_std: Tensor) -> Tensor:
        """Logarithmic standard deviations (neurons of the child, …) of gSDE: copies share the variance of the noise."""
        copies = self._copies()[self.source].to(log_std)
        return log_std[self.source.to(log_std.device)] - copies.log().unsqueeze(-1) / 2

    def _copies(self) -> Tensor:
        """(neurons of the parent,): how many neurons of the child continue each of them."""
        return torch.bincount(self.source, minlength=len(self.mean))


def continued(worth: Tensor, width: int) -> Tensor:
    """The neurons (width,) that a layer of another width continues, of neurons with this ``worth`` (n,).

    A narrower layer keeps those of largest worth, in their order. A wider layer keeps all and then repeats those that
    are worth something, the worthiest first.
    """
    order = worth.argsort(descending=True, stable=True)
    if width <= len(worth):
        return order[:width].sort().values
    useful = order[worth[order] > 0] if worth.any() else order
    more = width - len(worth)
    return torch.cat([order.sort().values, useful.repeat(-(-more // len(useful)))[:more]])
