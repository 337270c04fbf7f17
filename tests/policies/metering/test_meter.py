from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from costs import count, metered, pruned
from sb3_contrib import RecurrentPPO
from stable_baselines3 import DQN, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.envs import FakeImageEnv
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from snn4.policies.acting.mlp import SpikingMLP
from snn4.policies.metering.cost import Cost, LayerCost
from snn4.policies.metering.meter import Meter, acting_network
from snn4.policies.network import SpikingSequential
from snn4.policies.networks.ann import twin
from snn4.policies.networks.convnet import ConvNetConfig
from snn4.policies.neurons import Neuron, NeuronConfig
from snn4.policies.recurrent import SpikingRecurrentPolicy
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
        kwargs["activation_fn"] = nn.ReLU  # the zeros between the layers cost nothing
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
    assert (cost.neuron_macs, cost.neuron_acs) == (0, 20 + 12), "a comparison for each relu"
    assert cost.energy_joules["45nm_fp32"] == pytest.approx(cost.effective_macs * 4.6e-12 + (20 + 12) * 0.9e-12)
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
    assert cost.neuron_updates == 5 * (20 + 12)
    heard = len(x) * 5 * 20 + int(first.any(2).sum()) * 12  # the first layer's current never ends
    assert cost.active_neuron_updates == pytest.approx((heard + count(last[~first.any(2)])) / len(x))
    assert cost.neuron_macs == cost.neuron_updates
    assert cost.neuron_acs == pytest.approx(cost.neuron_updates + cost.spikes_per_decision)
    for model, mac, ac in (("45nm_fp32", 4.6e-12, 0.9e-12), ("45nm_int8", 0.23e-12, 0.03e-12)):
        joules = (cost.effective_macs + cost.neuron_macs) * mac + (cost.effective_acs + cost.neuron_acs) * ac
        assert cost.energy_joules[model] == pytest.approx(joules)
    inactive = cost.neuron_updates - cost.active_neuron_updates
    loihi = cost.effective_acs * 23.6e-12 + cost.active_neuron_updates * 81e-12 + inactive * 52e-12
    assert cost.energy_joules["loihi1"] == pytest.approx(loihi + cost.effective_macs * 4.6e-12)


def test_operations_of_a_population_code() -> None:
    policy = make("PPO", spiking=True, T=5, coding="population")
    x = observations(policy)
    body = spiking_body(policy)
    code = body.encoder(torch.as_tensor(x)).detach().double()
    first, last = (train.detach().double() for train in body.spikes(torch.as_tensor(x)))
    assert code.shape[2] == 40
    cost = measure(policy, x)
    assert cost.neuron_macs == 5 * (20 + 12), "the fields' neurons do not leak"
    assert cost.neuron_acs == pytest.approx(5 * (2 * 40 + 20 + 12) + cost.spikes_per_decision)
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


def test_without_decisions_there_is_no_cost() -> None:
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


def layers_of(cost: Cost, kind: str) -> list[LayerCost]:
    return [layer for layer in cost.layers if layer.kind == kind]


def recurrent(policy: str | type, environment: str = "Pendulum-v1", **kwargs: Any) -> Any:
    return RecurrentPPO(policy, environment, policy_kwargs=kwargs, seed=0, device="cpu").policy  # type: ignore[arg-type]


def act(policy: Any, steps: list[np.ndarray[Any, Any]]) -> Cost:
    state, starts = None, np.ones(len(steps[0]), bool)
    with Meter(policy) as meter:
        for x in steps:
            _, state = policy.predict(x, state, starts, deterministic=True)
            starts[:] = False
    return meter.cost()


