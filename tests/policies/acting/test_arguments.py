from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import yaml
from gymnasium import spaces
from torch import nn

from snn4.policies.acting.features import NetworkFeatures
from snn4.policies.acting.memory import MemoryConfig
from snn4.policies.coding import CodingConfig
from snn4.policies.neurons import NeuronConfig
from snn4.policies.recurrent import SpikingRecurrentPolicy
from snn4.policies.sb3 import (
    SpikingActorCriticPolicy,
    SpikingDQNPolicy,
    SpikingSACPolicy,
    SpikingTD3Policy,
)

PPO = SpikingActorCriticPolicy
DQN = SpikingDQNPolicy
SAC = SpikingSACPolicy
TD3 = SpikingTD3Policy
RECURRENT = SpikingRecurrentPolicy


def make(policy: Any, **kwargs: Any) -> Any:
    actions = spaces.Box(-1, 1, (2,)) if policy in (SAC, TD3) else spaces.Discrete(2)
    return policy(spaces.Box(-1, 1, (3,)), actions, lambda _: 0.0, **kwargs)


ZOO = """
policy_kwargs:
  neuron: {kind: cuba, tau_mem: 0.005, tau_more: [0.1, 0.2]}
  coding: population
  net_arch: [8, 4]
"""


@pytest.mark.parametrize("written", [yaml.safe_load(ZOO)["policy_kwargs"], "as text"], ids=["mapping", "text"])
def test_names_and_mappings_as_in_rl_zoos_yaml(written: Any) -> None:
    """rl-zoo takes a mapping as it is and evaluates a text."""
    text = "dict(neuron=dict(kind='cuba', tau_mem=5e-3, tau_more=[0.1, 0.2]), coding='population', net_arch=[8, 4])"
    policy = make(PPO, **(eval(text) if written == "as text" else written))
    assert policy.spiking["neuron"] == NeuronConfig("cuba", tau_mem=5e-3, tau_more=(0.1, 0.2))
    assert policy.spiking["coding"] == CodingConfig("population")
    policy.predict(np.zeros(3, np.float32), deterministic=True)


def test_a_name_is_the_first_field() -> None:
    assert make(DQN, neuron="alif", coding={"kind": "rate"}).spiking["neuron"] == NeuronConfig("alif")
    assert make(RECURRENT, memory={"taus": [1e-3]}).spiking["memory"] == MemoryConfig(taus=(1e-3,))
    images = spaces.Box(0, 255, (1, 16, 16), np.uint8)
    network = {"name": "vgg-small", "T": 2, "neuron": "cuba"}
    assert str(NetworkFeatures(images, network)) != str(NetworkFeatures(images, "vgg-small"))


@pytest.mark.parametrize(
    ("policy", "arguments", "message"),
    [
        (PPO, {"T": 2.5}, r"T: got 2\.5, allowed is a whole number >= 1"),
        (PPO, {"T": "4"}, "T: got '4', allowed is a whole number >= 1"),
        (PPO, {"T": True}, "T: got True, allowed"),
        (PPO, {"net_arch": 64}, r"net_arch: got 64, allowed is a list of layer sizes >= 1, for instance \[64, 64\]"),
        (DQN, {"net_arch": [64.0]}, r"net_arch: got \[64\.0\], allowed"),
        (DQN, {"net_arch": {"pi": [4]}}, r"net_arch: got {'pi': \[4\]}, allowed is a list"),
        (PPO, {"net_arch": {"pi": [4, 0]}}, r"net_arch\.pi: got \[4, 0\], allowed"),
        (PPO, {"net_arch": {"pi": [4], "qf": [4]}}, "net_arch: got a part 'qf', allowed are pi, vf"),
        (TD3, {"net_arch": {"pi": [4]}}, "net_arch: got no qf, allowed is a mapping with pi and qf"),
        (RECURRENT, {"net_arch": {"pi": [4]}}, r"net_arch: got {'pi': \[4\]}, allowed is one or more layer sizes"),
        (RECURRENT, {"lstm_hidden_size": 64}, "lstm_hidden_size: got 64, allowed is None: there is no LSTM"),
        (RECURRENT, {"T": 4}, "T: unknown argument of SpikingRecurrentPolicy, allowed are net_arch, "),
        (SAC, {"critic": "ann"}, "critic: unknown argument of SpikingSACPolicy, did you mean n_critics"),
        (DQN, {"state": "carry"}, "state: unknown argument of SpikingDQNPolicy, allowed are net_arch"),
        (PPO, {"neurons": "lif"}, r"neurons: unknown argument of \w+, did you mean neuron\? Allowed are"),
        (PPO, {"neuron": 5}, "neuron: got 5, allowed is a name, a mapping of fields, or a NeuronConfig"),
        (PPO, {"neuron": "cubaa"}, r"neuron\.kind: got 'cubaa', did you mean cuba\? Allowed are lif, cuba"),
        (PPO, {"neuron": {"tau": 1}}, r"neuron\.tau: unknown, .*llowed are kind, tau_mem"),
        (PPO, {"neuron": {"tau_mem": -1}}, r"neuron\.tau_mem: got -1, allowed is a finite number > 0"),
        (PPO, {"neuron": {"tau_mem": "5e-3"}}, r"neuron\.tau_mem: got '5e-3', allowed is a number; YAML .* 5\.0e-3"),
        (PPO, {"neuron": {"tau_more": 5}}, r"neuron\.tau_more: got 5, allowed is a list of numbers"),
        (PPO, {"coding": ["rate"]}, r"coding: got \['rate'\], allowed is a name"),
        (PPO, {"readout": "rates"}, r"readout: got 'rates', did you mean rate\? Allowed are rate, membrane"),
        (PPO, {"backend": 3}, "backend: got 3, allowed are torch, snntorch, norse"),
        (PPO, {"bounded": "no"}, "bounded: got 'no', allowed are True, False"),
    ],
    ids=str,
)
def test_one_line_says_what_is_wrong(policy: Any, arguments: dict[str, Any], message: str) -> None:
    expected = TypeError if "unknown argument" in message else ValueError
    with pytest.raises(expected, match=f"^{message}") as error:
        make(policy, **arguments)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("policy", "default"), [(PPO, nn.Tanh), (SAC, nn.ReLU), (DQN, nn.ReLU), (RECURRENT, nn.Tanh)])
def test_an_activation_function_means_nothing_to_neurons(policy: Any, default: type[nn.Module]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make(policy, activation_fn=default)
    with pytest.warns(UserWarning, match="^activation_fn: got ELU, which applies only to artificial layers"):
        make(policy, activation_fn=nn.ELU)


class Own(SpikingActorCriticPolicy):
    """A user's policy with an argument of its own."""

    def __init__(self, *args: Any, colour: str = "red", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.colour = colour


def test_subclasses_may_have_further_arguments() -> None:
    assert make(Own, colour="blue", T=2).colour == "blue"
    with pytest.raises(TypeError, match=r"^color: unknown argument of Own, did you mean colour\?"):
        make(Own, color="blue")
