from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from sb3_contrib import RecurrentPPO
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.envs import FakeImageEnv
from stable_baselines3.common.vec_env import DummyVecEnv
from torch import Tensor, nn

from snn4.policies.acting.features import NetworkFeatures, image_shape
from snn4.policies.acting.mlp import SpikingMLP
from snn4.policies.coding import CodingConfig
from snn4.policies.metering.meter import Meter
from snn4.policies.networks.ann import twin
from snn4.policies.networks.config import NetworkConfig
from snn4.policies.networks.hybrid import Hybrid, HybridConfig
from snn4.policies.networks.perception import make_network
from snn4.policies.neurons import Neuron, NeuronConfig
from snn4.policies.recurrent import SpikingRecurrentPolicy
from snn4.policies.sb3 import PolicyConfig, SpikingActorCriticPolicy, SpikingDQNPolicy

NEURON, EXCITABLE = (NeuronConfig(tau_mem=3e-3, v_threshold=v) for v in (0.3, 0.1))
BOX = spaces.Box(0, 1, (2, 10, 9))
NODES = [
    ["conv", "conv2d", ["input"], {"in_channels": 2, "out_channels": 4, "kernel_size": 3}], ["a", "neuron", ["conv"]],
    ["pool", "avg_pool", ["a"], {"kernel_size": [2, 2]}], ["flat", "flatten", ["pool"]],
    ["readout", "linear", ["flat"], {"in_features": 48, "out_features": 4}],
]  # fmt: skip
KINDS: dict[str, NetworkConfig] = {
    "vgg": NetworkConfig("vgg-small", 3, NEURON, options={"channels": [6], "norm": "none", "head": "flatten"}),
    "resnet": NetworkConfig("resnet-20", 2, NEURON, options={"channels": [4, 6], "blocks": [1, 1]}),
    "front": NetworkConfig("hybrid-small", 3, EXCITABLE, options={"front_channels": [4], "channels": [6]}),
    "head": NetworkConfig("hybrid-ann-head", 3, NEURON, options={"channels": [6], "hidden": [32, 16]}),
    "graph": NetworkConfig("graph", 4, NeuronConfig("signed_if", v_leak=0.5), options={"nodes": NODES}),
    "spikformer": NetworkConfig(
        "spikformer-tiny", 2, NEURON, options={"width": 16, "heads": 2, "channels": [8, 16], "depth": 1}
    ),
}


def features(network: str, **arguments: Any) -> Any:
    torch.manual_seed(0)
    return NetworkFeatures(BOX, KINDS[network], **arguments)


def logits(policy: Any, x: Tensor) -> Tensor:
    return policy.get_distribution(x).distribution.logits  # type: ignore[no-any-return]


def images(*shape: int) -> Tensor:
    return torch.rand(shape or (4, 2, 10, 9), generator=torch.Generator().manual_seed(1))


def seen_by_readout(whole: nn.Module, x: Tensor) -> Tensor:
    """The input of the last linear layer of ``whole`` for images ``x``: (steps * B, n)."""
    inputs_seen: list[Tensor] = []
    readout = [module for module in whole.modules() if isinstance(module, nn.Linear)][-1]
    handle = readout.register_forward_hook(lambda _, inputs, __: inputs_seen.append(inputs[0]))
    whole(x)
    handle.remove()
    return inputs_seen[-1]


@pytest.mark.parametrize("kind", KINDS)
def test_features_are_what_the_readout_would_see(kind: str) -> None:
    spiking = features(kind).eval()
    whole: Any = make_network(KINDS[kind].resolve(2, (10, 9), n_classes=4)).eval()
    assert whole.load_state_dict(spiking.network.state_dict(), strict=False).unexpected_keys == []
    expected = seen_by_readout(whole, images()).view(KINDS[kind].T, 4, -1)
    assert expected.std(0).sum() > 0, "it changes over time"
    torch.testing.assert_close(spiking(images()), expected.mean(0), rtol=1e-4, atol=1e-5)
    assert spiking.features_dim == expected.shape[-1]


