"""The cost of spikes: a network that learns also learns to spike less, whoever computes its loss.

The loss gets the term ``spike_cost * rate``. The rate, from 0 to 1, is the number of spikes per hidden neuron and step,
averaged over all hidden neurons and the batch. So one ``spike_cost`` suits all widths and all T: a decoded rate, too,
changes by 1 / T with one spike. Spikes of -1 count like spikes of 1. This is the regularisation of activity of Zenke &
Vogels 2021 and Cramer et al. 2022, without thresholds: the first spike costs as much as any other.

Libraries compute losses inside their own loops, so the term itself is never computed. Its derivative with respect to a
spike is a constant, which the backward pass adds, for a loss that is a mean over the batch. It is added only while the
policy learns: for networks in training mode, as SB3 sets it during updates. Acting and target networks are not in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor, nn

from snn4.policies.neurons import Neuron


def charge(spikes: Tensor, neuron: Neuron, price: float) -> None:
    """Let each of ``spikes`` (T, B, n) of ``neuron`` add ``price`` to the loss, whose gradient passes them later."""
    if price and spikes.requires_grad:
        more = _slope(spikes, neuron, price)
        spikes.register_hook(lambda grad: grad + more)


def charge_sequences(trains: Sequence[tuple[Tensor, Neuron]], decoded: Tensor, price: float) -> None:
    """`charge` the spike ``trains`` (L, B, n) of B sequences, from which come ``decoded`` (L, B, m).

    Each spike adds ``price``, divided by the number of decisions in all sequences.
    """
    if not price or not decoded.requires_grad:
        return
    ends = _Ends()
    decoded.register_hook(ends.see)
    for spikes, neuron in trains:
        if spikes.requires_grad:
            spikes.register_hook(ends.adding(_slope(spikes, neuron, price)))


def _slope(spikes: Tensor, neuron: Neuron, price: float) -> Tensor | float:
    """The derivative of ``price`` times the number of ``spikes``, with respect to each of them."""
    return price * spikes.detach().sign() if neuron.dynamics.signed else price


class _Ends:
    """The ends of sequences, seen where the gradient of the last layer ends: sb3-contrib pads the shorter ones of a
    batch, and no loss reads what is decoded there."""

    def see(self, grad: Tensor) -> None:
        """Find the decisions (L, B, 1) that are not followed by padding alone, in the gradient (L, B, m)."""
        reached = (grad.detach() != 0).any(-1, keepdim=True).to(grad.dtype)
        decisions = reached.flip(0).cummax(0).values.flip(0)
        self.shares = decisions / decisions.sum().clamp(min=1)

    def adding(self, more: Tensor | float) -> Callable[[Tensor], Tensor]:
        """A hook that adds the share of each decision in ``more`` to a gradient (L, B, n)."""
        return lambda grad: grad + self.shares * more


@contextmanager
def free_spikes(network: nn.Module) -> Iterator[None]:
    """Without a cost of spikes in ``network``, for gradients that are not those of the loss that it learns from."""
    costs = {module: module.spike_cost for module in network.modules() if hasattr(module, "spike_cost")}
    for module in costs:
        module.spike_cost = 0.0  # type: ignore[assignment]
    try:
        yield
    finally:
        for module, cost in costs.items():
            module.spike_cost = cost
