from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_cases import DEFAULTS, NEURON, OBSERVATIONS, POLICIES, Case, Tiny, body_and_head, predict, widths
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.torch_layers import FlattenExtractor, NatureCNN
from torch import nn

from snn4.policies.acting.mlp import SpikingMLP
from snn4.policies.coding import CodingConfig
from snn4.policies.sb3 import PolicyConfig, SpikingActorCriticPolicy, SpikingDQNPolicy, trunk_names


@pytest.mark.parametrize("critic", ["ann", "spiking"])
def test_critic(critic: str) -> None:
    policy: Any = Case(PPO, "Discrete", policy={"critic": critic}).model().policy
    assert isinstance(policy.mlp_extractor.value_net, SpikingMLP) == (critic == "spiking")
    assert isinstance(policy.mlp_extractor.policy_net, SpikingMLP)
    observations = torch.as_tensor(OBSERVATIONS)
    latent = policy.mlp_extractor.value_net(observations)
    torch.testing.assert_close(policy.predict_values(observations), policy.value_net(latent))


def test_critic_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^critic: got 'none', allowed are spiking, ann"):
        Case(PPO, "Discrete", policy={"critic": "none"}).model()


@pytest.mark.parametrize("critic", ["ann", "spiking"])
def test_net_arch_of_actor_and_critic_apart(critic: str) -> None:
    arch = {"pi": [10], "vf": [12, 14]}
    extractor = Case(PPO, "Discrete", policy={"critic": critic, "net_arch": arch}).model().policy.mlp_extractor
    assert (widths(extractor.policy_net), widths(extractor.value_net)) == ([10], [12, 14])


@pytest.mark.parametrize("algorithm", [SAC, TD3])
def test_net_arch_of_actor_and_critics_apart(algorithm: type[BaseAlgorithm]) -> None:
    arch = {"pi": [10], "qf": [12, 14]}
    policy: Any = Case(algorithm, "Box", policy={"net_arch": arch}).model().policy
    assert widths(body_and_head(policy)[0]) == [10]
    assert widths(policy.critic.q_networks[0]) == [12, 14, 1]


LINEAR = [
    (algorithm, arch)
    for algorithm, actions, part in ((PPO, "Box", "vf"), (DQN, "Discrete", ""), (SAC, "Box", "qf"), (TD3, "Box", "qf"))
    for arch in ([], {"pi": [], part: [64]})
    if part or not arch
]


@pytest.mark.filterwarnings("ignore:net_arch")  # loading the model repeats the warning
@pytest.mark.parametrize(("algorithm", "arch"), LINEAR, ids=str)
def test_without_hidden_layers_the_policy_is_sb3s(algorithm: type[BaseAlgorithm], arch: Any, tmp_path: Path) -> None:
    case = Case(algorithm, "Discrete" if algorithm is DQN else "Box", policy={"net_arch": arch})
    with pytest.warns(UserWarning, match="^net_arch: .* nothing spikes"):
        model = case.model()
    kwargs, env = {"policy_kwargs": {"net_arch": arch}, **DEFAULTS[algorithm]}, model.env
    mlp_policy = algorithm("MlpPolicy", env, seed=0, device="cpu", **kwargs)  # type: ignore[arg-type]
    np.testing.assert_array_equal(predict(model), predict(mlp_policy))
    model.learn(64)
    model.save(tmp_path / "model")
    np.testing.assert_array_equal(predict(algorithm.load(tmp_path / "model")), predict(model))


@pytest.mark.parametrize("images", [False, True])
def test_ppo_says_that_a_cpu_is_faster_where_no_image_is_seen(images: bool) -> None:
    space = spaces.Box(0, 255, (1, 36, 36), np.uint8) if images else spaces.Box(-1, 1, (3,))
    arguments: Any = {"features_extractor_class": NatureCNN} if images else {}
    policy = SpikingActorCriticPolicy(space, spaces.Discrete(2), lambda _: 0.0, **arguments)
    with warnings.catch_warnings(record=True) as messages:
        policy.to("cpu")
        policy.to("meta")
    assert len(messages) == (not images)
    assert all("faster on cpu" in str(warning.message) for warning in messages)


def population_encoder(observation_space: spaces.Space[Any]) -> Any:
    policy: Any = PPO(
        SpikingActorCriticPolicy, Tiny(spaces.Discrete(2), observation_space), policy_kwargs={"coding": "population"}
    ).policy
    return policy.mlp_extractor.policy_net.encoder


