"""Agents saved by stable-baselines3 are read as what they are, act as they did, and execute nothing."""

from __future__ import annotations

import base64
import io
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from saved_agents import AGENTS, ON, SMALL, changed, save
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize
from torch import nn

from snn4.learners.saved_actor import make_actor
from snn4.learners.saved_agent import read_agent
from snn4.learners.sb3_zip import BadAgent, read_weights
from snn4.policies.sb3 import SpikingActorCriticPolicy


@pytest.mark.parametrize("name", AGENTS)
def test_it_is_read_as_it_was_saved(name: str, tmp_path: Path) -> None:
    model, path = save(name, tmp_path)
    agent = read_agent(path)
    assert agent.algorithm == name.split(",")[0]
    assert agent.observation_space == model.observation_space
    assert agent.action_space == model.action_space
    assert agent.features == ("nature_cnn" if name.endswith(", images") else "flatten")
    assert (agent.use_sde, agent.normalized) == (model.use_sde, False)
    assert all(torch.equal(value, agent.weights[key]) for key, value in model.policy.state_dict().items())


@pytest.mark.parametrize(
    ("name", "activation", "net_arch"),
    [
        ("PPO", "tanh", {"pi": (64, 64), "vf": (64, 64)}), ("A2C", "elu", {"pi": (8,), "vf": (7, 5)}),
        ("PPO, linear", "tanh", {"pi": ()}), ("PPO, images", "tanh", {"pi": ()}), ("DQN", "relu", {"pi": (64, 64)}),
        ("DQN, images", "relu", {"pi": (16,)}), ("SAC", "relu", {"pi": (32, 16), "qf": (32, 16)}),
        ("TD3", "relu", {"pi": (9,), "qf": (8, 7)}),
    ],
)  # fmt: skip
def test_activation_and_widths(name: str, activation: str, net_arch: dict[str, Any], tmp_path: Path) -> None:
    agent = read_agent(save(name, tmp_path)[1])
    assert (agent.activation, agent.net_arch) == (activation, net_arch)


@pytest.mark.parametrize("name", AGENTS)
def test_the_actor_acts_as_the_agent(name: str, tmp_path: Path) -> None:
    """SB3's own actions are the greatest output, the clipped mean, or the stretched output."""
    model, path = save(name, tmp_path)
    space = model.observation_space
    space.seed(1)
    observations = np.stack([space.sample() for _ in range(50)])
    if space.dtype == np.float32:
        observations = np.clip(observations, -10, 10)  # those without bounds are far away
    chosen = model.predict(observations, deterministic=True)[0]
    outputs = make_actor(read_agent(path))(torch.from_numpy(observations))
    actions = model.action_space
    if isinstance(actions, spaces.Discrete):
        assert np.array_equal(outputs.argmax(1).numpy(), chosen)
        return
    stretched = model.policy.unscale_action(outputs.numpy()) if name[:3] in ("SAC", "TD3") else outputs.numpy()
    assert np.allclose(stretched.clip(actions.low, actions.high), chosen, atol=1e-5)


def test_logits_and_values_are_sb3s(tmp_path: Path) -> None:
    observations = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    for name in ("PPO", "DQN"):
        model, path = save(name, tmp_path)
        policy: Any = model.policy
        outputs = make_actor(read_agent(path))(observations)
        with torch.no_grad():
            if name == "DQN":
                expected = policy.q_net(observations)
            else:
                expected, outputs = policy.get_distribution(observations).distribution.logits, outputs.log_softmax(1)
        assert torch.allclose(outputs, expected, atol=1e-6)


def test_an_actor_of_vectors_is_plain_layers(tmp_path: Path) -> None:
    layers = [type(layer) for layer in make_actor(read_agent(save("PPO", tmp_path)[1]))]
    assert layers == [nn.Linear, nn.Tanh, nn.Linear, nn.Tanh, nn.Linear]


def test_ppo_tells_of_vec_normalize(tmp_path: Path) -> None:
    """Off-policy algorithms always keep the original observation, and so do not tell."""
    env = make_vec_env("CartPole-v1")
    for model, normalized in (
        (PPO("MlpPolicy", VecNormalize(env), n_steps=64, **ON), True), (PPO("MlpPolicy", env, n_steps=64, **ON), False),
        (DQN("MlpPolicy", env, **SMALL), False),
    ):  # fmt: skip
        model.learn(4)
        model.save(tmp_path / "agent.zip")
        assert read_agent(tmp_path / "agent.zip").normalized == normalized


# Nothing is executed


