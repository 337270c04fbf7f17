"""Decoders: from spikes (T, B, …) to values (B, …), in float32 for spikes of half precision."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snn4.policies.dynamics import state_dtype

DECODERS = {
    "rate": "the mean over all steps",
    "membrane": "a leaky trace at the last step, to which late spikes contribute more",
    "weighted": "a weighted sum over the steps, with learned weights that start like those of rate",
    "first_spike": "how early the first spike comes: 1 for the first step, 0 without a spike",
}


class WeightedDecoder(nn.Module):
    """Weighted sum over steps: spikes (T, B, …) -> sum over t of weights[t] * spikes[t] (B, …).

    Args:
        weights: (T,).
        learned: whether the weights are a parameter; otherwise they are constants, which the state dict does not hold.
    """

    weights: Tensor

    def __init__(self, weights: Tensor, learned: bool = False) -> None:
        super().__init__()
        if learned:
            self.weights = nn.Parameter(weights)
        else:
            self.register_buffer("weights", weights, persistent=False)

    def forward(self, spikes: Tensor) -> Tensor:
        """ValueError unless ``spikes`` has one step for each weight."""
        _check_steps(spikes, len(self.weights))
        dtype = state_dtype(spikes)
        weights = self.weights.to(dtype).view(-1, *[1] * (spikes.dim() - 1))
        # No matrix product, which autocast would compute in half precision.
        return (weights * spikes.to(dtype)).sum(0)


class FirstSpikeDecoder(nn.Module):
    """Time to the first spike: (T, B, …) -> (T - t_first) / T (B, …), 0 for neurons that never spike.

    Computed as the mean over steps of "has spiked by now":

        value = 1/T * sum_t (1 - prod_{k <= t} (1 - s[k]))

    Autograd differentiates this product. So d value / d s[k] is exactly the change of the value if a spike is added at
    step k, or removed from it: (t_first - k) / T before the first spike, (t_second - t_first) / T at the first spike, 0
    after it. For a spike that never comes, its time is T. A silent neuron therefore gets a gradient of (T - k) / T and
    can learn to spike. From there the gradient passes through the surrogate of the neurons.
    """

    def __init__(self, T: int) -> None:
        super().__init__()
        self.T = T

    def forward(self, spikes: Tensor) -> Tensor:
        """ValueError unless ``spikes`` has T steps."""
        _check_steps(spikes, self.T)
        spikes = spikes.to(state_dtype(spikes))
        silent, steps_silent = torch.ones_like(spikes[0]), torch.zeros_like(spikes[0])
        # torch.cumprod is equal, but its backward pass is up to twenty times slower for inputs with zeros.
        for step in spikes:
            silent = silent * (1 - step)
            steps_silent = steps_silent + silent
        return 1 - steps_silent / self.T


def make_decoder(kind: str, T: int, decay: float) -> WeightedDecoder | FirstSpikeDecoder:
    """The decoder ``kind`` (one of `DECODERS`) of T steps; ``decay`` is the decay per step of the membrane's trace.

    Raises:
        ValueError: the message names the argument, its value and what is allowed.
    """
    if kind not in DECODERS:
        raise ValueError(f"readout: got {kind!r}, allowed are {', '.join(DECODERS)}")
    if T < 1:
        raise ValueError(f"T: got {T}, allowed is a whole number >= 1")
    if not 0 <= decay <= 1:
        raise ValueError(f"decay: got {decay}, allowed is a number from 0 to 1")
    if kind == "first_spike":
        return FirstSpikeDecoder(T)
    learned = kind == "weighted"
    return WeightedDecoder(decoder_weights("rate" if learned else kind, T, decay), learned)


def decoder_weights(kind: str, T: int, decay: float) -> Tensor:
    """The weight of a spike at each step (T,) in the decoded value; the weights sum to 1.

    rate: all weights are equal. membrane: the trace of a leaky integrator at the last step, to which late spikes
    contribute more. Both commute with the linear head that follows. The head may therefore receive spikes (on a chip)
    or decoded values (here).
    """
    if kind == "rate":
        return torch.full((T,), 1 / T)
    if kind == "membrane":
        trace = decay ** torch.arange(T - 1, -1, -1, dtype=torch.float32)
        return trace / trace.sum()
    raise ValueError(f"readout: got {kind!r}, allowed are rate, membrane")


def _check_steps(spikes: Tensor, T: int) -> None:
    if len(spikes) != T:
        raise ValueError(f"spikes: got {len(spikes)} steps (shape {tuple(spikes.shape)}), allowed are {T}")