@pytest.mark.parametrize(
    ("space", "low", "high"),
    [
        (spaces.Box(np.array([[0, -5], [-np.inf, 2]], np.float32), np.array([[1, 5], [np.inf, 3]], np.float32)),
         [0, -5, -3, 2], [1, 5, 3, 3]),
        (spaces.Discrete(3), [0] * 3, [1] * 3),
        (spaces.MultiDiscrete([2, 3]), [0] * 5, [1] * 5),
        (spaces.MultiBinary(2), [0] * 2, [1] * 2),
        (spaces.Box(0, 255, (36, 36, 1), np.uint8), [0] * 1296, [1] * 1296),
        (spaces.Box(0, 10, (2,), np.int64), [0] * 2, [10] * 2),
        (spaces.Box(np.array([10, -np.inf, 0, 3e7], np.float32), np.array([np.inf, 2, 2e6, 1e10], np.float32)),
         [10, -4, 0, 3e7], [16, 2, 2e6, 3e7 + 6]),
        (spaces.Box(np.array([3e8, -1e10], np.float32), np.array([np.inf, 1e10], np.float32)), [-3, -3], [3, 3]),
    ],
    ids=str,
)  # fmt: skip
def test_population_code_covers_what_the_network_sees(
    space: spaces.Space[Any], low: list[float], high: list[float]
) -> None:
    encoder = population_encoder(space)
    assert encoder.centres.amin(1).tolist() == low
    assert encoder.centres.amax(1).tolist() == high


class Large(FlattenExtractor):
    """The flattened observation, a hundred times as large."""

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        return 100 * super().forward(observations)


@pytest.mark.parametrize("kwargs", [{"bounded": False}, {"features_extractor_class": Large}], ids=str)
@pytest.mark.parametrize("coding", ["population", "latency"])
def test_codes_take_no_bounds_that_observations_do_not_keep(coding: Any, kwargs: dict[str, Any]) -> None:
    space = spaces.Box(0, 1000, (3,), np.float32)
    policy = SpikingActorCriticPolicy(space, spaces.Discrete(2), lambda _: 0.0, coding=coding, **kwargs)
    free = SpikingActorCriticPolicy(
        spaces.Box(-np.inf, np.inf, (3,), np.float32), spaces.Discrete(2), lambda _: 0.0, coding=coding
    )
    x = torch.randn(50, 3)
    spikes, expected = (p.mlp_extractor.policy_net.encoder(x) for p in (policy, free))
    assert torch.equal(spikes, expected)
    assert (
        len(spikes.transpose(0, 1).flatten(1).unique(dim=0)) > 10
    )  # with bounds from 0 to 1000 they would hardly differ
    assert policy._get_constructor_parameters()["bounded"] is kwargs.get("bounded", True)


@pytest.mark.parametrize("algorithm", [PPO, DQN])
def test_layers_behind_a_convolutional_extractor(algorithm: Any) -> None:
    """There SB3 has no hidden layers by default, and nothing would spike."""
    policy_class = {PPO: SpikingActorCriticPolicy, DQN: SpikingDQNPolicy}[algorithm]
    space = spaces.Box(0, 255, (1, 36, 36), np.uint8)
    policy = policy_class(space, spaces.Discrete(2), lambda _: 0.0, features_extractor_class=NatureCNN)
    body = policy.acting_layers().body
    assert [layer.out_features for layer in body.layers if isinstance(layer, nn.Linear)] == [64, 64]


def test_policy_config_builds_the_policy_that_it_describes() -> None:
    cheap: dict[str, Any] = {"spike_cost": 0.1, "sparsity": 0.5}
    code = CodingConfig("population", 4)
    config = PolicyConfig(net_arch=(9, 7), T=3, neuron=NEURON, coding=code, critic="spiking", **cheap)
    for case in (Case(PPO, "Discrete"), Case(DQN, "Discrete"), Case(SAC, "Box"), Case(TD3, "Box")):
        kwargs = config.sb3_kwargs(case.algorithm.__name__)
        policy = Case(case.algorithm, case.actions, policy=kwargs).model().policy
        body, _ = body_and_head(policy)
        assert (widths(body), body.T, body.encoder.n_outputs) == ([9, 7], 3, 12)
        assert {layer.config for layer in body.layers[1::2]} == {NEURON}
        assert (body.spike_cost, [layer.sparsity for layer in body.layers[::2]]) == (0.1, [0.5, 0.5])
    twin = PolicyConfig(kind="ann", net_arch=(9, 7)).sb3_kwargs("PPO")
    assert widths(PPO("MlpPolicy", "CartPole-v1", policy_kwargs=twin).policy.mlp_extractor.policy_net) == [9, 7]


