"""Deterministic decisions without torch, compared with SB3's own `BasePolicy.predict`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, FlattenExtractor
from torch import Tensor, nn

from snn4.policies.acting.mlp import SpikingMLP
from snn4.policies.coding import CodingConfig
from snn4.policies.engine.event_driven import EVENT_DRIVEN_BATCH
from snn4.policies.neurons import NeuronConfig
from snn4.policies.sb3 import (
    SpikingActorCriticPolicy,
    SpikingDQNPolicy,
    SpikingSACPolicy,
    SpikingTD3Policy,
)

POLICIES: dict[type[BaseAlgorithm], type[BasePolicy]] = {
    PPO: SpikingActorCriticPolicy, A2C: SpikingActorCriticPolicy, DQN: SpikingDQNPolicy, SAC: SpikingSACPolicy,
    TD3: SpikingTD3Policy,
}  # fmt: skip
VECTOR = spaces.Box(-2, 2, (3,))
DISCRETE, BOX = spaces.Discrete(5), spaces.Box(np.array([-2, 0], np.float32), np.array([2, 1], np.float32))
WIDE = spaces.Box(-1, 3, (2, 2))


class Still(gym.Env[Any, Any]):
    """An environment with spaces in which nothing happens."""

    def __init__(self, actions: spaces.Space[Any], observations: spaces.Space[Any] = VECTOR) -> None:
        self.action_space, self.observation_space = actions, observations

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        return self.observation_space.sample(), {}


def make(
    algorithm: type[BaseAlgorithm], actions: spaces.Space[Any], observations: spaces.Space[Any] = VECTOR,
    arguments: dict[str, Any] | None = None, **policy: Any,
) -> Any:  # fmt: skip
    """A policy whose actions depend on the observation."""
    neuron = NeuronConfig(tau_mem=5e-3, v_threshold=0.4)
    more: dict[str, Any] = {"buffer_size": 10} if algorithm in (DQN, SAC, TD3) else {}
    built: Any = algorithm(
        POLICIES[algorithm], Still(actions, observations), seed=0, device="cpu", **more, **(arguments or {}),
        policy_kwargs={"net_arch": [24, 16], "neuron": neuron, **policy},
    ).policy  # fmt: skip
    with torch.no_grad():
        for head in (
            head for name, head in built.named_modules() if name in ("action_net", "actor.mu", "q_net.q_net.1")
        ):
            for parameter in head.parameters():
                nn.init.normal_(parameter)
    return built


def sb3s_own(policy: Any, observation: Any) -> NDArray[Any]:
    return BasePolicy.predict(policy, observation, deterministic=True)[0]  # type: ignore[no-any-return]


def assert_alike(actions: Any, expected: Any) -> None:
    assert type(actions) is type(expected)
    assert (actions.shape, actions.dtype) == (expected.shape, expected.dtype)
    np.testing.assert_allclose(actions, expected, rtol=1e-4, atol=1e-5)


@pytest.fixture
def without_torch(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many decisions a network took without torch since the last call."""
    decisions: list[bool] = []
    decide = SpikingMLP.decide

    def counted(self: SpikingMLP, x: Any) -> Any:
        decided = decide(self, x)
        decisions.append(decided is not None)
        return decided

    monkeypatch.setattr(SpikingMLP, "decide", counted)

    def count() -> int:
        number = sum(decisions)
        decisions.clear()
        return number

    return count


