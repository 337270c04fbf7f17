"""How much each hidden neuron of a policy is used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from stable_baselines3.common.policies import BasePolicy
from torch import Tensor, nn

from snn4.policies.acting.chains import chains
from snn4.policies.modes import evaluating


@dataclass(frozen=True, eq=False)
class Activity:
    """What the neurons of a hidden layer pass on: spikes, for the last layer decoded ones, or activations (ANN)."""

    mean: Tensor
    """(n,): mean over samples and steps."""
    size: Tensor
    """(n,): mean of the absolute values; 0 for neurons that are silent."""


def activity(policy: BasePolicy, observations: Tensor | Mapping[str, Tensor]) -> dict[str, Activity]:
    """The activity of every hidden layer, ``actor.0``, ``actor.1``, ``critic.0``, …, for some observations.

    The critics of SAC and TD3 see the actions that the policy chooses without noise. torch's global generators stay as
    they are, although a random rate code draws from them.

    Args:
        observations: (N, …) as the policy gets them; for a policy with memory, one sequence of N decisions from rest.
    """
    devices = [policy.device] if policy.device.type == "cuda" else []
    with torch.random.fork_rng(devices), evaluating(policy), _listening(policy) as heard:
        if hasattr(policy, "lstm_actor"):
            _remember_and_value(policy, observations)
        else:
            _act_and_value(policy, observations)
    return heard


@contextmanager
def _listening(policy: nn.Module) -> Iterator[dict[str, Activity]]:
    """Inside, each forward pass writes the activity of the layers that it runs to the mapping."""
    heard: dict[str, Activity] = {}
    handles = []
    for chain in chains(policy).values():
        for layer, place in enumerate(() if chain.is_target else chain.layers()):
            reader = policy.get_submodule(chain.readers(layer)[0])
            handles.append(reader.register_forward_pre_hook(_note(heard, place)))
    try:
        yield heard
    finally:
        for handle in handles:
            handle.remove()


def _note(heard: dict[str, Activity], name: str) -> Any:
    def note(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        values = inputs[0].flatten(0, -2).float().cpu()  # (samples or samples * steps, n)
        heard[name] = Activity(values.mean(0), values.abs().mean(0))

    return note


def _act_and_value(policy: Any, observations: Any) -> None:
    actions = policy._predict(observations, deterministic=True)
    if hasattr(policy, "predict_values"):
        policy.predict_values(observations)
    elif hasattr(policy, "critic"):
        policy.critic(observations, actions)


def _remember_and_value(policy: Any, observations: Any) -> None:
    rest = torch.zeros(policy.lstm_hidden_state_shape, device=policy.device)
    first = next(iter(observations.values())) if isinstance(observations, Mapping) else observations
    starts = torch.zeros(len(first), device=policy.device)
    policy.get_distribution(observations, (rest, rest), starts)
    policy.predict_values(observations, (rest, rest), starts)
