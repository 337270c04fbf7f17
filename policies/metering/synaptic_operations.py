"""Synaptic operations of one layer, as NeuroBench counts them (Yik et al. 2025).

An operation is effective if neither its input nor its weight is 0. Dense operations include those with zeros. Biases
and the padding of a convolution are not operations.
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
"""Layers with synapses that this module cannot count."""

Synapses = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d


def check_batch(name: str, layer: Synapses | nn.RNNBase, x: Tensor) -> None:
    """ValueError if ``x``, an input of layer ``name``, has no batch dimension: its outputs would count as decisions."""
    dims = 2 if isinstance(layer, nn.RNNBase) else 1 if isinstance(layer, nn.Linear) else layer.weight.dim() - 1
    if x.dim() == dims:
        got = f"shape {tuple(x.shape)} in layer {name or type(layer).__name__}"
        raise ValueError(f"x: got {got}, allowed is an input with a batch dimension: give one sample as a batch of 1")


def sample_rows(layer: Synapses, x: Tensor) -> Tensor:
    """Input ``x`` (…, *sample) of ``layer`` as (rows, *sample): one row per sample and step."""
    dims = 1 if isinstance(layer, nn.Linear) else layer.weight.dim() - 1
    return x.detach().reshape(-1, *x.shape[x.dim() - dims :])


def crossed(layer: Synapses, x: Tensor, dense: bool = False) -> Tensor:
    """Number of synapses that carry a value into each output, for rows ``x`` of zeros and ones."""
    weight = torch.ones_like(layer.weight) if dense else (layer.weight != 0)
    if isinstance(layer, nn.Linear):
        return F.linear(x, weight.to(x.dtype))
    return layer._conv_forward(x, weight.to(x.dtype), None)  # type: ignore[arg-type]


def fan_out(layer: Synapses, sample: torch.Size, dense: bool = False) -> Tensor:
    """Number of synapses that each value of an input crosses (*sample)."""
    # The gradient of "synapses into all outputs" with respect to an input is "synapses out of it", also with strides
    # and at borders.
    with torch.inference_mode(False), torch.enable_grad():
        x = torch.ones(1, *sample, device=layer.weight.device, requires_grad=True)
        (fan,) = torch.autograd.grad(crossed(layer, x, dense).sum(), x)
    return fan[0]


def touched_weights(layer: nn.Conv1d | nn.Conv2d | nn.Conv3d, x: Tensor) -> float:
    """Number of non-zero weights that see a non-zero input, each once per row, for rows ``x`` of zeros and ones."""
    padding = layer._reversed_padding_repeated_twice
    x = F.pad(x, padding, mode="constant" if layer.padding_mode == "zeros" else layer.padding_mode) != 0
    # All weights with the same input channel and the same position in the kernel see the same inputs.
    outputs = (layer.weight != 0).view(layer.groups, -1, *layer.weight.shape[1:]).sum(1).flatten(0, 1)
    number = 0.0
    for position in itertools.product(*map(range, layer.kernel_size)):
        inputs: tuple[Any, ...] = (..., *_inputs_of(layer, position, x.shape[2:]))
        every_channel: tuple[Any, ...] = (..., *position)
        number += total(x[inputs].flatten(2).any(2) * outputs[every_channel])
    return number


def _inputs_of(layer: nn.Conv1d | nn.Conv2d | nn.Conv3d, position: tuple[int, ...], size: torch.Size) -> list[slice]:
    """The values of a padded input that one position of the kernel sees, along each dimension."""
    return [
        slice(at * dilation, length - (kernel - 1 - at) * dilation, stride)
        for at, length, kernel, dilation, stride in zip(
            position, size, layer.kernel_size, layer.dilation, layer.stride, strict=True
        )
    ]


def recurrent_operations(layer: nn.RNNBase, x: Tensor, hidden: Tensor | None) -> tuple[float, float]:
    """Effective and dense operations of an LSTM, GRU or RNN for input ``x`` (L, B, n) and first state (layers, B, h).

    There are ``gates * (n + h) * h`` dense operations per step. Products of a gate with a state belong to the neuron,
    not to synapses. Hidden states after the first step are assumed to be non-zero, as a product of sigmoid and tanh
    almost always is.

    Raises:
        ValueError: for bidirectional layers and for layers with a projection.
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
    """Products of non-zero weights with non-zero ``values`` (rows, n); None stands for rows without zeros."""
    connected = (weight != 0).sum(0).double()
    return float(connected.sum() * rows if values is None else ((values != 0).double() @ connected).sum())


def total(x: Tensor) -> float:
    """The sum, exact for any count of values that fit into memory."""
    return float(x.sum() if x.device.type == "mps" else x.sum(dtype=torch.float64))
