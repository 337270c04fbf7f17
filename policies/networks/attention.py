"""Attention between spikes: products of spikes with spikes, without softmax.

Queries, keys and values come from one layer of neurons, whose channels are three equal parts, over maps whose
N = H * W places are the tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snn4.policies.dynamics import NeuronState
from snn4.policies.network import Stateful
from snn4.policies.neurons import Neuron


class SpikeProduct(nn.Module):
    """Base of layers that multiply their inputs with each other: operations, but no synapses and no weights."""

    def operations(self, *inputs: Tensor) -> tuple[int, int]:
        """Effective operations, in which no factor is 0, and dense ones: all."""
        raise NotImplementedError


class SelfAttention(SpikeProduct):
    """Spiking self-attention (Zhou et al. 2023): ``scale * (Q K^T) V`` of each head.

    Maps (M, 3 C, H, W) -> (M, C, H, W), real values. Without softmax the product may be taken as ``Q (K^T V)``, too;
    that is done where it is cheaper: where tokens are no fewer than channels of a head. Numbers of spikes are whole, so
    that both orders give the same to the bit while these fit the precision: 2^24 for float32, 2^8 for bfloat16.

    Args:
        heads: groups of channels, each with an attention of its own.
        scale: factor; the papers' 1/8 is a power of two, which rounds nothing.
    """

    def __init__(self, heads: int, scale: float = 0.125) -> None:
        super().__init__()
        self.heads, self.scale = heads, scale

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self._heads(x)
        if _few_tokens(q):
            attention = torch.einsum("mnhi,mlhi->mhnl", q, k) * self.scale
            y = torch.einsum("mhnl,mlhj->mnhj", attention, v)
        else:
            memory = torch.einsum("mlhi,mlhj->mhij", k, v) * self.scale
            y = torch.einsum("mnhi,mhij->mnhj", q, memory)
        return y.reshape(len(x), *x.shape[2:], -1).permute(0, 3, 1, 2)

    def operations(self, *inputs: Tensor) -> tuple[int, int]:
        parts = self._heads(inputs[0])
        q, k, v = (part.transpose(1, 2) for part in parts)
        pairs = [(q, k.mT), (q @ k.mT, v)] if _few_tokens(parts[0]) else [(k.mT, v), (q, k.mT @ v)]
        return sum(_effective(a, b) for a, b in pairs), sum(a.numel() * b.shape[-1] for a, b in pairs)

    def _heads(self, x: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys and values, each (M, N, heads, channels of a head): no copies where channels are last."""
        return x.movedim(1, -1).flatten(1, 2).unflatten(-1, (3, self.heads, -1)).unbind(2)

    def extra_repr(self) -> str:
        return f"heads={self.heads}, scale={self.scale}"


class Coincidences(SpikeProduct):
    """How often keys and values spike together, in each channel: maps (…, C, H, W) twice -> (…, C, 1, 1)."""

    def forward(self, k: Tensor, v: Tensor) -> Tensor:
        return (k * v).sum((-2, -1), keepdim=True)

    def operations(self, *inputs: Tensor) -> tuple[int, int]:
        return _together(*inputs)


class Mask(SpikeProduct):
    """Queries (…, C, H, W), of those channels alone whose gate (…, C, 1, 1) is open."""

    def forward(self, q: Tensor, gate: Tensor) -> Tensor:
        return q * gate

    def operations(self, *inputs: Tensor) -> tuple[int, int]:
        return _together(*inputs)


class SpikeDrivenAttention(Stateful):
    """Spike-driven self-attention (Yao et al. 2023): ``Q * neuron(sum of K * V over tokens)``, channel by channel.

    Maps (T, B, 3 C, H, W) -> (T, B, C, H, W), spikes again. Heads would change nothing, so there are none. The state
    is that of the neurons, one for each channel.

    Args:
        neuron: the neurons that see how often keys and values spike together.
    """

    def __init__(self, neuron: Neuron) -> None:
        super().__init__()
        self.coincidences, self.neuron, self.mask = Coincidences(), neuron, Mask()

    def forward(
        self, x: Tensor, state: NeuronState | None = None, steps: int | None = None
    ) -> tuple[Tensor, NeuronState]:
        """As `Neuron.forward`."""
        q, k, v = x.chunk(3, -3)
        gate, state = self.neuron(self.coincidences(k, v), state, steps)
        return self.mask(q, gate), state

    def without_time(self) -> nn.Module:
        """The same products, with ReLU for the neurons."""
        return GatedAttention(self.coincidences, self.mask)


class GatedAttention(nn.Module):
    """The twin of `SpikeDrivenAttention`, ``Q * relu(sum of K * V over tokens)``: (M, 3 C, H, W) -> (M, C, H, W)."""

    def __init__(self, coincidences: Coincidences, mask: Mask) -> None:
        super().__init__()
        self.coincidences, self.relu, self.mask = coincidences, nn.ReLU(), mask

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = x.chunk(3, -3)
        return self.mask(q, self.relu(self.coincidences(k, v)))  # type: ignore[no-any-return]


def _few_tokens(x: Tensor) -> bool:
    """Whether tokens of ``x`` (M, N, heads, channels of a head) are fewer than channels of a head."""
    return x.shape[1] < x.shape[3]


def _effective(a: Tensor, b: Tensor) -> int:
    """Products within ``a @ b`` of which neither factor is 0."""
    return int(((a != 0).sum(-2) * (b != 0).sum(-1)).sum())


def _together(a: Tensor, b: Tensor) -> tuple[int, int]:
    both = (a != 0) & (b != 0)
    return int(torch.count_nonzero(both)), both.numel()
