"""Spiking policies that stable-baselines3 saved are built again without unpickling, and act as they did."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from saved_agents import changed
from sb3_cases import NEURON, OBSERVATIONS, Case, Tiny
from sb3_contrib import RecurrentPPO
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from stable_baselines3.common.vec_env import VecNormalize
from torch import nn

from snn4.learners.saved_policy import read_policy
from snn4.learners.sb3_zip import BadAgent
from snn4.policies.coding import CodingConfig
from snn4.policies.recurrent import SpikingRecurrentPolicy

CASES = [
    Case(PPO, "Discrete"),
    Case(PPO, "Box", {"use_sde": True}, {"neuron": NEURON, "coding": CodingConfig(kind="population")}),
    Case(A2C, "Box", {}, {"neuron": "cuba", "net_arch": {"pi": [8], "vf": [7, 5]}, "critic": "spiking"}),
    Case(DQN, "Discrete", {}, {"T": 7, "neuron": {"kind": "alif"}, "sparsity": 0.5}),
    Case(SAC, "Box", {}, {"coding": "delta", "readout": "membrane"}),
    Case(TD3, "Box", {}, {"activation_fn": nn.ELU, "spike_cost": 0.1}),
]


def saved(model: Any, folder: Path) -> Path:
    model.save(folder / "agent.zip")
    return folder / "agent.zip"


@pytest.mark.parametrize("case", CASES, ids=str)
def test_it_acts_as_it_did(case: Case, tmp_path: Path) -> None:
    model = case.model()
    policy = read_policy(saved(model, tmp_path))
    expected, _ = model.predict(OBSERVATIONS, deterministic=True)
    np.testing.assert_array_equal(policy.predict(OBSERVATIONS, deterministic=True)[0], expected)
    assert policy.spiking == model.policy.spiking


def test_a_policy_with_memory_acts_as_it_did(tmp_path: Path) -> None:
    model = RecurrentPPO(SpikingRecurrentPolicy, "CartPole-v1", policy_kwargs={"neuron": NEURON}, device="cpu", seed=0)
    policy = read_policy(saved(model, tmp_path))
    state = other = None
    for x in np.random.default_rng(0).normal(size=(20, 1, 4)).astype(np.float32):
        expected, state = model.predict(x, state, deterministic=True)
        found, other = policy.predict(x, other, deterministic=True)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"policy_kwargs": {"neuron": "NeuronConfig(kind=open('ran', 'w'))"}}, "policy_kwargs.neuron: got Neuron"),
        ({"policy_kwargs": {"neuron": "<object at 0x1>"}}, "policy_kwargs.neuron: got <object at 0x1>, allowed are pl"),
        ({"policy_kwargs": {"neuron": "lif2"}}, "do not fit its tensors: neuron"),
        ({"policy_kwargs": {"net_arch": [9, 16]}}, "policy_kwargs do not fit its tensors: .*size mismatch"),
        ({"policy_kwargs": {"legs": 4}}, "policy_kwargs do not fit its tensors: .*legs"),
        ({"policy_kwargs": {"features_extractor_class": "<class 'x.Mine'>"}}, "policy_kwargs.features_extractor_class"),
        ({"observation_space": {":type:": "<class 'x.Dict'>"}}, "observation_space: got Dict, allowed are Box"),
        ({"observation_space": {":type:": "Box", "low": "[0. 1. ... 2.]"}}, "its bounds are abbreviated; load it in P"),
        ({"action_space": None}, "action_space: got none"),
    ],
)
def test_what_has_no_readable_form_is_named(
    changes: Any, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    original = saved(Case(PPO, "Discrete").model(), tmp_path)
    path = changed(original, lambda name, x: json.dumps(json.loads(x) | changes).encode() if name == "data" else x)
    original.unlink()
    with pytest.raises(BadAgent, match=message) as caught:
        read_policy(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert [*tmp_path.iterdir()] == [path], "nothing was executed"


def test_statistics_of_observations_are_missed(tmp_path: Path) -> None:
    model = Case(PPO, "Discrete").model()
    model.set_env(VecNormalize(model.get_env()))  # type: ignore[arg-type]
    model.learn(32)
    with pytest.raises(BadAgent, match="whose statistics are not in the file; load it in Python"):
        read_policy(saved(model, tmp_path))


def test_a_policy_that_does_not_spike(tmp_path: Path) -> None:
    with pytest.raises(BadAgent, match=r"got a policy that does not spike, .*: snn4-agent convert"):
        read_policy(saved(PPO("MlpPolicy", Tiny(Case(PPO, "Discrete").model().action_space)), tmp_path))
