"""Attention maps of Spikformers and of vision transformers, as they run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

from snn4.policies.networks.attention import SelfAttention


def attention_layers(network: nn.Module) -> list[nn.Module]:
    """Layers of ``network`` with maps: `SelfAttention`, torch's ``MultiheadAttention`` and timm's ``Attention``."""
    return [
        layer
        for layer in network.modules()
        if isinstance(layer, (SelfAttention, nn.MultiheadAttention)) or _is_timm(layer)
    ]


@contextmanager
def attention_maps(network: nn.Module, batch: int) -> Iterator[list[Tensor]]:
    """A list that receives the map (B, N, N) of each of `attention_layers`, the mean over heads and steps."""
    seen: list[Tensor] = []

    def look(layer: nn.Module, arguments: Any, keywords: Any, output: Any) -> None:
        maps = output[1] if isinstance(layer, nn.MultiheadAttention) else _maps(layer, arguments[0])
        seen.append(maps.float().mean(1).unflatten(0, (-1, batch)).mean(0))

    with ExitStack() as stack:
        for layer in attention_layers(network):
            if isinstance(layer, nn.MultiheadAttention):
                stack.callback(layer.register_forward_pre_hook(_with_maps, with_kwargs=True).remove)
            stack.callback(layer.register_forward_hook(look, with_kwargs=True).remove)
        yield seen


def paired(pupil: list[Tensor], teacher: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Each map of the pupil with the teacher's at the same fraction of its depth, without a class token."""
    depth = len(teacher)
    chosen = [teacher[-(-(number + 1) * depth // len(pupil)) - 1] for number in range(len(pupil))]
    return [(a, b[:, 1:, 1:] if b.shape[-1] == a.shape[-1] + 1 else b) for a, b in zip(pupil, chosen, strict=True)]


def _is_timm(layer: nn.Module) -> bool:
    return all(hasattr(layer, name) for name in ("qkv", "q_norm", "k_norm", "num_heads", "scale"))


def _with_maps(layer: nn.Module, arguments: Any, keywords: Any) -> tuple[Any, Any]:
    return arguments, {**keywords, "need_weights": True, "average_attn_weights": False}


def _maps(layer: Any, x: Tensor) -> Tensor:
    """Maps (M, heads, N, N) for the layer's input."""
    if isinstance(layer, SelfAttention):
        return layer.maps(x)
    q, k, _ = layer.qkv(x).unflatten(-1, (3, layer.num_heads, -1)).permute(2, 0, 3, 1, 4)
    return (layer.q_norm(q) * layer.scale @ layer.k_norm(k).mT).softmax(-1)
