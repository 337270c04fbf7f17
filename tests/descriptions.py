"""Descriptions of networks, computed in torch with float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from snn4.policies.export.description import INPUT, Add, Conv, Dense, Description, Flatten, Neurons, Pool
from snn4.policies.neurons import Neuron


def spikes_of(description: Description, x: NDArray[np.float32]) -> tuple[dict[str, NDArray[np.bool_]], Tensor]:
    """The spikes (T, B, n) of every layer of neurons, flattened, and the scores (B, n), for inputs (B, …)."""
    signal = torch.from_numpy(description.encode(x)).double()
    values = {INPUT: signal.expand(description.T, *signal.shape[1:])}
    with torch.no_grad():
        for layer in description.layers:
            values[layer.name] = output(layer.part, [values[name] for name in layer.inputs])
    spikes = {layer.name: values[layer.name].flatten(2).bool().numpy() for layer in description.neurons()}
    readout = torch.from_numpy(description.readout).double()
    return spikes, torch.einsum("t,tbn->bn", readout, values[description.layers[-1].name])


def output(part: Any, inputs: list[Tensor]) -> Tensor:
    """The output (T, B, …) of a part of a network."""
    x = inputs[0]
    match part:
        case Add():
            return sum(inputs[1:], inputs[0])
        case Neurons():
            neuron = Neuron(part.config, part.decay.shape)
            if neuron.decay_logit is not None:
                neuron.decay_logit.data = torch.from_numpy(part.decay).double().logit()
            return neuron(x)[0]
        case Dense():
            return F.linear(x, *(torch.from_numpy(array).double() for array in part))
        case Flatten():
            return x.flatten(2)
        case Conv():
            weight, bias = (torch.from_numpy(array).double() for array in part[:2])
            return F.conv2d(x.flatten(0, 1), weight, bias, *part[2:]).unflatten(0, x.shape[:2])
        case Pool():
            pool = F.avg_pool2d if part.kind == "average" else F.max_pool2d
            return pool(x.flatten(0, 1), *part[1:]).unflatten(0, x.shape[:2])
    return x.relu()
