"""Synaptic operations of one layer, as NeuroBench counts them (Yik et al. 2025).

An operation is effective where neither the input nor the weight is 0, dense if zeros are counted too. Biases and the
padding of a convolution are no operations.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
SYNAPSES = (nn.Linear, *CONVOLUTIONS)
UNCOUNTED = (nn.RNNCellBase, nn.MultiheadAttention, nn.Bilinear, nn.modules.conv._ConvTransposeNd)
"""Layers with synapses that nothing here can count."""

Synapses = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d


def check_batch(name: str, layer: Synapses | nn.RNNBase, x: Tensor) -> None:
    """ValueError for an input ``x`` of layer ``name`` without a batch dimension: outputs would pass for decisions."""
    dims = 2 if isinstance(layer, nn.RNNBase) else 1 if isinstance(layer, nn.Linear) else layer.weight.dim() - 1
    if x.dim() == dims:
        got = f"shape {tuple(x.shape)} in layer {name or type(layer).__name__}"
        raise ValueError(f"x: got {got}, allowed is an input with a batch dimension: give one sample as a batch of 1")


def sample_rows(layer: Synapses, x: Tensor) -> Tensor:
    """Input ``x`` (…, *sample) of ``layer`` as (rows, *sample): a row for every sample and step."""
    dims = 1 if isinstance(layer, nn.Linear) else layer.weight.dim() - 1
    return x.detach().reshape(-1, *x.shape[x.dim() - dims :])


def crossed(layer: Synapses, x: Tensor, dense: bool = False) -> Tensor:
    """How many synapses that carry something lead into each output, for rows ``x`` of zeros and ones."""
    weight = torch.ones_like(layer.weight) if dense else (layer.weight != 0)
    if isinstance(layer, nn.Linear):
        return F.linear(x, weight.to(x.dtype))
    return layer._conv_forward(x, weight.to(x.dtype), None)  # type: ignore[arg-type]


def fan_out(layer: Synapses, sample: torch.Size, dense: bool = False) -> Tensor:
    """How many synapses each value of an input (*sample) crosses, of the shape of the sample."""
    # The gradient of "synapses into all outputs" by an input is "synapses out of it", borders and strides included.
    with torch.inference_mode(False), torch.enable_grad():
        x = torch.ones(1, *sample, device=layer.weight.device, requires_grad=True)
        (fan,) = torch.autograd.grad(crossed(layer, x, dense).sum(), x)
    return fan[0]


def touched_weights(layer: nn.Conv1d | nn.Conv2d | nn.Conv3d, x: Tensor) -> float:
    """How many weights that are not 0 meet something, each once a row, for rows ``x`` of zeros and ones."""
    around = layer._reversed_padding_repeated_twice
    x = F.pad(x, around, mode="constant" if layer.padding_mode == "zeros" else layer.padding_mode) != 0
    # A weight is told by its input channel and its place in the kernel; as many go from there as there are outputs.
    outputs = (layer.weight != 0).view(layer.groups, -1, *layer.weight.shape[1:]).sum(1).flatten(0, 1)
    number = 0.0
    for place in itertools.product(*map(range, layer.kernel_size)):
        seen: tuple[Any, ...] = (..., *_seen_from(layer, place, x.shape[2:]))
        every_channel: tuple[Any, ...] = (..., *place)
        number += total(x[seen].flatten(2).any(2) * outputs[every_channel])
    return number


def _seen_from(layer: nn.Conv1d | nn.Conv2d | nn.Conv3d, place: tuple[int, ...], size: torch.Size) -> list[slice]:
    """What one place of the kernel sees of a padded input, along each side."""
    return [
        slice(at * dilation, length - (kernel - 1 - at) * dilation, stride)
        for at, length, kernel, dilation, stride in zip(
            place, size, layer.kernel_size, layer.dilation, layer.stride, strict=True
        )
    ]


def recurrent_operations(layer: nn.RNNBase, x: Tensor, hidden: Tensor | None) -> tuple[float, float]:
    """Effective and dense operations of an LSTM, GRU or RNN for input ``x`` (L, B, n) and first state (layers, B, h).

    ``gates * (n + h) * h`` a step: products of a gate with a state are part of the neuron, not synapses. Hidden states
    after the first step are taken for non-zero, which a product of sigmoid and tanh all but always is.

    Raises:
        ValueError: for layers in two directions or with a projection.
    """
    if layer.bidirectional or layer.proj_size:
        raise ValueError(f"network: got {layer}, allowed is one direction without projection")
    rows = x.numel() // layer.input_size
    batch = x.shape[0 if layer.batch_first else 1]
    effective = dense = 0.0
    for number in range(layer.num_layers):
        inputs, states = (getattr(layer, f"weight_{part}_l{number}") for part in ("ih", "hh"))
        first = x.detach().reshape(rows, -1) if number == 0 else None
        effective += _products(inputs, first, rows)
        before = None if hidden is None else hidden[number].detach().reshape(batch, -1)
        effective += 0.0 if before is None else _products(states, before, batch)
        effective += _products(states, None, rows - batch)
        dense += rows * (inputs.numel() + states.numel())
    return effective, dense


def _products(weight: Tensor, values: Tensor | None, rows: int) -> float:
    """Non-zero weights that meet non-zero ``values`` (rows, n); None for rows without zeros."""
    connected = (weight != 0).sum(0).double()
    return float(connected.sum() * rows if values is None else ((values != 0).double() @ connected).sum())


def total(x: Tensor) -> float:
    """The sum, exact for any count that fits into memory."""
    return float(x.sum() if x.device.type == "mps" else x.sum(dtype=torch.float64))