@pytest.mark.parametrize("kind", KINDS)
def test_the_twin_sees_without_spikes(kind: str) -> None:
    spiking, ann = features(kind), features(kind, kind="ann").eval()
    assert [p.shape for p in ann.parameters()] == [p.shape for p in spiking.parameters()]
    assert not any(isinstance(module, Neuron) for module in ann.modules())
    whole = twin(KINDS[kind].resolve(2, (10, 9), n_classes=4)).eval()
    assert whole.load_state_dict(ann.network.state_dict(), strict=False).unexpected_keys == []
    torch.testing.assert_close(ann(images()), seen_by_readout(whole, images()), rtol=1e-4, atol=1e-5)
    assert ann.features_dim == spiking.features_dim


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (spaces.Box(-1, 1, (4,)), r"encoder: got observations Box\(-1.0, 1.0, \(4,\), float32\), allowed with an enc"),
        (spaces.Discrete(5), r"encoder: got observations Discrete\(5\), allowed with an encoder are images"),
        (spaces.Box(0, 255, (9, 8, 3), np.uint8), r"encoder: got images \(9, 8, 3\), allowed are \(channels, height"),
        (spaces.Box(0, 1, (9, 8, 3)), r"encoder: got images \(9, 8, 3\), allowed are .* transpose or pad them with"),
        (spaces.Box(0, 1, (12, 4, 10)), r"encoder: got images \(12, 4, 10\), allowed are .* transpose or pad them"),
        (spaces.Box(0, 1, (2, 1, 1)), r"image_size: got \(1, 1\), allowed are sides >= 2"),
    ],
)  # fmt: skip
def test_observations_that_are_no_images(space: spaces.Space[Any], message: str) -> None:
    with pytest.raises(ValueError, match="^" + message):
        NetworkFeatures(space, KINDS["vgg"])


def test_features_of_a_network_whose_scores_start_late() -> None:
    """A converted network with burn-in: the mean of the features of later steps."""
    late = {"nodes": NODES, "burn_in": 3}
    plain, burnt = (NetworkConfig("graph", 5, KINDS["graph"].neuron, options=o) for o in ({"nodes": NODES}, late))
    torch.manual_seed(0)
    whole = make_network(plain.resolve(2, (10, 9), n_classes=4)).eval()
    features = NetworkFeatures(BOX, burnt).eval()
    features.network.load_state_dict(whole.state_dict(), strict=False)
    assert features.features_dim == 48
    torch.testing.assert_close(features(images()), seen_by_readout(whole, images()).view(5, 4, -1)[3:].mean(0))


def test_a_network_without_a_readout() -> None:
    message = r"^encoder: got graph without a linear readout, allowed are networks that end with one$"
    with pytest.raises(ValueError, match=message):
        NetworkFeatures(BOX, NetworkConfig("graph", 5, KINDS["graph"].neuron, options={"nodes": NODES[:-1]}))


def test_codes_are_for_vectors() -> None:
    with pytest.raises(ValueError, match=r"^coding: got kind 'rate', allowed is direct with an encoder"):
        PolicyConfig(encoder=KINDS["vgg"], coding=CodingConfig("rate"))


def test_shape_of_images() -> None:
    assert image_shape(BOX) == (2, (10, 9))
    assert image_shape(spaces.Box(0, 255, (3, 9, 8), np.uint8)) == (3, (9, 8))
    assert image_shape(spaces.Box(0, 1, (10, 5, 5))) == (10, (5, 5))


class Sides(gym.Env[NDArray[Any], Any]):
    """A bright left half pays for action 0, a bright right half for action 1; episodes of 8 steps."""

    observation_space, action_space = BOX, spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[NDArray[Any], dict[str, Any]]:
        super().reset(seed=seed)
        self.steps = 0
        return self.show(), {}

    def step(self, action: Any) -> tuple[NDArray[Any], float, bool, bool, dict[str, Any]]:
        self.steps += 1
        reward = float(action == self.right)
        return self.show(), reward, False, self.steps == 8, {}

    def show(self) -> NDArray[Any]:
        self.right = int(self.np_random.integers(2))
        image = self.np_random.random((2, 10, 9), np.float32) * 0.5
        image[:, :, 5 if self.right else 0 :][:, :, :4] += 0.5
        return image