def test_operations_of_membranes_that_live_on() -> None:
    policy = recurrent(SpikingRecurrentPolicy, net_arch=[20, 12])
    steps = [observations(policy) * scale for scale in (1, 2, 1, 0)]
    memory, n = policy.lstm_actor, len(steps) * len(steps[0])
    packed = torch.zeros(memory.num_layers, len(steps[0]), memory.hidden_size)
    macs = acs = 0
    spikes = []
    for x in steps:
        (dendrite,), (first, neurons, second, more, _) = memory.dendrites, memory.layers
        values = torch.as_tensor(x)[None]
        before, (_, (packed, _)) = memory.unpack(packed), memory(values, (packed, packed))
        inputs = torch.cat([values, memory.gain * (values - dendrite(values, before[0])[0])], -1)
        a, _ = neurons(first(inputs), before[1])
        b, _ = more(second(a), before[2])
        macs += count(inputs) * 20
        acs += count(a) * 12 + count(b)  # and one action
        spikes.append((count(a), count(b)))
    cost = act(policy, steps)
    assert macs > 0 < min(np.sum(spikes, 0))
    assert (cost.effective_macs, cost.effective_acs) == pytest.approx((macs / n, acs / n))
    assert cost.spike_rates == pytest.approx(
        [sum(s) / n / size for s, size in zip(np.transpose(spikes), (20, 12), strict=True)]
    )
    assert cost.neuron_updates == 3 + 20 + 12 + 12
    assert cost.dense_macs == 6 * 20 + 20 * 12 + 12
    assert cost.parameters == 6 * 20 + 20 + 20 * 12 + 12 + 12 + 1
    assert cost.energy_joules["loihi1"] is not None


def test_operations_of_an_lstm() -> None:
    policy = recurrent("MlpLstmPolicy", lstm_hidden_size=16, net_arch=[])
    x = observations(policy)
    steps = [x, x, x]
    cost = act(policy, steps)
    (lstm,) = layers_of(cost, "LSTM")
    assert lstm.dense_macs == 4 * (3 + 16) * 16
    assert lstm.effective_macs == pytest.approx(
        4 * (count(torch.as_tensor(x)) / len(x) + 16 * 2 / 3) * 16
    )  # first h: 0
    assert cost.effective_macs == lstm.effective_macs + 16
    assert cost.parameters == 4 * (3 + 16 + 2) * 16 + 16 + 1
    assert (cost.neuron_updates, cost.energy_joules["loihi1"]) == (0, None)
    assert (cost.neuron_macs, cost.neuron_acs) == (3 * 16, 0), "f * c, i * g and o * tanh(c)"


def test_convolutions_before_a_policy_act_too() -> None:
    env = FakeImageEnv(screen_height=36, screen_width=36, n_channels=1)
    policy = PPO("CnnPolicy", env, device="cpu").policy
    cost = measure(policy, np.stack([env.observation_space.sample() for _ in range(2)]))
    acting = [*policy.features_extractor.parameters(), *policy.action_net.parameters()]
    assert cost.parameters == sum(p.numel() for p in acting)
    assert layers_of(cost, "Conv2d")[0].dense_macs == 8 * 8 * 32 * 8 * 8


@pytest.mark.parametrize("coding", ["direct", "population", "latency"])
def test_layers_add_up(coding: Any) -> None:
    policy = make("PPO", spiking=True, T=5, coding=coding)
    cost = measure(policy, observations(policy))
    for name in (
        "dense_macs",
        "effective_macs",
        "effective_acs",
        "neuron_updates",
        "active_neuron_updates",
        "neuron_macs",
        "neuron_acs",
        "memory_bytes",
        "parameters",
        "bytes",
    ):
        assert sum(getattr(layer, name) for layer in cost.layers) == pytest.approx(getattr(cost, name)), name
    assert [layer.spike_rate for layer in cost.layers if layer.spike_rate is not None] == cost.spike_rates
    assert sum(layer.spikes for layer in cost.layers) == cost.spikes_per_decision
    assert cost.effective_acs + cost.effective_macs < cost.dense_macs
    assert len(cost.spike_rates) == (2 if coding == "direct" else 3)


class Stepwise(nn.Module):
    """The layers of a `SpikingSequential`, one step per call, as NeuroBench's wrapper for snnTorch does."""

    def __init__(self, network: SpikingSequential) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Spikes(x) if isinstance(x, Neuron) else x for x in network)

    def reset(self) -> None:
        for layer in self.layers:
            if isinstance(layer, Spikes):
                layer.state = None

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        for layer in self.layers:
            x = layer(x)
        return x, None


class Spikes(nn.Module):
    """A `Neuron` that keeps its state: ``(B, …) -> spikes (B, …)``."""

    state: Any = None

    def __init__(self, neuron: Neuron) -> None:
        super().__init__()
        self.neuron = neuron

    def forward(self, current: Tensor) -> Tensor:
        spikes, self.state = self.neuron(current[None], self.state)
        return spikes[0]