class Trap:
    """Unpickling it makes the folder ``path``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_pickles_in_it_are_not_executed(tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    trap = pickle.dumps(Trap(mark))
    with pytest.raises(FileNotFoundError):  # the trap works: its folder cannot be made below one that is missing
        pickle.loads(pickle.dumps(Trap(tmp_path / "none" / "executed")))

    def in_json(name: str, content: bytes) -> bytes:
        if name != "data":
            return content
        data = json.loads(content)
        rows = (row for row in data.values() if isinstance(row, dict) and ":serialized:" in row)
        for row in rows:
            row[":serialized:"] = base64.b64encode(trap).decode()
        return json.dumps(data).encode()

    assert make_actor(read_agent(changed(save("PPO", tmp_path)[1], in_json)))

    buffer = io.BytesIO()
    torch.save({"action_net.weight": Trap(mark)}, buffer)
    for poison in (trap, buffer.getvalue()):

        def in_weights(name: str, content: bytes, poison: bytes = poison) -> bytes:
            return poison if name.endswith(".pth") else content

        with pytest.raises(BadAgent, match=r"policy\.pth holds more than tensors, or is damaged"):
            read_agent(changed(tmp_path / "agent.zip", in_weights))
    assert not mark.exists()


# Bad files


def test_files_that_are_no_agents(tmp_path: Path) -> None:
    _, path = save("PPO", tmp_path)
    content = path.read_bytes()
    other = tmp_path / "other.zip"
    for wrong in (b"", b"text", content[: len(content) // 2], content[:-10]):
        other.write_bytes(wrong)
        with pytest.raises(BadAgent, match=r"other\.zip: (cannot be read|got no data)"):
            read_agent(other)
    with pytest.raises(BadAgent, match=r"missing\.zip: no such file"):
        read_agent(tmp_path / "missing.zip")
    with pytest.raises(BadAgent, match="no such file"):
        read_agent(tmp_path)
    with pytest.raises(BadAgent, match=r"got no policy\.pth in it"):
        read_agent(changed(path, lambda name, x: None if name == "policy.pth" else x))
    for json_text in (b"{", b"[" * 100_000, b"\xff"):
        with pytest.raises(BadAgent, match="data: cannot be read as JSON"):
            read_agent(changed(path, lambda name, x, text=json_text: text if name == "data" else x))  # type: ignore[misc]


def test_damage_at_any_byte_is_told_or_harmless(tmp_path: Path) -> None:
    _, path = save("PPO, linear", tmp_path)
    content, random = path.read_bytes(), np.random.default_rng(0)
    for place in random.integers(len(content), size=200):
        path.write_bytes(content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :])
        try:
            make_actor(read_agent(path))
        except BadAgent:
            continue


def with_weights(path: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    weights: Any = read_weights(path)
    buffer = io.BytesIO()
    torch.save(change(weights), buffer)
    return changed(path, lambda name, x: buffer.getvalue() if name == "policy.pth" else x)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w | {"action_net.bias": torch.tensor([1.0, float("nan")])}, "action_net.bias holds NaN"),
        (lambda w: [*w], "got no tensors by name"),
        (lambda w: {}, "got no tensors by name"),
        (lambda w: {"q": torch.ones(2)}, "got an agent of another algorithm"),
        (lambda w: w | {"action_net.weight": torch.ones(3, 64)}, "got 3 outputs of its network, allowed are 2"),
        (lambda w: w | {"action_net.weight": torch.ones(2, 9)}, "do not fit each other"),
        (
            lambda w: w | {"mlp_extractor.policy_net.0.weight": torch.ones(64, 5)},
            "do not fit each other and observations",
        ),
        (lambda w: w | {"lstm_actor.weight_ih_l0": torch.ones(3)}, "policies without memory"),
        (lambda w: w | {"features_extractor.mlp.0.weight": torch.ones(3, 3)}, "an unknown features extractor"),
        (lambda w: {k: x for k, x in w.items() if k != "action_net.bias"}, "action_net.bias is missing"),
    ],
)
def test_weights_that_do_not_fit(change: Any, message: str, tmp_path: Path) -> None:
    _, path = save("PPO", tmp_path)
    with pytest.raises(BadAgent, match=message) as raised:
        make_actor(read_agent(with_weights(path, change)))
    assert len(str(raised.value).splitlines()) == 1


def test_policies_that_are_not_sb3s(tmp_path: Path) -> None:
    path = tmp_path / "agent.zip"
    PPO(SpikingActorCriticPolicy, "CartPole-v1", **ON).save(path)
    with pytest.raises(BadAgent, match="got a spiking policy"):
        read_agent(path)
    PPO("MlpPolicy", "CartPole-v1", policy_kwargs={"activation_fn": nn.Softplus}, **ON).save(path)
    with pytest.raises(BadAgent, match="got activation_fn Softplus, allowed are Tanh, ReLU"):
        read_agent(path)
