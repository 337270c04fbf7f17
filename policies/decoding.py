"""Decoders: from spikes (T, B, …) to values (B, …), in float32 where the spikes are half precision."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snn4.policies.dynamics import state_dtype

DECODERS = {
    "rate": "the mean over all steps",
    "membrane": "a leaky trace at the last step, in which late spikes count more",
    "weighted": "a weighted sum over the steps, whose weights are learned and start as those of rate",
    "first_spike": "how early the first spike comes: 1 at the first step, 0 where there is none",
}


class WeightedDecoder(nn.Module):
    """A spike at step t counts ``weights[t]``: spikes (T, B, …) -> sum over t of weights[t] * spikes[t] (B, …).

    Args:
        weights: (T,).
        learned: whether the weights are a parameter, or constants that stay out of the state dict.
    """

    weights: Tensor

    def __init__(self, weights: Tensor, learned: bool = False) -> None:
        super().__init__()
        if learned:
            self.weights = nn.Parameter(weights)
        else:
            self.register_buffer("weights", weights, persistent=False)

    def forward(self, spikes: Tensor) -> Tensor:
        """ValueError where ``spikes`` has another number of steps than there are weights."""
        _check_steps(spikes, len(self.weights))
        dtype = state_dtype(spikes)
        weights = self.weights.to(dtype).view(-1, *[1] * (spikes.dim() - 1))
        # Not a matrix product: autocast would take that back to half precision.
        return (weights * spikes.to(dtype)).sum(0)


class FirstSpikeDecoder(nn.Module):
    """Time to the first spike: (T, B, …) -> (T - t_first) / T (B, …), 0 for neurons that never spike.

    Computed as the mean over steps of "has spiked by now"::

        value = 1/T * sum_t (1 - prod_{k <= t} (1 - s[k]))

    That product is what is differentiated, so d value / d s[k] is exactly what the value gains if a spike comes at step
    k, or loses if the spike there goes: (t_first - k) / T before the first spike, (t_second - t_first) / T at it, 0
    after it, where T stands for a spike that never comes. So silent neurons hear (T - k) / T and can come alive. The
    neurons' own surrogate takes the gradient from there.
    """

    def __init__(self, T: int) -> None:
        super().__init__()
        self.T = T

    def forward(self, spikes: Tensor) -> Tensor:
        """ValueError where ``spikes`` has not T steps."""
        _check_steps(spikes, self.T)
        spikes = spikes.to(state_dtype(spikes))
        silent, steps_silent = torch.ones_like(spikes[0]), torch.zeros_like(spikes[0])
        # torch.cumprod says the same, but is up to twenty times slower to differentiate where there are zeros.
        for now in spikes:
            silent = silent * (1 - now)
            steps_silent = steps_silent + silent
        return 1 - steps_silent / self.T


def make_decoder(kind: str, T: int, decay: float) -> WeightedDecoder | FirstSpikeDecoder:
    """The decoder ``kind`` (one of `DECODERS`) of T steps; ``decay`` is the leak of membrane's trace in one step.

    Raises:
        ValueError: naming the argument, what was got and what is allowed.
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
    """What a spike at each step (T,) counts in the decoded value; they add up to 1.

    rate: all the same. membrane: a leaky integrator's trace at the last step, so that late spikes count more. Both
    commute with the linear head that follows, which therefore may see spikes (on a chip) or decoded values (here).
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
