"""Conversion of policies: the acting network of an SB3 agent becomes the spiking layers of this project's policies."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize
from stable_baselines3.common.base_class import BaseAlgorithm
from torch import Tensor, nn

from snn4.learners.algorithms import ALGORITHMS
from snn4.learners.conversion.conversion import ConversionConfig
from snn4.learners.conversion.sizes import SMALLEST, size_of
from snn4.learners.conversion.tracing import CannotConvert
from snn4.learners.saved_actor import make_actor
from snn4.learners.saved_agent import ACTIVATIONS, SavedAgent, acting_head
from snn4.policies.acting.mlp import SpikingMLP
from snn4.policies.neurons import Neuron

PIECES = 4
"""Neurons in place of one tanh unit: each is one piece of a piecewise linear tanh."""
CORRECTED = 2
"""Corrections of the biases of a layer."""


@dataclass(frozen=True, eq=False)
class ActorLayer:
    """Synapses, and what the units behind them stand for: ``activation = units * rate``, summed over pieces."""

    weight: Tensor
    bias: Tensor
    units: Tensor
    """(n,) the activation of a spike in every step."""
    base: Tensor
    """(n / pieces,) the activation of silent neurons."""


@dataclass(frozen=True, eq=False)
class ConvertedActor:
    """The hidden layers of a spiking actor, ready to load; and how they differ from the ANN's on the same states."""

    layers: tuple[ActorLayer, ...]
    pieces: int
    errors: tuple[float, ...]
    """Mean absolute difference between activations and decoded rates of each layer, over the mean activation."""

    @property
    def net_arch(self) -> list[int]:
        return [len(layer.bias) for layer in self.layers]

    def read_out(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Weight and bias of a linear readout of the last layer, for its rates instead of its activations."""
        return _behind(self.layers[-1], self.pieces, weight, bias)


def convert_actor(agent: SavedAgent, states: Tensor, config: ConversionConfig) -> ConvertedActor:
    """Convert the hidden layers of ``agent``, calibrated on ``states`` (N, n) of its own episodes.

    A ReLU becomes one neuron. A tanh becomes `PIECES` neurons, whose rates are the pieces of a piecewise linear tanh.

    Raises:
        CannotConvert: the agent sees images, has no hidden layer, or other activations than ReLU and tanh.
    """
    synapses = _synapses(agent)
    pieces = PIECES if agent.activation == "tanh" else 1
    layers: list[ActorLayer] = []
    errors = []
    signal, activation = states, states  # of the spiking network (T or 1, N, n), and of the ANN
    signal = signal.unsqueeze(0)
    for weight, bias in synapses:
        wanted = nn.functional.linear(activation, weight, bias)
        if layers:
            weight, bias = _behind(layers[-1], pieces, weight, bias)
        layer = _layer(weight, bias, wanted, agent.activation, config)
        target = _rates(layer, wanted, agent.activation)
        layer, signal = _run(layer, signal, target, config)
        layers.append(layer)
        activation = nn.functional.relu(wanted) if agent.activation == "relu" else wanted.tanh()
        decoded = _decoded(layer, signal.mean(0), pieces)
        errors.append(float((decoded - activation).abs().mean() / activation.abs().mean().clamp_min(1e-12)))
    return ConvertedActor(tuple(layers), pieces, tuple(errors))


def _synapses(agent: SavedAgent) -> list[tuple[Tensor, Tensor]]:
    """Weight and bias of each hidden layer."""
    if agent.activation not in ("relu", "tanh"):
        raise CannotConvert(f"{agent.source}: got activation_fn {agent.activation}, allowed are ReLU and Tanh")
    if agent.use_sde:
        raise CannotConvert(f"{agent.source}: got use_sde: true, allowed is false; distil the agent instead")
    modules = [layer for layer in make_actor(agent) if not isinstance(layer, (nn.ReLU, nn.Tanh))]
    if not all(isinstance(layer, nn.Linear) for layer in modules):
        raise CannotConvert(
            f"{agent.source}: got observations {agent.observation_space}, allowed are vectors of float32; "
            f"distil the agent instead: snn4-agent distill"
        )
    *hidden, _ = modules
    if not hidden:
        raise CannotConvert(f"{agent.source}: got no hidden layer, allowed is one or more")
    linears: Any = hidden
    return [(layer.weight.detach().clone(), layer.bias.detach().clone()) for layer in linears]


def _layer(weight: Tensor, bias: Tensor, wanted: Tensor, activation: str, config: ConversionConfig) -> ActorLayer:
    """The layer with thresholds of 1; ``wanted`` (N, n) are the ANN's values before its activation."""
    if activation == "relu":
        size = _sizes(wanted.relu().t(), config)
        return ActorLayer(weight / size.unsqueeze(1), bias / size, size, torch.zeros(len(bias)))
    starts, widths, heights, base = _tanh_pieces(PIECES)
    n = len(bias)
    scale, shift = (1 / widths).repeat(n), (starts / widths).repeat(n)
    weight = weight.repeat_interleave(PIECES, 0) * scale.unsqueeze(1)
    return ActorLayer(
        weight, bias.repeat_interleave(PIECES) * scale - shift, heights.repeat(n), torch.full((n,), float(base))
    )


def _sizes(x: Tensor, config: ConversionConfig) -> Tensor:
    """The activation of each unit (n,) that a spike in every step stands for; ``x`` is (n, N)."""
    size = size_of(x, config.T, config)
    size = size.amax().expand_as(size) if config.scale == "layer" else size
    return size.clamp_min(SMALLEST).clone()


def _rates(layer: ActorLayer, wanted: Tensor, activation: str) -> Tensor:
    """The rates (N, n) that decode to the ANN's activations, as far as rates from 0 to 1 can."""
    if activation == "relu":
        return wanted.relu() / layer.units
    starts, widths, _, _ = _tanh_pieces(PIECES)
    return ((wanted.unsqueeze(2) - starts) / widths).clamp(0, 1).flatten(1)


@torch.no_grad()
def _run(layer: ActorLayer, signal: Tensor, target: Tensor, config: ConversionConfig) -> tuple[ActorLayer, Tensor]:
    """The layer with corrected biases, and its spikes (T, N, n) for ``signal``."""
    neuron = Neuron(config.neuron_config)
    current = nn.functional.linear(signal, layer.weight, layer.bias)
    shift = torch.zeros_like(layer.bias)
    for _ in range(0 if config.method == "threshold-balance" else CORRECTED):
        spikes, _ = neuron(current + shift, steps=config.T)
        shift += target.mean(0) - spikes.mean((0, 1))
    spikes, _ = neuron(current + shift, steps=config.T)
    return ActorLayer(layer.weight, layer.bias + shift, layer.units, layer.base), spikes


def _decoded(layer: ActorLayer, rates: Tensor, pieces: int) -> Tensor:
    """The activations (N, n) that ``rates`` (N, n * pieces) stand for."""
    return (rates * layer.units).unflatten(1, (-1, pieces)).sum(2) + layer.base


def _behind(layer: ActorLayer, pieces: int, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Synapses on activations of the layer as synapses on its rates."""
    return weight.repeat_interleave(pieces, 1) * layer.units, bias + weight @ layer.base


@functools.cache
def _tanh_pieces(n: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Starts, widths and heights (n,) of the pieces of a piecewise linear tanh with the smallest error, and its start.

    Between -4 and 4, the largest error of 4 pieces is 0.05.
    """
    x = np.linspace(-4, 4, 801)

    def knots(free: Any) -> tuple[Any, Any]:
        half = np.cumsum(np.abs(free[: n // 2]))
        at = np.concatenate([-half[::-1], [0.0], half])
        values = np.cumsum(np.abs(free[n // 2 :]))
        return at, np.concatenate([-values[::-1], [0.0], values])

    def error(free: Any) -> float:
        return float(np.mean((np.interp(x, *knots(free)) - np.tanh(x)) ** 2))

    first = np.linspace(0, 2.2, n // 2 + 1)[1:]
    start = np.concatenate([np.diff(first, prepend=0), np.diff(np.tanh(first), prepend=0)])
    best = minimize(error, start, method="Nelder-Mead", options={"maxiter": 4000, "xatol": 1e-6, "fatol": 1e-10})
    at, values = knots(best.x)
    tensors = (at[:-1], np.diff(at), np.diff(values), values[0])
    return tuple(torch.tensor(part, dtype=torch.float32) for part in tensors)  # type: ignore[return-value]


def spiking_agent(agent: SavedAgent, actor: ConvertedActor, env: Any, config: ConversionConfig) -> BaseAlgorithm:
    """An SB3 algorithm with a spiking policy that acts like ``agent``: critics and heads are those of the agent.

    It learns on, and its ``save`` writes a zip for the algorithm's own ``load``.
    """
    algorithm = ALGORITHMS[agent.algorithm]
    kwargs = {
        "net_arch": agent.sb3_arch(actor.net_arch),
        "T": config.T,
        "neuron": config.neuron_config,
        "residual": bool(config.residual),
        "activation_fn": _activation(agent),
    }
    if agent.algorithm == "DQN" or _activation(agent) is None:
        kwargs.pop("activation_fn")
    make: Any = algorithm.sb3
    with warnings.catch_warnings():  # the activation is meant for the critic alone
        warnings.filterwarnings("ignore", "activation_fn", UserWarning)
        model: BaseAlgorithm = make(algorithm.spiking_policy, env, policy_kwargs=kwargs, device="cpu")
    load(model.policy, agent, actor)
    return model


def _activation(agent: SavedAgent) -> Any:
    """The critic's activation, if it is not SB3's default."""
    default = "tanh" if agent.algorithm in ("PPO", "A2C") else "relu"
    return None if agent.activation == default else ACTIVATIONS[agent.activation]


@torch.no_grad()
def load(policy: Any, agent: SavedAgent, actor: ConvertedActor) -> None:
    """Load the converted layers, and everything that is not spiking, into a spiking ``policy``."""
    state = policy.state_dict()
    for name, value in agent.weights.items():
        if name in state and state[name].shape == value.shape:
            state[name].copy_(value)
    policy.load_state_dict(state)
    body: SpikingMLP = policy.acting_layers().body
    for synapses, layer in zip(list(body.layers)[::2], actor.layers, strict=True):
        synapses.weight.copy_(layer.weight)  # type: ignore[operator, union-attr]
        synapses.bias.copy_(layer.bias)  # type: ignore[operator, union-attr]
    for readout, source in _readouts(policy, agent):
        weight, bias = actor.read_out(agent.weights[f"{source}.weight"], agent.weights[f"{source}.bias"])
        readout.weight.copy_(weight)
        readout.bias.copy_(bias)
    _follow(policy)


def _readouts(policy: Any, agent: SavedAgent) -> Sequence[tuple[Any, str]]:
    """The linear layers behind the spiking ones, and their names in the agent."""
    head = acting_head(agent)
    match agent.algorithm:
        case "PPO" | "A2C":
            return [(policy.action_net, head)]
        case "DQN":
            return [(policy.q_net.q_net[-1], head)]
        case "SAC":
            return [(policy.actor.mu, head), (policy.actor.log_std, "actor.log_std")]
        case _:
            return [(policy.actor.mu[1], head)]


def _follow(policy: Any) -> None:
    """Set the target networks of DQN and TD3 to the networks that they follow."""
    for acting in ("q_net", "actor"):
        if (target := getattr(policy, f"{acting}_target", None)) is not None:
            target.load_state_dict(getattr(policy, acting).state_dict())