@pytest.mark.parametrize(("algorithm", "usual"), [(PPO, nn.Tanh), (A2C, nn.Tanh), (DQN, nn.ReLU), (SAC, nn.ReLU)])
def test_the_twins_activation_can_be_chosen(algorithm: type[BaseAlgorithm], usual: type[nn.Module]) -> None:
    config, world = PolicyConfig(net_arch=(9, 7)), "Pendulum-v1" if algorithm is SAC else "CartPole-v1"
    small: dict[str, Any] = {"buffer_size": 10} if algorithm in (DQN, SAC) else {}
    for activation, kind in ((None, usual), ("tanh", nn.Tanh), ("relu", nn.ReLU)):
        kwargs = config.ann_twin(activation).sb3_kwargs(algorithm.__name__)
        policy: Any = algorithm("MlpPolicy", world, policy_kwargs=kwargs, device="cpu", **small).policy
        kinds = {type(layer) for layer in policy.modules() if isinstance(layer, (nn.Tanh, nn.ReLU))}
        assert kinds == {kind}
    assert config.sb3_kwargs("PPO") == PolicyConfig(net_arch=(9, 7), ann_activation="relu").sb3_kwargs("PPO")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ann_activation": "gelu"}, "^ann_activation: got 'gelu', allowed are tanh, relu"),
        ({"ann_activation": "relu", "state": "carry", "T": 1}, "^ann_activation: not allowed with state: carry"),
        ({"T": 0}, "^T: got 0, allowed is a whole number >= 1"),
        ({"T": 2.5}, "^T: got 2.5, allowed is a whole number >= 1"),
        ({"net_arch": ()}, r"^net_arch: got \[\], allowed"),
        ({"sparsity": 1.0}, "^sparsity: got 1.0, allowed is a number from 0 to 0.95"),
        ({"spike_cost": -1}, "^spike_cost: got -1, allowed is a finite number >= 0"),
        ({"net_arch": (4, 0)}, r"^net_arch: got \[4, 0\], allowed"),
    ],
)
def test_policy_config_errors(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PolicyConfig(**arguments)


TRUNKS = [
    (algorithm, kind, use_sde)
    for algorithm in (PPO, DQN, SAC, TD3)
    for kind in ("spiking", "ann")
    for use_sde in ([False, True] if algorithm in (PPO, SAC) else [False])
]


@pytest.mark.parametrize(("algorithm", "kind", "use_sde"), TRUNKS)
def test_trunk_is_what_two_environments_share(algorithm: type[BaseAlgorithm], kind: str, use_sde: bool) -> None:
    policy_class = POLICIES[algorithm] if kind == "spiking" else "MlpPolicy"
    arguments: dict[str, Any] = {"use_sde": True} if use_sde else {}
    continuous = algorithm in (SAC, TD3) or use_sde
    names = ["Pendulum-v1", "MountainCarContinuous-v0"] if continuous else ["CartPole-v1", "Acrobot-v1"]
    kwargs: dict[str, Any] = {"net_arch": [12, 10, 8]}
    if algorithm in (SAC, TD3):
        arguments["buffer_size"] = 10
    policies = [algorithm(policy_class, name, policy_kwargs=kwargs, device="cpu", **arguments).policy for name in names]
    trunks = [trunk_names(policy) for policy in policies]
    roles = ["actor", "critic"] if algorithm is PPO else ["actor"]
    assert set(trunks[0]) == {f"{role}.{i}.{part}" for role in roles for i in (0, 1) for part in ("weight", "bias")}
    assert trunks[0] == trunks[1]
    states = [policy.state_dict() for policy in policies]
    for role in roles:
        assert states[0][trunks[0][f"{role}.0.weight"]].shape == (10, 12), "the synapses after the first layer"
        assert states[0][trunks[0][f"{role}.1.weight"]].shape == (8, 10)
    policies[1].load_state_dict({**states[1], **{name: states[0][name] for name in trunks[0].values()}})
    for name in trunks[0].values():
        assert torch.equal(policies[1].state_dict()[name], states[0][name])
