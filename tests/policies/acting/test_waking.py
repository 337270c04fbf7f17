from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import Env, spaces
from sb3_contrib import RecurrentPPO
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from stable_baselines3.common.torch_layers import NatureCNN
from torch import Tensor

from snn4.policies.acting.mlp import SpikingMLP
from snn4.policies.acting.waking import ENOUGH, FACTOR, RATE, SilentLayers, watch_over, watched
from snn4.policies.coding import CodingConfig
from snn4.policies.neurons import NeuronConfig
from snn4.policies.recurrent import SpikingRecurrentPolicy
from snn4.policies.sb3 import SpikingActorCriticPolicy, SpikingDQNPolicy, SpikingSACPolicy, SpikingTD3Policy

IMAGES, ONE_OF_500 = spaces.Box(0, 255, (1, 36, 36), np.uint8), spaces.Discrete(500)
VECTORS = spaces.Box(-3, 3, (4,), np.float32)
SEES = {"features_extractor_class": NatureCNN, "features_extractor_kwargs": {"features_dim": 32}, "net_arch": [64, 64]}
REPLAY = {"buffer_size": 200, "learning_starts": 8, "batch_size": 32, "train_freq": 4}
ROLLOUT = {"n_steps": 64, "batch_size": 64, "n_epochs": 1}
ALGORITHMS: dict[Any, tuple[Any, spaces.Space[Any], dict[str, Any]]] = {
    PPO: (SpikingActorCriticPolicy, spaces.Discrete(3), ROLLOUT),
    A2C: (SpikingActorCriticPolicy, spaces.Discrete(3), {"n_steps": 8}),
    RecurrentPPO: (SpikingRecurrentPolicy, spaces.Discrete(3), ROLLOUT),
    DQN: (SpikingDQNPolicy, spaces.Discrete(3), REPLAY | {"target_update_interval": 10_000}),
    SAC: (SpikingSACPolicy, spaces.Box(-1, 1, (2,), np.float32), REPLAY | {"tau": 0.0}),
    TD3: (SpikingTD3Policy, spaces.Box(-1, 1, (2,), np.float32), REPLAY | {"policy_delay": 1, "tau": 0.0}),
}
SILENT: list[Any] = [
    (DQN, IMAGES, SEES), (SAC, IMAGES, SEES), (TD3, IMAGES, SEES), (PPO, ONE_OF_500, {}), (A2C, ONE_OF_500, {}),
    (PPO, ONE_OF_500, {"critic": "spiking"}), (RecurrentPPO, ONE_OF_500, {}),
]  # fmt: skip


class Random(Env[Any, Any]):
    """Random observations of a space, in episodes of 30 steps."""

    def __init__(self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any]) -> None:
        self.observation_space, self.action_space = observation_space, action_space

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
        self.steps = 0
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> Any:
        self.steps += 1
        return self.observation_space.sample(), float(self.steps % 2), False, self.steps == 30, {}


def make(algorithm: Any, observations: spaces.Space[Any], policy: dict[str, Any], seed: int = 0) -> Any:
    """A model whose optimizer changes nothing: only waking changes its weights."""
    policy_class, actions, arguments = ALGORITHMS[algorithm]
    return algorithm(
        policy_class, Random(copy.deepcopy(observations), actions), learning_rate=0.0, seed=seed, device="cpu",
        policy_kwargs={**policy}, **arguments,
    )  # fmt: skip


def weights(policy: Any) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in policy.state_dict().items()}


def changed(policy: Any, before: dict[str, Tensor]) -> set[str]:
    return {name for name, value in policy.state_dict().items() if not torch.equal(value, before[name])}


def samples(space: spaces.Space[Any], n: int) -> Any:
    return np.stack([space.sample() for _ in range(n)])


@pytest.mark.parametrize(("algorithm", "observations", "policy"), SILENT)
def test_layers_that_are_born_silent_are_woken_by_a_gain(
    algorithm: Any, observations: spaces.Space[Any], policy: dict[str, Any]
) -> None:
    model = make(algorithm, observations, policy)
    before = weights(model.policy)
    for _ in range(2):
        model.predict(samples(observations, 64), deterministic=True)
    assert not changed(model.policy, before), "acting wakes nobody"
    with pytest.warns(SilentLayers, match=r"^\w+: layer 1 did not spike .* were multiplied by \d"):
        model.learn(64)
    after, woken = model.policy.state_dict(), changed(model.policy, before)
    names = [name for name, _ in watched(model.policy)]
    assert {f"{name}.layers.0.weight" for name in names} <= woken
    for layer in {name.rpartition(".")[0] for name in woken}:
        gain = after[f"{layer}.weight"].norm() / before[f"{layer}.weight"].norm()
        assert gain > 1
        for part in ("weight", "bias"):
            own = after[f"{layer}.{part}"]
            torch.testing.assert_close(own, gain * before[f"{layer}.{part}"])
            torch.testing.assert_close(after[f"{layer}.{part}".replace("_target", "")], own)
    assert not any(waking.asleep for _, waking in watched(model.policy))