def sides(kind: str = "front", policy: str = "spiking", **ppo: Any) -> PPO:
    config = PolicyConfig(policy, (12,), 3, neuron=NEURON, encoder=KINDS[kind])  # type: ignore[arg-type]
    policy_class: Any = SpikingActorCriticPolicy if policy == "spiking" else "MlpPolicy"
    arguments = {"n_steps": 32, "batch_size": 64, "n_epochs": 4, "learning_rate": 3e-3, "gamma": 0.5, **ppo}
    env = DummyVecEnv([Sides] * 4)
    return PPO(policy_class, env, policy_kwargs=config.sb3_kwargs("PPO"), seed=0, device="cpu", **arguments)  # type: ignore[arg-type]


def right_answers(model: Any) -> float:
    env = Sides()
    env.reset(seed=99)
    pictures, right = zip(*((env.show(), env.right) for _ in range(64)), strict=True)
    actions, _ = model.predict(np.stack(pictures), deterministic=True)
    return float((actions == np.array(right)).mean())


@pytest.mark.parametrize("policy", [pytest.param("spiking", marks=pytest.mark.slow), "ann"])
def test_a_policy_learns_from_images(policy: str) -> None:
    model: Any = sides("vgg", policy)
    before = {name: x.clone() for name, x in model.policy.features_extractor.state_dict().items()}
    model.learn(1500)
    assert right_answers(model) > 0.9
    after = model.policy.features_extractor.state_dict()
    assert not any(torch.equal(x, before[name]) for name, x in after.items() if name.endswith("weight"))


@pytest.mark.parametrize("kind", ["front", "head", "resnet"])
def test_gradients_of_the_actor_reach_the_first_synapse(kind: str) -> None:
    policy: Any = sides(kind).policy
    logits(policy, images())[:, 0].sum().backward()
    first = next(p for p in policy.features_extractor.parameters())
    assert first.grad.abs().sum() > 0


@pytest.mark.parametrize("kind", ["front", "vgg"])
def test_saved_and_loaded_it_decides_the_same(kind: str, tmp_path: Path) -> None:
    model = sides(kind).learn(200)
    model.save(tmp_path / "model")
    again = PPO.load(tmp_path / "model", device="cpu")
    x = images(40, 2, 10, 9).numpy()
    assert again.policy.features_extractor_kwargs["network"] == KINDS[kind]
    assert torch.equal(logits(again.policy, torch.as_tensor(x)), logits(model.policy, torch.as_tensor(x)))
    np.testing.assert_array_equal(again.predict(x, deterministic=True)[0], model.predict(x, deterministic=True)[0])


def test_acting_event_by_event_behind_an_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    policy: Any = sides("front").policy
    body, batches = policy.mlp_extractor.policy_net, list[int]()
    assert isinstance(body, SpikingMLP)
    engine_for = body.engine_for

    def asked(batch: int) -> Any:
        batches.append(batch)
        return engine_for(batch)

    monkeypatch.setattr(body, "engine_for", asked)
    with torch.no_grad():
        by_events = logits(policy, images())
    assert batches == [4]
    assert engine_for(4) is not None
    torch.testing.assert_close(by_events, logits(policy, images()), rtol=1e-4, atol=1e-5)


