"""Agents of stable-baselines3 as spiking ones: rates decode to activations, and decisions are the agent's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from torch import nn

from snn4.envs.control import make_control
from snn4.learners.conversion.actors import PIECES, _tanh_pieces, convert_actor, spiking_agent
from snn4.learners.conversion.conversion import ConversionConfig
from snn4.learners.conversion.tracing import CannotConvert
from snn4.learners.saved_agent import SavedAgent, read_agent

AGENTS: dict[str, tuple[Any, str, dict[str, Any]]] = {
    "PPO tanh": (PPO, "CartPole-v1", {}),
    "PPO relu": (PPO, "CartPole-v1", {"activation_fn": nn.ReLU}),
    "A2C": (A2C, "Pendulum-v1", {}),
    "DQN": (DQN, "CartPole-v1", {}),
    "SAC": (SAC, "Pendulum-v1", {}),
    "TD3": (TD3, "Pendulum-v1", {}),
}


def saved(name: str, folder: Path) -> tuple[Any, SavedAgent, torch.Tensor]:
    """An untrained agent, its file as it is read, and states."""
    algorithm, environment, kwargs = AGENTS[name]
    model = algorithm("MlpPolicy", make_control(environment), seed=0, policy_kwargs={"net_arch": [24, 16], **kwargs})
    model.save(folder / "agent.zip")
    states = torch.randn(200, *model.observation_space.shape, generator=torch.Generator().manual_seed(0))
    return model, read_agent(folder / "agent.zip"), states


def outputs(model: Any, states: torch.Tensor) -> torch.Tensor:
    """What the acting network says before an action is chosen."""
    policy = model.policy
    with torch.no_grad():
        if hasattr(policy, "action_net"):
            return policy.action_net(policy.mlp_extractor.forward_actor(states))
        return (
            policy.q_net(states) if hasattr(policy, "q_net") else policy.actor(states, *[True] * isinstance(model, SAC))
        )


@pytest.mark.parametrize("name", AGENTS)
def test_more_steps_come_closer_to_the_agent(name: str, tmp_path: Path) -> None:
    model, agent, states = saved(name, tmp_path)
    expected = outputs(model, states)
    errors = []
    for T in (2, 16, 128):
        config = ConversionConfig(T=T)
        spiking = spiking_agent(agent, convert_actor(agent, states, config), model.get_env(), config)
        errors.append(float((outputs(spiking, states) - expected).abs().mean()))
    assert errors[0] > errors[1] > errors[2]
    # 4 pieces of tanh are off by up to 0.05, in two layers; rates of 128 steps by less.
    assert errors[2] < 0.2 * float(expected.std()) + 1e-3


@pytest.mark.parametrize("name", AGENTS)
def test_critics_stay_those_of_the_agent_and_the_zip_loads(name: str, tmp_path: Path) -> None:
    model, agent, states = saved(name, tmp_path)
    config = ConversionConfig(T=4)
    spiking = spiking_agent(agent, convert_actor(agent, states, config), model.get_env(), config)
    own, new = model.policy.state_dict(), spiking.policy.state_dict()
    critics = [key for key in own if key.startswith(("value_net", "mlp_extractor.value_net", "critic"))]
    assert all(torch.equal(own[key], new[key]) for key in critics)
    assert bool(critics) == (name != "DQN")
    spiking.save(tmp_path / "spiking.zip")
    again = type(model).load(tmp_path / "spiking.zip")
    actions = [each.policy.predict(states.numpy(), deterministic=True)[0] for each in (spiking, again)]
    np.testing.assert_array_equal(*actions)


def test_a_converted_agent_learns_on(tmp_path: Path) -> None:
    model, agent, states = saved("PPO relu", tmp_path)
    config = ConversionConfig(T=4)
    spiking = spiking_agent(agent, convert_actor(agent, states, config), model.get_env(), config)
    body = spiking.policy.mlp_extractor.policy_net.layers[0].weight.detach().clone()
    spiking.learn(2048)
    assert not torch.equal(body, spiking.policy.mlp_extractor.policy_net.layers[0].weight)


def test_pieces_are_a_piecewise_linear_tanh() -> None:
    starts, widths, heights, base = _tanh_pieces(PIECES)
    x = torch.linspace(-4, 4, 401)
    y = ((x.unsqueeze(1) - starts) / widths).clamp(0, 1) @ heights + base
    assert float((y - x.tanh()).abs().max()) < 0.05
    assert bool((y.diff() >= 0).all())
    torch.testing.assert_close(y, -y.flip(0), atol=1e-5, rtol=0)


def test_biases_are_corrected_to_the_mean_activation(tmp_path: Path) -> None:
    _, agent, states = saved("PPO relu", tmp_path)
    plain, corrected = (
        convert_actor(agent, states, ConversionConfig(T=4, method=method, percentile=100))  # type: ignore[arg-type]
        for method in ("threshold-balance", "calibrate")
    )
    assert corrected.errors[-1] < plain.errors[-1]


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"activation_fn": nn.ELU}, "got activation_fn elu, allowed are ReLU and Tanh"),
        ({"net_arch": []}, "got no hidden layer, allowed is one or more"),
    ],
)
def test_agents_that_cannot_be_converted(kwargs: dict[str, Any], message: str, tmp_path: Path) -> None:
    PPO("MlpPolicy", make_control("CartPole-v1"), policy_kwargs=kwargs).save(tmp_path / "agent.zip")
    with pytest.raises(CannotConvert, match=message):
        convert_actor(read_agent(tmp_path / "agent.zip"), torch.zeros(4, 4), ConversionConfig())


def test_gsde_is_refused(tmp_path: Path) -> None:
    SAC("MlpPolicy", make_control("Pendulum-v1"), use_sde=True).save(tmp_path / "agent.zip")
    with pytest.raises(CannotConvert, match="got use_sde: true, allowed is false"):
        convert_actor(read_agent(tmp_path / "agent.zip"), torch.zeros(4, 3), ConversionConfig())