def test_every_synapse_of_a_woken_policy_has_a_gradient_and_the_image_matters() -> None:
    policy: Any = make(DQN, IMAGES, SEES).policy
    x = torch.as_tensor(samples(IMAGES, ENOUGH))
    with pytest.warns(SilentLayers):
        values = policy.q_net(x)
    values.sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in policy.q_net.parameters())
    assert len(values.unique(dim=0)) > 1


@pytest.mark.parametrize("algorithm", [PPO, RecurrentPPO, DQN, SAC, TD3])
def test_a_policy_that_is_born_spiking_keeps_its_weights(algorithm: Any) -> None:
    model = make(algorithm, VECTORS, {})
    before = weights(model.policy)
    with warnings.catch_warnings():
        warnings.simplefilter("error", SilentLayers)
        model.learn(64)
    assert not changed(model.policy, before)
    assert not any(waking.asleep for _, waking in watched(model.policy))


def test_loaded_weights_are_left_alone_unless_they_are_its_own() -> None:
    """A life loads its memory, which may be empty or hold only the trunk, into each new policy."""
    model, donor = make(PPO, ONE_OF_500, {}), make(PPO, ONE_OF_500, {}, seed=1)
    own, foreign = (weights(m.policy) for m in (model, donor))
    trunk = {name: value for name, value in foreign.items() if ".layers.2." in name}
    asleep = []
    for state in (own, own | trunk, foreign):
        model.policy.load_state_dict(state)
        asleep.append([set(waking.asleep) for _, waking in watched(model.policy)])
    assert asleep == [[{0, 1}], [{0}], [set()]]
    model.learn(64)
    assert not changed(model.policy, foreign)


def test_a_copy_is_woken_apart() -> None:
    policy: Any = make(DQN, ONE_OF_500, {}).policy
    copied, before = copy.deepcopy(policy), weights(policy)
    with pytest.warns(SilentLayers):
        copied.q_net(torch.arange(ENOUGH))
    copied.set_training_mode(True)  # the next update begins
    assert changed(copied, before) >= {"q_net.q_net.0.layers.0.weight", "q_net_target.q_net.0.layers.0.weight"}
    assert not changed(policy, before)
    policy.load_state_dict(copied.state_dict())
    assert not changed(policy, weights(copied))


def newborn(**arguments: Any) -> tuple[SpikingMLP, Any]:
    torch.manual_seed(0)
    body: Any = SpikingMLP(6, [40, 30], **arguments)
    watch_over(body, "actor")
    return body, body.waking


KINDS = [{"kind": kind} for kind in ("lif", "cuba", "alif", "multi", "plif")] + [{"reset": "hard", "r": 1.0}]


@pytest.mark.parametrize("neuron", KINDS, ids=str)
@pytest.mark.parametrize("T", [1, 4])
def test_the_gain_is_the_least_that_brings_the_rate(T: int, neuron: dict[str, Any]) -> None:
    body, _ = newborn(T=T, neuron=NeuronConfig(v_threshold=20.0, **neuron))
    x = torch.randn(ENOUGH, 6)
    with pytest.warns(SilentLayers):
        body(x)
    rates = [train.mean().item() for train in body.spikes(x)]
    assert min(rates) > 0.9 * RATE
    with torch.no_grad():
        for parameter in body.layers[0].parameters():
            parameter.div_(FACTOR**2)
    assert body.spikes(x)[0].mean() < RATE


def test_silence_is_judged_after_enough_observations() -> None:
    body, waking = newborn(neuron=NeuronConfig(v_threshold=20.0))
    before, quarter = weights(body), torch.randn(ENOUGH // 4, 6)
    for _ in range(3):
        body(quarter)
        assert not changed(body, before)
    with pytest.warns(SilentLayers, match=f"first {ENOUGH} observations"):
        body(quarter)
    assert changed(body, before)
    assert not waking.asleep


def test_a_layer_that_no_gain_wakes_is_reported_and_left() -> None:
    body, waking = newborn()
    with torch.no_grad():
        body.layers[0].bias.zero_()
    before = weights(body)
    with pytest.warns(SilentLayers, match="layer 1 did not spike .* no gain on its weights makes it spike"):
        body(torch.zeros(ENOUGH, 6))
    assert not changed(body, before)
    assert not waking.asleep


def test_watching_draws_no_random_numbers() -> None:
    arguments: dict[str, Any] = {"coding": CodingConfig("rate"), "bounds": (np.zeros(6), np.ones(6))}
    watched_body, waking = newborn(**arguments)
    plain = SpikingMLP(6, [40, 30], **arguments)
    plain.load_state_dict(watched_body.state_dict())
    x, outputs = torch.rand(ENOUGH, 6), []
    for body in (watched_body, plain):
        torch.manual_seed(1)
        outputs.append((body(x), torch.rand(3)))
    torch.testing.assert_close(outputs[0], outputs[1])
    assert not waking.asleep


def test_a_recording_does_not_hold_the_waking() -> None:
    body, waking = newborn(neuron=NeuronConfig(v_threshold=20.0))
    before, x = weights(body), torch.randn(ENOUGH, 6)
    torch.export.export(body, (x,))
    assert not changed(body, before)
    assert waking.asleep == {0, 1}