def neurobench(model: Any, x: Tensor) -> dict[str, float]:
    """NeuroBench's results for data (B, …), from a run of its own benchmark."""
    metrics = pytest.importorskip("neurobench.metrics.workload")
    static = pytest.importorskip("neurobench.metrics.static")
    run = pytest.importorskip("neurobench.benchmarks").Benchmark(
        model, DataLoader(TensorDataset(x, torch.zeros(len(x))), batch_size=3), [], [],
        [[static.ParameterCount, static.Footprint, static.ConnectionSparsity],
         [metrics.SynapticOperations, metrics.ActivationSparsity]],
    )  # fmt: skip
    results = run.run(quiet=True)
    return {**results.pop("SynapticOperations"), **results}


def in_neurobench_terms(cost: Cost) -> dict[str, Any]:
    return {
        "Effective_MACs": pytest.approx(cost.effective_macs),
        "Effective_ACs": pytest.approx(cost.effective_acs),
        "Dense": pytest.approx(cost.dense_macs),
        "ActivationSparsity": pytest.approx(cost.activation_sparsity),
        "ConnectionSparsity": pytest.approx(cost.connection_sparsity, abs=5e-5),  # NeuroBench rounds it
        "Footprint": cost.footprint_bytes,
        "ParameterCount": cost.parameters,
    }


@pytest.mark.parametrize("values", ["spikes", "real"])
@pytest.mark.parametrize("kind", ["dense", "convolutional"])
def test_neurobench_agrees_on_spiking_networks(kind: str, values: str) -> None:
    models = pytest.importorskip("neurobench.models")
    torch.manual_seed(0)
    neuron = NeuronConfig(v_threshold=0.5)
    dense = [nn.Linear(6, 12), Neuron(neuron), nn.Linear(12, 8, bias=False), Neuron(neuron), nn.Linear(8, 3)]
    convolutional = [
        nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), Neuron(neuron), nn.AvgPool2d(2),
        nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2), Neuron(neuron), nn.Flatten(), nn.Linear(6 * 4, 3),
    ]  # fmt: skip
    network = pruned(SpikingSequential(*(dense if kind == "dense" else convolutional)))
    x = torch.rand(6, 5, *((6,) if kind == "dense" else (2, 8, 8)))  # NeuroBench's data are (B, T, …)
    x = (x < 0.3).float() if values == "spikes" else x * (x < 0.3)
    model = models.SNNTorchModel(Stepwise(network))
    model.add_activation_module(Spikes)
    cost = metered(network, x.transpose(0, 1))
    assert min(cost.spike_rates) > 0
    assert neurobench(model, x) == in_neurobench_terms(cost)


@pytest.mark.parametrize("kind", ["policy", "convolutional"])
def test_neurobench_agrees_on_anns(kind: str) -> None:
    models = pytest.importorskip("neurobench.models")
    torch.manual_seed(0)
    if kind == "policy":
        policy = pruned(make("PPO", spiking=False))
        network, x = (
            nn.Sequential(policy.mlp_extractor.policy_net, policy.action_net),
            torch.as_tensor(observations(policy)),
        )
        cost = measure(policy, x.numpy())
    else:
        network, x = pruned(twin(ConvNetConfig("resnet", (4, 8), in_channels=2))), torch.randn(6, 2, 8, 8)
        cost = metered(network, x)
    assert cost.activation_sparsity > 0 < cost.connection_sparsity
    assert neurobench(models.TorchModel(network), x) == in_neurobench_terms(cost)


def test_neurobench_charges_decoded_values_and_so_counts_less_work() -> None:
    """The documented difference: a head sees T steps of spikes on a chip, and decoded values in torch."""
    models = pytest.importorskip("neurobench.models")
    torch.manual_seed(0)
    network = nn.Sequential(pruned(SpikingMLP(4, [16], T=5), 0.0), nn.Linear(16, 2))
    x = torch.rand(6, 4)
    spikes = network[0].spikes(x)[0]
    cost, results = metered(network, x), neurobench(models.TorchModel(network), x)
    assert cost.effective_macs == 4 * 16, "a constant code's currents are computed once"
    assert cost.effective_acs == count(spikes) * 2 / 6
    assert results["Effective_ACs"] == 0
    assert results["Effective_MACs"] == pytest.approx(4 * 16 + count(spikes.any(0)) * 2 / 6)
