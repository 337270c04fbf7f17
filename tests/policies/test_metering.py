from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3 import DQN, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from torch import Tensor, nn

from snn4.policies.metering import ENERGY_MODELS, Cost, EnergyModel, Meter, acting_network
from snn4.policies.mlp import SpikingMLP
from snn4.policies.sb3 import SpikingActorCriticPolicy, SpikingDQNPolicy, SpikingSACPolicy, SpikingTD3Policy

SPIKING = {
    "PPO": (PPO, SpikingActorCriticPolicy, "CartPole-v1"),
    "PPO continuous": (PPO, SpikingActorCriticPolicy, "Pendulum-v1"),
    "DQN": (DQN, SpikingDQNPolicy, "CartPole-v1"),
    "SAC": (SAC, SpikingSACPolicy, "Pendulum-v1"),
    "TD3": (TD3, SpikingTD3Policy, "Pendulum-v1"),
}


def make(name: str, spiking: bool, **kwargs: Any) -> Any:
    algorithm: type[BaseAlgorithm]
    algorithm, policy, environment = SPIKING[name]
    arguments = {} if algorithm is PPO else {"buffer_size": 10}
    kwargs["net_arch"] = [20, 12]
    if not spiking:
        kwargs["activation_fn"] = nn.ReLU  # with zeros between the layers, which cost nothing
    return algorithm(
        policy if spiking else "MlpPolicy", environment, policy_kwargs=kwargs, seed=0, device="cpu", **arguments
    ).policy


def observations(policy: Any, number: int = 6) -> np.ndarray[Any, Any]:
    policy.observation_space.seed(0)
    x = np.stack([policy.observation_space.sample() for _ in range(number)]).clip(-2, 2)
    x[::2, 0] = 0
    return x


def measure(policy: Any, x: np.ndarray[Any, Any]) -> Cost:
    with Meter(policy) as meter:
        policy.predict(x, deterministic=True)
    return meter.cost()


def n_actions(policy: Any) -> int:
    space = policy.action_space
    return int(space.n) if hasattr(space, "n") else int(np.prod(space.shape))


def spiking_body(policy: Any) -> SpikingMLP:
    return next(m for n, m in policy.named_modules() if isinstance(m, SpikingMLP) and "target" not in n)


@pytest.mark.parametrize("name", SPIKING)
def test_operations_of_an_ann(name: str) -> None:
    """NeuroBench: every non-zero input of a synapse costs one multiply-accumulate."""
    policy = make(name, spiking=False)
    recorded: list[tuple[Tensor, int]] = []
    linears = [m for m in acting_network(policy) if isinstance(m, nn.Linear)]
    handles = [
        m.register_forward_hook(lambda m, inputs, _: recorded.append((inputs[0].clone(), m.out_features)))
        for m in linears
    ]
    x = observations(policy)
    policy.predict(x, deterministic=True)
    for handle in handles:
        handle.remove()
    assert [inputs.shape[1] for inputs, _ in recorded] == [x.shape[1], 20, 12], "critics and targets do not act"
    expected = sum(int((inputs != 0).sum()) * out for inputs, out in recorded) / len(x)
    cost = measure(policy, x)
    assert cost.effective_macs == pytest.approx(expected)
    assert expected < 20 * x.shape[1] + 20 * 12 + 12 * n_actions(policy), "zeros must be free"
    assert (cost.effective_acs, cost.spikes_per_decision, cost.spike_rates) == (0, 0, [])
    assert cost.energy_joules["loihi1"] is None


@pytest.mark.parametrize("name", SPIKING)
def test_operations_of_a_spiking_network(name: str) -> None:
    policy = make(name, spiking=True, T=5)
    x = observations(policy)
    first, last = (train.detach().double() for train in spiking_body(policy).spikes(torch.as_tensor(x)))
    assert first.sum() > 0
    assert last.sum() > 0
    cost = measure(policy, x)
    assert cost.effective_macs == pytest.approx(np.count_nonzero(x) * 20 / len(x))
    assert cost.effective_acs == pytest.approx(float(first.sum() * 12 + last.sum() * n_actions(policy)) / len(x))
    assert cost.spikes_per_decision == pytest.approx(float(first.sum() + last.sum()) / len(x))
    assert cost.spike_rates == pytest.approx([first.mean().item(), last.mean().item()])
    updates = 5 * (20 + 12)
    loihi = (cost.effective_macs + cost.effective_acs) * 23.6e-12 + updates * 81e-12
    assert cost.energy_joules["loihi1"] == pytest.approx(loihi)


def test_operations_of_a_population_code() -> None:
    policy = make("PPO", spiking=True, T=5, coding="population")
    x = observations(policy)
    body = spiking_body(policy)
    code = body.encoder(torch.as_tensor(x)).detach().double()
    first, last = (train.detach().double() for train in body.spikes(torch.as_tensor(x)))
    assert code.shape[2] == 40
    cost = measure(policy, x)
    assert cost.effective_macs == 2 * 40
    assert cost.effective_acs == pytest.approx(float(code.sum() * 20 + first.sum() * 12 + last.sum() * 2) / len(x))
    assert cost.spike_rates == pytest.approx([train.mean().item() for train in (code, first, last)])


@pytest.mark.parametrize("spiking", [False, True], ids=["ann", "spiking"])
@pytest.mark.parametrize("name", SPIKING)
def test_size_counts_the_acting_network_only(name: str, spiking: bool) -> None:
    policy = make(name, spiking)
    x = observations(policy)
    cost = measure(policy, x)
    parameters = 20 * x.shape[1] + 20 + 20 * 12 + 12 + 12 * n_actions(policy) + n_actions(policy)
    assert (cost.parameters, cost.bytes) == (parameters, 4 * parameters)


def test_cost_is_a_mean_over_decisions() -> None:
    policy = make("PPO", spiking=True)
    x = observations(policy)
    together = measure(policy, x)
    with Meter(policy) as meter:
        for row in x:
            policy.predict(row, deterministic=True)
    one_by_one = meter.cost()
    assert one_by_one.effective_acs == pytest.approx(together.effective_acs)
    assert one_by_one.effective_macs == pytest.approx(together.effective_macs)
    assert one_by_one.spike_rates == pytest.approx(together.spike_rates)


def test_energy() -> None:
    assert EnergyModel(4.0, 2.0, 0.5, "").joules(macs=10, acs=100, neuron_updates=1000) == 740
    assert EnergyModel(None, 2.0, 0.5, "").joules(macs=10, acs=100, neuron_updates=1000) == 720
    assert EnergyModel(None, 2.0, 0.5, "").joules(macs=10, acs=0, neuron_updates=0) is None
    assert ENERGY_MODELS["45nm_fp32"].joules(1000, 1000, 5) == pytest.approx(5.5e-9)
    assert ENERGY_MODELS["45nm_int8"].joules(1000, 1000, 5) == pytest.approx(0.26e-9)


def test_no_decision_has_no_cost() -> None:
    with Meter(make("PPO", spiking=True)) as meter:
        pass
    with pytest.raises(ValueError, match=r"^decisions: got 0, allowed is one or more"):
        meter.cost()


def test_counts_only_inside_the_block_and_leaves_no_hook() -> None:
    policy = make("PPO", spiking=True)
    x = observations(policy)
    with pytest.raises(ZeroDivisionError), Meter(policy) as meter:  # noqa: PT012
        policy.predict(x)
        raise ZeroDivisionError
    inside = meter.cost()
    policy.predict(x)
    assert meter.cost() == inside
    assert not any(module._forward_hooks for module in policy.modules())