CASES: dict[str, tuple[Any, ...]] = {
    "PPO, discrete": (PPO, DISCRETE),
    "PPO, box": (PPO, BOX),
    "PPO, wide box": (PPO, WIDE),
    "PPO, gSDE": (PPO, BOX, VECTOR, {"use_sde": True}),
    "A2C, discrete": (A2C, DISCRETE),
    "A2C, box": (A2C, BOX),
    "DQN": (DQN, DISCRETE),
    "SAC": (SAC, BOX),
    "SAC, wide": (SAC, WIDE),
    "TD3": (TD3, BOX),
}
RNG = np.random.default_rng(0)
BATCHES = {
    "one": RNG.uniform(-2, 2, 3).astype(np.float32),
    "one of float64": RNG.uniform(-2, 2, 3),
    "many": RNG.uniform(-2, 2, (EVENT_DRIVEN_BATCH, 3)).astype(np.float32),
    "many of float64": RNG.uniform(-2, 2, (3, 3)),
    "whole numbers": RNG.integers(-2, 3, (4, 3)),
    "every other": RNG.uniform(-2, 2, (8, 6)).astype(np.float32)[::2, ::2],
    "in Fortran's order": np.asfortranarray(RNG.uniform(-2, 2, (4, 3)).astype(np.float32)),
    "a batch of one": RNG.uniform(-2, 2, (1, 3)).astype(np.float32),
    "none": np.zeros((0, 3), np.float32),
}


@pytest.mark.parametrize("case", CASES)
def test_decides_as_sb3_does(case: str, without_torch: Callable[[], int]) -> None:
    policy = make(*CASES[case])
    for name, observation in BATCHES.items():
        original = observation.copy()
        actions, state = policy.predict(observation, "state", deterministic=True)
        assert without_torch() == 1, name
        assert state == "state"
        assert_alike(actions, sb3s_own(policy, observation))
        np.testing.assert_array_equal(observation, original)
        assert without_torch() == 0
    assert len(np.unique(policy.predict(BATCHES["many"], deterministic=True)[0], axis=0)) > 1


@pytest.mark.parametrize("algorithm", [PPO, DQN, SAC, TD3])
def test_codes_and_readouts(algorithm: type[BaseAlgorithm]) -> None:
    actions = DISCRETE if algorithm is DQN else BOX
    for coding in ("population", "latency", CodingConfig("rate", deterministic=True)):
        for readout in ("weighted", "first_spike"):
            policy = make(algorithm, actions, coding=coding, readout=readout, T=3)
            for name in ("one", "many of float64"):
                assert_alike(policy.predict(BATCHES[name], deterministic=True)[0], sb3s_own(policy, BATCHES[name]))


def test_the_model_decides_as_its_policy(without_torch: Callable[[], int]) -> None:
    model = DQN(SpikingDQNPolicy, Still(DISCRETE), buffer_size=10, device="cpu")
    actions, _ = model.predict(BATCHES["many"], deterministic=True)
    assert without_torch() == 1
    assert_alike(actions, sb3s_own(model.policy, BATCHES["many"]))


