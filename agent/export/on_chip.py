"""Decisions of the chip, and the spikes of the same network in float."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.policies import BasePolicy
from torch import Tensor, nn

from snn4.agent.export.integers import features
from snn4.agent.export.source import PolicySource
from snn4.policies.export.chip_activity import ChipActivity
from snn4.policies.export.integer_network import IntegerNetwork
from snn4.policies.neurons import Neuron


class OnChip:
    """Acts as Loihi would, with the interface of a policy, and compares itself with the policy in float.

    Args:
        source: the policy.
        network: its integers.
    """

    def __init__(self, source: PolicySource, network: IntegerNetwork) -> None:
        assert network.actions is not None
        self.policy, self.network, self.actions = source.policy, network, network.actions
        self.activity = ChipActivity(network)

    def predict(self, observation: Any, state: Any = None, *_: Any, **__: Any) -> tuple[NDArray[Any], Any]:
        """Actions (B, …) for observations (B, …); it has no state."""
        inputs = features(self.policy, observation)
        run = self.network.run(inputs)
        actions = self.actions.chosen(run.scores.astype(np.float32))
        trains = spikes_of(_body(self.policy), torch.from_numpy(inputs))[0]
        expected = self.policy.predict(observation, deterministic=True)[0]
        self.activity.add(run, trains, self.actions.agreement(actions, expected))
        return actions, state


def _body(policy: BasePolicy) -> nn.Module:
    return policy.acting_layers().body  # type: ignore[operator, union-attr, no-any-return]


@contextmanager
def _recording(network: nn.Module) -> Iterator[list[NDArray[Any]]]:
    trains: list[NDArray[Any]] = []
    neurons = [module for module in network.modules() if isinstance(module, Neuron)]
    hooks = [neuron.register_forward_hook(lambda _, __, y: trains.append(y[0].cpu().numpy())) for neuron in neurons]
    try:
        yield trains
    finally:
        for hook in hooks:
            hook.remove()


def spikes_of(network: nn.Module, x: Tensor) -> tuple[list[NDArray[Any]], Tensor]:
    """The spike trains (T, B, …) of all layers of neurons for ``x`` (B, …), in order, and the output."""
    with torch.no_grad(), _recording(network) as trains:
        output = network(x)
    return trains, output
