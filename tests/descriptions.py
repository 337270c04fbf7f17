"""Descriptions of lively networks, and what they compute, in torch with float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3 import PPO, SAC
from torch import Tensor
from torch.nn import functional as F

from snn4.policies.export.describing import describe_classifier
from snn4.policies.export.description import INPUT, Add, Conv, Dense, Description, Flatten, Neurons, Pool
from snn4.policies.export.policies import describe_policy
from snn4.policies.networks.config import NetworkConfig
from snn4.policies.networks.perception import make_network
from snn4.policies.neurons import Neuron, NeuronConfig
from snn4.policies.sb3 import SpikingActorCriticPolicy, SpikingSACPolicy

HARD = NeuronConfig(reset="hard", v_threshold=0.5)


def policy(
    neuron: NeuronConfig, T: int = 12, environment: str = "CartPole-v1", squashed: bool = False, **settings: Any
) -> Description:
    """An untrained policy with biases: of PPO, or of SAC where its actions are squashed."""
    kwargs = {"net_arch": [24, 16], "T": T, "neuron": neuron, **settings}
    if squashed:
        model: Any = SAC(SpikingSACPolicy, environment, policy_kwargs=kwargs, seed=0, buffer_size=10)
    else:
        model = PPO(SpikingActorCriticPolicy, environment, policy_kwargs=kwargs, seed=0)
    generator = torch.Generator().manual_seed(0)
    for parameter in model.policy.parameters():  # biases, which start at 0, and lively neurons
        parameter.data += 0.4 * torch.randn(parameter.shape, generator=generator)
    return describe_policy(model.policy)


def classifier(name: str, options: dict[str, Any], neuron: NeuronConfig) -> Description:
    torch.manual_seed(0)
    network = make_network(NetworkConfig(name, T=5, neuron=neuron, options=options).resolve(1, (8, 8), 3)).train()
    for _ in range(3):  # the norms learn statistics
        network(torch.rand(16, 1, 8, 8))
    return describe_classifier(network.eval())


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