OTHERS: dict[str, spaces.Space[Any]] = {
    "matrix": spaces.Box(-1, 1, (2, 3)),
    "Discrete": spaces.Discrete(4),
    "MultiDiscrete": spaces.MultiDiscrete([3, 2]),
    "MultiBinary": spaces.MultiBinary(3),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_observations_are_left_to_sb3(name: str, without_torch: Callable[[], int]) -> None:
    space = OTHERS[name]
    space.seed(0)
    policy = make(PPO, DISCRETE, space)
    sample = np.asarray(space.sample())
    for observation in (sample, np.stack([sample, sample])):
        assert_alike(policy.predict(observation, deterministic=True)[0], sb3s_own(policy, observation))
    assert without_torch() == 0


@pytest.mark.parametrize("actions", [spaces.MultiDiscrete([3, 2]), spaces.MultiBinary(3)])
def test_other_actions_are_left_to_sb3(actions: spaces.Space[Any]) -> None:
    policy = make(PPO, actions)
    for name in ("one", "many"):
        assert_alike(policy.predict(BATCHES[name], deterministic=True)[0], sb3s_own(policy, BATCHES[name]))


def test_the_rest_is_left_to_sb3(without_torch: Callable[[], int]) -> None:
    policy = make(PPO, BOX)
    policy.predict(BATCHES["one"])  # explores
    policy.predict(BATCHES["one"].tolist(), deterministic=True)
    policy.predict(np.zeros((EVENT_DRIVEN_BATCH + 1, 3), np.float32), deterministic=True)
    make(PPO, BOX, arguments={"use_sde": True}, squash_output=True).predict(BATCHES["one"], deterministic=True)
    make(SAC, BOX, arguments={"use_sde": True}).predict(BATCHES["one"], deterministic=True)
    assert without_torch() == 0


@pytest.mark.parametrize("case", [(PPO, {"squash_output": True}), (SAC, {}), (SAC, {"clip_mean": 0.0})], ids=str)
def test_state_dependent_exploration_with_bounds(case: tuple[type[BaseAlgorithm], dict[str, Any]]) -> None:
    policy = make(case[0], BOX, arguments={"use_sde": True}, **case[1])
    for name in ("one", "many"):
        assert_alike(policy.predict(BATCHES[name], deterministic=True)[0], sb3s_own(policy, BATCHES[name]))


WRONG: dict[str, Any] = {
    "too few": np.zeros(2), "too many": np.zeros((2, 4)), "too deep": np.zeros((2, 1, 3)), "a number": np.array(1.0),
    "Gym's pair": (np.zeros(3), {}), "a dict": {"a": np.zeros(3)},
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_errors_are_sb3s_own(name: str) -> None:
    policy = make(PPO, DISCRETE)
    with pytest.raises(Exception) as expected:  # noqa: PT011
        sb3s_own(policy, WRONG[name])
    with pytest.raises(type(expected.value)) as error:
        policy.predict(WRONG[name], deterministic=True)
    assert str(error.value) == str(expected.value)


class Extractor(BaseFeaturesExtractor):
    """A network before the spiking one."""

    def __init__(self, space: spaces.Space[Any], features: int) -> None:
        super().__init__(space, features)
        self.linear = nn.Linear(3, features)

    def forward(self, observations: Tensor) -> Tensor:
        return 2 * torch.tanh(3 * self.linear(observations))


@pytest.mark.parametrize("features", [3, 7])
@pytest.mark.parametrize("algorithm", [PPO, DQN, SAC, TD3])
def test_features_extractors_are_not_passed_over(algorithm: type[BaseAlgorithm], features: int) -> None:
    extractor = {"features_extractor_class": Extractor, "features_extractor_kwargs": {"features": features}}
    policy = make(algorithm, DISCRETE if algorithm is DQN else BOX, **extractor)
    for name in ("one", "many"):
        assert_alike(policy.predict(BATCHES[name], deterministic=True)[0], sb3s_own(policy, BATCHES[name]))


@pytest.mark.parametrize("place", ["mlp_extractor.policy_net", "action_net", "mlp_extractor.policy_net.decoder"])
def test_hooks_see_every_decision(place: str) -> None:
    policy = make(PPO, BOX)
    outputs: list[Tensor] = []
    policy.get_submodule(place).register_forward_hook(lambda _, __, out: outputs.append(out))
    policy.predict(BATCHES["one"], deterministic=True)
    assert len(outputs) == 1


class Opposite(nn.Linear):
    """A user's head."""

    def forward(self, x: Tensor) -> Tensor:
        return -super().forward(x)


class Shifted(SpikingMLP):
    """A user's body."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + 5


@pytest.mark.parametrize("algorithm", [PPO, DQN, TD3])
def test_a_network_that_was_put_in_decides(algorithm: type[BaseAlgorithm]) -> None:
    policy = make(algorithm, DISCRETE if algorithm is DQN else BOX)
    if algorithm is PPO:
        body = Shifted(3, [24, 16])
        body.load_state_dict(policy.mlp_extractor.policy_net.state_dict())
        policy.mlp_extractor.policy_net = body
        networks: list[Any] = [None]
    else:
        owner, name = (policy.q_net, "q_net") if algorithm is DQN else (policy.actor, "mu")
        own = getattr(owner, name)
        networks = [nn.Sequential(*own, nn.Hardtanh(-0.1, 0.1)), nn.Linear(3, own[1].out_features)]
    for network in networks:
        if network is not None:
            setattr(owner, name, network)
        for observations in ("one", "many"):
            actions = policy.predict(BATCHES[observations], deterministic=True)[0]
            assert_alike(actions, sb3s_own(policy, BATCHES[observations]))


class Mirror(FlattenExtractor):
    """A features extractor that replaces the first one."""

    def forward(self, observations: Tensor) -> Tensor:
        return -super().forward(observations)


HEADS: dict[str, Any] = {
    "several layers": lambda m, n: nn.Sequential(nn.Linear(m, 9), nn.ReLU(), nn.Linear(9, n)),
    "no bias": lambda m, n: nn.Linear(m, n, bias=False),
    "a subclass": lambda m, n: Opposite(m, n),
}


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("algorithm", [PPO, DQN, SAC, TD3])
def test_a_head_that_was_put_in_decides(algorithm: type[BaseAlgorithm], name: str) -> None:
    policy = make(algorithm, DISCRETE if algorithm is DQN else BOX)
    head = policy.acting_layers().head
    new = HEADS[name](head.in_features, head.out_features)
    for module in policy.modules():
        for place, child in list(module._modules.items()):  # also under several names
            if child is head:
                setattr(module, place, new)
    for observations in ("one", "many"):
        assert_alike(
            policy.predict(BATCHES[observations], deterministic=True)[0], sb3s_own(policy, BATCHES[observations])
        )


@pytest.mark.parametrize("algorithm", [PPO, DQN, SAC, TD3])
def test_a_features_extractor_that_was_put_in_is_asked(algorithm: type[BaseAlgorithm]) -> None:
    policy = make(algorithm, DISCRETE if algorithm is DQN else BOX)
    before = policy.predict(BATCHES["many"], deterministic=True)[0]
    mirror, extractor = Mirror(policy.observation_space), policy.acting_layers().extractor
    for module in policy.modules():
        for place, child in list(module._modules.items()):  # also under several names
            if child is extractor:
                setattr(module, place, mirror)
    after = policy.predict(BATCHES["many"], deterministic=True)[0]
    assert_alike(after, sb3s_own(policy, BATCHES["many"]))
    assert (after != before).any()


@pytest.mark.parametrize("actions", [DISCRETE, BOX], ids=["Discrete", "Box"])
@pytest.mark.parametrize("deterministic", [True, False])
def test_nan_is_refused_as_by_sb3(actions: spaces.Space[Any], deterministic: bool) -> None:
    policy, plain = make(PPO, actions), PPO("MlpPolicy", Still(actions), device="cpu").policy
    for number in (1, EVENT_DRIVEN_BATCH + 1):
        observations = np.zeros((number, 3), np.float32)
        observations[-1, 1] = np.nan
        for refusing in (policy, plain):
            with pytest.raises(ValueError, match=r"nan|NaN"):
                refusing.predict(observations, deterministic=deterministic)


class Cautious(SpikingActorCriticPolicy):
    """A user's policy."""

    def _predict(self, observation: Any, deterministic: bool = False) -> Tensor:
        return torch.zeros_like(super()._predict(observation, deterministic))


def test_a_users_policy_decides_for_itself() -> None:
    model = PPO(Cautious, Still(BOX), device="cpu")
    with torch.no_grad():
        model.policy.action_net.bias.fill_(1)
    assert not model.predict(BATCHES["many"], deterministic=True)[0].any()


@pytest.mark.parametrize("optimizer", [torch.optim.RMSprop, torch.optim.SGD, torch.optim.AdamW])
def test_optimisers_of_all_kinds(optimizer: Any) -> None:
    """SB3's own policies take them, too."""
    for algorithm, actions in ((PPO, BOX), (SAC, BOX)):
        policy = make(algorithm, actions, optimizer_class=optimizer)
        built = policy.optimizer if algorithm is PPO else policy.actor.optimizer
        assert type(built) is optimizer
