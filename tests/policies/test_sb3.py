from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.torch_layers import FlattenExtractor, NatureCNN
from stable_baselines3.common.vec_env import DummyVecEnv
from torch import Tensor, nn

from snn4.policies.acting.mlp import SpikingMLP
from snn4.policies.coding import CodingConfig
from snn4.policies.metering.meter import Meter
from snn4.policies.neurons import NeuronConfig
from snn4.policies.sb3 import (
    PolicyConfig,
    SpikingActorCriticPolicy,
    SpikingDQNPolicy,
    SpikingSACPolicy,
    SpikingTD3Policy,
    trunk_names,
)

POLICIES: dict[type[BaseAlgorithm], type[BasePolicy]] = {
    PPO: SpikingActorCriticPolicy,
    A2C: SpikingActorCriticPolicy,
    DQN: SpikingDQNPolicy,
    SAC: SpikingSACPolicy,
    TD3: SpikingTD3Policy,
}
EXPLORERS = {"n_steps": 16}
REPLAYERS = {"learning_starts": 20, "buffer_size": 200}
DEFAULTS: dict[type[BaseAlgorithm], dict[str, Any]] = {
    PPO: EXPLORERS | {"batch_size": 16, "n_epochs": 2}, A2C: EXPLORERS, DQN: REPLAYERS, SAC: REPLAYERS, TD3: REPLAYERS,
}  # fmt: skip
ACTIONS = {
    "Discrete": spaces.Discrete(5),
    "MultiDiscrete": spaces.MultiDiscrete([4, 3]),
    "MultiBinary": spaces.MultiBinary(3),
    "Box": spaces.Box(np.array([-2, 0], np.float32), np.array([2, 1], np.float32)),
}


class Tiny(gym.Env[np.ndarray, Any]):
    """Any spaces, random observations, episodes of 20 steps."""

    def __init__(self, action_space: spaces.Space[Any], observation_space: spaces.Space[Any] | None = None) -> None:
        self.action_space = action_space
        self.observation_space = observation_space or spaces.Box(-1, 1, (3,))

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
        self.steps = 0
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action), action
        self.steps += 1
        return self.observation_space.sample(), float(np.sum(action)), False, self.steps == 20, {}


@dataclass(frozen=True)
class Case:
    algorithm: type[BaseAlgorithm]
    actions: str
    kwargs: dict[str, Any] = field(default_factory=dict)
    policy: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return "-".join([self.algorithm.__name__, self.actions, *self.kwargs, *self.policy])

    def model(self, n_envs: int = 2) -> BaseAlgorithm:
        env = DummyVecEnv([lambda: Monitor(Tiny(ACTIONS[self.actions]))] * n_envs)
        arguments: dict[str, Any] = {**DEFAULTS[self.algorithm], **self.kwargs}
        policy = {"net_arch": [24, 16], **self.policy}
        return self.algorithm(POLICIES[self.algorithm], env, policy_kwargs=policy, seed=0, device="cpu", **arguments)


NEURON = NeuronConfig(tau_mem=5e-3, v_threshold=0.5, reset="hard")
CASES = [
    *(Case(PPO, actions) for actions in ACTIONS),
    *(Case(A2C, actions) for actions in ACTIONS),
    Case(DQN, "Discrete"),
    Case(SAC, "Box"),
    Case(TD3, "Box"),
    Case(PPO, "Box", {"use_sde": True}),
    Case(SAC, "Box", {"use_sde": True}),
    Case(PPO, "Discrete", policy={"critic": "spiking", "coding": "population"}),
    Case(A2C, "Discrete", policy={"neuron": NEURON, "readout": "membrane", "T": 3}),
    Case(DQN, "Discrete", policy={"neuron": NEURON, "readout": "membrane", "T": 1}),
    Case(SAC, "Box", policy={"neuron": NEURON, "coding": CodingConfig("population", 5), "T": 7}),
    Case(TD3, "Box", policy={"neuron": NEURON, "coding": "population", "T": 3}),
]


@pytest.fixture(scope="module", params=CASES, ids=str)
def trained(request: pytest.FixtureRequest) -> BaseAlgorithm:
    case: Case = request.param
    model = case.model()
    before = {name: value.clone() for name, value in model.policy.state_dict().items()}
    model.learn(128)
    changed = {name for name, value in model.policy.state_dict().items() if not torch.equal(value, before[name])}
    assert any(name.endswith("layers.0.weight") for name in changed), "the first spiking layer must learn"
    return model


OBSERVATIONS = np.random.default_rng(0).uniform(-1, 1, (64, 3)).astype(np.float32)