def test_initialisation_leaves_learned_weights_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    torch.manual_seed(5)
    learned: Any = Hybrid(HybridConfig(front_channels=(4,), channels=(6,), in_channels=2)).network[0]
    torch.save(learned.layers.state_dict(), tmp_path / "front.pt")
    options = {**KINDS["front"].options, "weights": str(tmp_path / "front.pt"), "frozen": True}
    monkeypatch.setitem(KINDS, "learned", NetworkConfig("hybrid-small", 3, NEURON, options=options))
    model: Any = sides("learned")
    network = model.policy.features_extractor.network.network

    def stays() -> bool:
        state = network[0].layers.state_dict()
        return all(torch.equal(x, state[name]) for name, x in learned.layers.state_dict().items())

    assert stays()
    rest = network[1].weight.detach().clone()
    fresh: Any = sides("front").policy.features_extractor
    for drawn in (rest, fresh.network.network[0].layers[0].weight.detach()):
        rows = drawn.flatten(1)
        torch.testing.assert_close(rows @ rows.t(), 2 * torch.eye(len(rows)))  # SB3 draws orthogonal weights
    model.learn(200)
    assert stays(), "neither learning nor the statistics of norms change frozen layers"
    assert not torch.equal(network[1].weight, rest)


@pytest.mark.parametrize("kind", ["front", "vgg", "head"])
def test_metering_sees_the_encoder(kind: str) -> None:
    policy: Any = sides(kind).policy
    x = images(5, 2, 10, 9).numpy()
    with Meter(policy) as meter:
        policy.predict(x, deterministic=True)
    cost = meter.cost()
    extractor, body = policy.features_extractor.eval(), policy.mlp_extractor.policy_net
    spikes: list[Tensor] = []
    for module in extractor.modules():
        if isinstance(module, Neuron):
            module.register_forward_hook(lambda _, __, output: spikes.append(output[0]))
    with torch.no_grad():
        spikes += body.spikes(extractor(torch.as_tensor(x)))
    assert cost.spikes_per_decision == pytest.approx(sum(float(s.sum()) for s in spikes) / 5)
    assert cost.spike_rates == pytest.approx([float(s.mean()) for s in spikes])
    convolutions = [row for row in cost.layers if row.kind == "Conv2d"]
    assert convolutions[0].effective_macs > 0
    acting = [*extractor.parameters(), *body.parameters(), *policy.action_net.parameters()]
    assert cost.parameters == sum(p.numel() for p in acting)
    if kind == "head":
        assert len(convolutions) == 1
    else:  # a mean over time of averages of spikes reaches the policy: its first synapses could hear the spikes
        assert cost.energy_joules["loihi1"] is not None


def test_colour_images_of_dqn() -> None:
    env = FakeImageEnv(screen_height=36, screen_width=36, n_channels=3, discrete=True)
    arguments = {"features_extractor_class": NetworkFeatures, "features_extractor_kwargs": {"network": KINDS["front"]}}
    policy_kwargs = {"net_arch": [8], **arguments}
    model = DQN(SpikingDQNPolicy, env, policy_kwargs=policy_kwargs, buffer_size=60, learning_starts=10, seed=0)  # type: ignore[arg-type]
    model.learn(24)
    assert image_shape(model.observation_space) == (3, (36, 36))  # type: ignore[arg-type]
    observation = env.observation_space.sample()
    scaled = torch.as_tensor(observation.transpose(2, 0, 1)[None] / 255).float()
    q: Any = model.q_net.eval()
    expected = q.q_net(q.features_extractor(scaled)).argmax(1).item()
    assert model.predict(observation, deterministic=True)[0] == expected


def test_membranes_carried_behind_an_encoder() -> None:
    config = PolicyConfig(net_arch=(8,), T=1, state="carry", neuron=NEURON, encoder=KINDS["vgg"])
    env, kwargs = DummyVecEnv([Sides] * 2), config.sb3_kwargs("PPO")  # type: ignore[list-item]
    model = RecurrentPPO(SpikingRecurrentPolicy, env, n_steps=16, batch_size=16, policy_kwargs=kwargs)
    first = next(model.policy.features_extractor.parameters()).clone()
    model.learn(64)
    assert not torch.equal(next(model.policy.features_extractor.parameters()), first)
    twin_kwargs = PolicyConfig("ann", (8,), 1, "carry", encoder=KINDS["vgg"]).sb3_kwargs("PPO")
    lstm: Any = RecurrentPPO("MlpLstmPolicy", env, n_steps=16, policy_kwargs=twin_kwargs)
    assert lstm.policy.features_extractor.decoder is None
