"""Attention between spikes: products of spikes with spikes, without softmax.

One layer of neurons gives queries, keys and values, as three equal parts of its channels. The N = H * W positions of
its maps are the tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snn4.policies.dynamics import NeuronState
from snn4.policies.network import Stateful
from snn4.policies.neurons import Neuron


class SpikeProduct(nn.Module):
    """Base of layers that multiply their inputs with each other: they have operations, but no synapses or weights."""

    def operations(self, *inputs: Tensor) -> tuple[int, int]:
        """Number of effective operations, in which no factor is 0, and of all operations."""
        raise NotImplementedError


class SelfAttention(SpikeProduct):
    """Spiking self-attention (Zhou et al. 2023): ``scale * (Q K^T) V`` in each head.

    Maps (M, 3 C, H, W) -> (M, C, H, W), real values. Without softmax, the product can also be computed as
    ``Q (K^T V)``. This order is used where it is cheaper: if there are at least as many tokens as channels per head.
    Numbers of spikes are integers, so both orders are equal to the bit up to 2^24 spikes in float32 and 2^8 in
    bfloat16.

    Args:
        heads: groups of channels with separate attention.
        scale: factor of the product; the papers' 1/8 is a power of two, so it causes no rounding.
    """

    def __init__(self, heads: int, scale: float = 0.125) -> None:
        super().__init__()
        self.heads, self.scale = heads, scale

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self._heads(x)
        if _few_tokens(q):
            y = torch.einsum("mhnl,mlhj->mnhj", self._maps(q, k), v)
        else:
            memory = torch.einsum("mlhi,mlhj->mhij", k, v) * self.scale
            y = torch.einsum("mnhi,mhij->mnhj", q, memory)
        return y.reshape(x.shape[0], *x.shape[2:], -1).permute(0, 3, 1, 2)

    def maps(self, x: Tensor) -> Tensor:
        """The attention of each token to each, (M, heads, N, N): numbers of common spikes of query and key, scaled."""
        q, k, _ = self._heads(x)
        return self._maps(q, k)

    def _maps(self, q: Tensor, k: Tensor) -> Tensor:
        return torch.einsum("mnhi,mlhi->mhnl", q, k) * self.scale

    def operations(self, *inputs: Tensor) -> tuple[int, int]:
        parts = self._heads(inputs[0])
        q, k, v = (part.transpose(1, 2) for part in parts)
        pairs = [(q, k.mT), (q @ k.mT, v)] if _few_tokens(parts[0]) else [(k.mT, v), (q, k.mT @ v)]
        return sum(_effective(a, b) for a, b in pairs), sum(a.numel() * b.shape[-1] for a, b in pairs)

    def _heads(self, x: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys and values, each (M, N, heads, channels per head), without copies in channels_last."""
        return x.movedim(1, -1).flatten(1, 2).unflatten(-1, (3, self.heads, -1)).unbind(2)

    def extra_repr(self) -> str:
        return f"heads={self.heads}, scale={self.scale}"


class Coincidences(SpikeProduct):
    """Number of tokens at which key and value both spike, per channel: maps (…, C, H, W) twice -> (…, C, 1, 1)."""

    def forward(self, k: Tensor, v: Tensor) -> Tensor:
        return (k * v).sum((-2, -1), keepdim=True)

    def operations(self, *inputs: Tensor) -> tuple[int, int]:
        return _elementwise(*inputs)


class Mask(SpikeProduct):
    """Queries (…, C, H, W) of the channels whose gate (…, C, 1, 1) is open; zeros for the others."""

    def forward(self, q: Tensor, gate: Tensor) -> Tensor:
        return q * gate

    def operations(self, *inputs: Tensor) -> tuple[int, int]:
        return _elementwise(*inputs)


class SpikeDrivenAttention(Stateful):
    """Spike-driven self-attention (Yao et al. 2023): ``Q * neuron(sum of K * V over tokens)``, channel by channel.

    Maps (T, B, 3 C, H, W) -> (T, B, C, H, W), spikes again. There are no heads, because they would change nothing. The
    state is that of the neurons, one neuron per channel.

    Args:
        neuron: the neurons whose input is the number of coincident spikes of keys and values.
    """

    def __init__(self, neuron: Neuron) -> None:
        super().__init__()
        self.coincidences = Coincidences()
        self.neuron = neuron
        self.mask = Mask()

    def forward(
        self, x: Tensor, state: NeuronState | None = None, steps: int | None = None
    ) -> tuple[Tensor, NeuronState]:
        """As `Neuron.forward`."""
        q, k, v = x.chunk(3, -3)
        gate, state = self.neuron(self.coincidences(k, v), state, steps)
        return self.mask(q, gate), state

    def without_time(self) -> nn.Module:
        """The same products with ReLU in place of neurons."""
        return GatedAttention(self.coincidences, self.mask)


class GatedAttention(nn.Module):
    """The twin of `SpikeDrivenAttention`, ``Q * relu(sum of K * V over tokens)``: (M, 3 C, H, W) -> (M, C, H, W)."""

    def __init__(self, coincidences: Coincidences, mask: Mask) -> None:
        super().__init__()
        self.coincidences = coincidences
        self.relu = nn.ReLU()
        self.mask = mask

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = x.chunk(3, -3)
        return self.mask(q, self.relu(self.coincidences(k, v)))  # type: ignore[no-any-return]


def _few_tokens(x: Tensor) -> bool:
    """Whether ``x`` (M, N, heads, channels per head) has fewer tokens than channels per head."""
    return x.shape[1] < x.shape[3]


def _effective(a: Tensor, b: Tensor) -> int:
    """Number of products within ``a @ b`` in which neither factor is 0."""
    return int(((a != 0).sum(-2) * (b != 0).sum(-1)).sum())


def _elementwise(a: Tensor, b: Tensor) -> tuple[int, int]:
    """Number of products of ``a * b`` in which neither factor is 0, and of all products."""
    products = (a != 0) & (b != 0)
    return int(torch.count_nonzero(products)), products.numel()