def body_and_head(policy: Any) -> tuple[SpikingMLP, nn.Module]:
    match policy:
        case SpikingActorCriticPolicy():
            return policy.mlp_extractor.policy_net, policy.action_net
        case SpikingDQNPolicy():
            return policy.q_net.q_net[0], policy.q_net.q_net[1]
        case SpikingSACPolicy():
            return policy.actor.latent_pi, policy.actor.mu
        case _:
            return policy.actor.mu[0], policy.actor.mu[1]


def actions_from_spikes(policy: Any, observations: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    body, head = body_and_head(policy)
    spikes = body.spikes(torch.as_tensor(observations))[-1]
    values: Tensor = head(torch.tensordot(body.decoder.weights, spikes, dims=1)).detach()
    space = policy.action_space
    if isinstance(policy, (SpikingSACPolicy, SpikingTD3Policy)):
        return space.low + (values.tanh().numpy() + 1) / 2 * (space.high - space.low)
    if isinstance(space, spaces.Box):
        return values.numpy().clip(space.low, space.high)
    if isinstance(space, spaces.MultiBinary):
        return (values > 0).numpy()
    if isinstance(space, spaces.MultiDiscrete):
        return np.stack([part.argmax(1) for part in values.split(space.nvec.tolist(), 1)], 1)
    return values.argmax(1).numpy()


def predict(model: BaseAlgorithm | BasePolicy) -> np.ndarray[Any, Any]:
    return model.predict(OBSERVATIONS, deterministic=True)[0]


def test_action_follows_from_the_spikes(trained: BaseAlgorithm) -> None:
    np.testing.assert_allclose(
        predict(trained), actions_from_spikes(trained.policy, OBSERVATIONS), rtol=1e-4, atol=1e-5
    )


def test_silenced_head_takes_the_same_action_everywhere(trained: BaseAlgorithm, tmp_path: Path) -> None:
    trained.policy.save(tmp_path / "policy")
    policy = type(trained.policy).load(tmp_path / "policy")
    weight, bias = body_and_head(policy)[1].parameters()
    torch.manual_seed(0)
    nn.init.normal_(weight)
    nn.init.zeros_(bias)
    assert len(np.unique(predict(policy), axis=0)) > 1
    nn.init.zeros_(weight)
    assert len(np.unique(predict(policy), axis=0)) == 1


def test_acting_network_spikes(trained: BaseAlgorithm) -> None:
    with Meter(trained.policy) as meter:
        predict(trained)
    assert len(meter.spike_rates) >= 2
    assert all(0 < rate < 1 for rate in meter.spike_rates)


def test_save_and_load(trained: BaseAlgorithm, tmp_path: Path) -> None:
    expected = predict(trained)
    trained.save(tmp_path / "model")
    model = type(trained).load(tmp_path / "model")
    np.testing.assert_array_equal(predict(model), expected)
    trained.policy.save(tmp_path / "policy")
    policy = type(trained.policy).load(tmp_path / "policy")
    np.testing.assert_array_equal(predict(policy), expected)
    assert policy.spiking == trained.policy.spiking
    assert str(policy) == str(trained.policy), "layers of both critics and actors"


def test_loaded_model_goes_on_learning(trained: BaseAlgorithm, tmp_path: Path) -> None:
    trained.save(tmp_path / "model")
    assert trained.env is not None
    model = type(trained).load(tmp_path / "model", trained.env)
    model.learn(32, reset_num_timesteps=False)
    assert model.num_timesteps == trained.num_timesteps + 32


def test_predict(trained: BaseAlgorithm) -> None:
    np.testing.assert_array_equal(predict(trained), predict(trained))
    one, _ = trained.predict(OBSERVATIONS[5], deterministic=True)
    np.testing.assert_allclose(one, predict(trained)[5], rtol=1e-4, atol=1e-5)
    for _ in range(5):
        explored, _ = trained.predict(OBSERVATIONS[:2], deterministic=False)
        assert all(trained.action_space.contains(action) for action in explored)


def test_evaluate_policy(trained: BaseAlgorithm) -> None:
    assert trained.env is not None
    trained.env.seed(3)
    mean, std = evaluate_policy(trained, trained.env, 4)
    trained.env.seed(3)
    assert evaluate_policy(trained.policy, trained.env, 4) == (mean, std)
    assert np.isfinite([mean, std]).all()


def test_works_without_any_configuration() -> None:
    model = PPO(SpikingActorCriticPolicy, "CartPole-v1").learn(100)
    assert isinstance(model.policy.mlp_extractor.policy_net, SpikingMLP)


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


def widths(network: nn.Module) -> list[int]:
    return [layer.out_features for layer in network.modules() if isinstance(layer, nn.Linear)]


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


@pytest.mark.filterwarnings("ignore:net_arch")  # which a loaded one says again
@pytest.mark.parametrize(("algorithm", "arch"), LINEAR, ids=str)
def test_without_hidden_layers_the_policy_is_sb3s(algorithm: type[BaseAlgorithm], arch: Any, tmp_path: Path) -> None:
    case = Case(algorithm, "Discrete" if algorithm is DQN else "Box", policy={"net_arch": arch})
    with pytest.warns(UserWarning, match="^net_arch: .* nothing spikes"):
        model = case.model()
    kwargs, env = {"policy_kwargs": {"net_arch": arch}, **DEFAULTS[algorithm]}, model.env
    theirs = algorithm("MlpPolicy", env, seed=0, device="cpu", **kwargs)  # type: ignore[arg-type]
    np.testing.assert_array_equal(predict(model), predict(theirs))
    model.learn(64)
    model.save(tmp_path / "model")
    np.testing.assert_array_equal(predict(algorithm.load(tmp_path / "model")), predict(model))


@pytest.mark.parametrize("images", [False, True])
def test_ppo_says_that_a_cpu_is_faster_where_no_image_is_seen(images: bool) -> None:
    space = spaces.Box(0, 255, (1, 36, 36), np.uint8) if images else spaces.Box(-1, 1, (3,))
    arguments: Any = {"features_extractor_class": NatureCNN} if images else {}
    policy = SpikingActorCriticPolicy(space, spaces.Discrete(2), lambda _: 0.0, **arguments)
    with warnings.catch_warnings(record=True) as told:
        policy.to("cpu")
        policy.to("meta")
    assert len(told) == (not images)
    assert all("faster on cpu" in str(warning.message) for warning in told)


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
    """As many features as the observation has, a hundred times as large."""

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
    told, expected = (p.mlp_extractor.policy_net.encoder(x) for p in (policy, free))
    assert torch.equal(told, expected)
    assert len(told.transpose(0, 1).flatten(1).unique(dim=0)) > 10  # within 0 to 1000 they would hardly differ
    assert policy._get_constructor_parameters()["bounded"] is kwargs.get("bounded", True)


@pytest.mark.parametrize("algorithm", [PPO, DQN])
def test_layers_behind_a_convolutional_extractor(algorithm: Any) -> None:
    """SB3's default there is none at all, which would leave nothing to spike."""
    policy_class = {PPO: SpikingActorCriticPolicy, DQN: SpikingDQNPolicy}[algorithm]
    space = spaces.Box(0, 255, (1, 36, 36), np.uint8)
    policy = policy_class(space, spaces.Discrete(2), lambda _: 0.0, features_extractor_class=NatureCNN)
    body = policy.acting_layers().body
    assert [layer.out_features for layer in body.layers if isinstance(layer, nn.Linear)] == [64, 64]


@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1"])
def test_a_policy_that_has_learned_can_be_copied(env: str) -> None:
    model = PPO(SpikingActorCriticPolicy, env, n_steps=32, batch_size=32, n_epochs=1, device="cpu").learn(32)
    observation = np.zeros((3, *model.observation_space.shape), np.float32)
    copied = copy.deepcopy(model.policy)
    for deterministic in (True, False):
        told = []
        for policy in (model.policy, copied):
            torch.manual_seed(0)
            told.append(policy.predict(observation, deterministic=deterministic)[0])
        assert np.array_equal(*told)
    assert copied.action_net.weight is not model.policy.action_net.weight
    model.policy.get_distribution(torch.zeros(1, *model.observation_space.shape)).mode()  # the model's own is there


def test_policy_config_builds_the_policy_that_it_describes() -> None:
    config = PolicyConfig(net_arch=(9, 7), T=3, neuron=NEURON, coding=CodingConfig("population", 4), critic="spiking")
    for case in (Case(PPO, "Discrete"), Case(DQN, "Discrete"), Case(SAC, "Box"), Case(TD3, "Box")):
        kwargs = config.sb3_kwargs(case.algorithm.__name__)
        policy = Case(case.algorithm, case.actions, policy=kwargs).model().policy
        body, _ = body_and_head(policy)
        assert (widths(body), body.T, body.encoder.n_outputs) == ([9, 7], 3, 12)
        assert {layer.config for layer in body.layers[1::2]} == {NEURON}
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
