from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.spaces.utils import flatten
from stable_baselines3.common.preprocessing import preprocess_obs
from stable_baselines3.common.torch_layers import CombinedExtractor

from snn4.envs.control import UnknownEnvironment, make_control
from snn4.envs.spaces import plain_spaces

BOX, TWO = spaces.Box(-1, 1, (3,)), spaces.Discrete(2)


class Recorded(gym.Env[Any, Any]):
    """Random observations from a given space; keeps the last observation and the last action."""

    def __init__(self, observations: spaces.Space[Any] = BOX, actions: spaces.Space[Any] = TWO) -> None:
        self.observation_space, self.action_space = observations, actions
        self.observation: Any = None
        self.action: Any = None

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        self.observation_space.seed(seed)
        self.observation = self.observation_space.sample()
        return self.observation, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.observation, self.action = self.observation_space.sample(), action
        return self.observation, 0.0, False, False, {}


GOAL = spaces.Dict({name: spaces.Box(-1, 1, (2,)) for name in ("observation", "achieved_goal", "desired_goal")})
MIXED = spaces.Dict(
    d=spaces.MultiDiscrete([2, 3]), c=spaces.MultiBinary(3), b=spaces.Discrete(3), a=spaces.Box(0, 9, (2, 2), np.int16)
)
OBSERVATIONS: dict[str, spaces.Space[Any]] = {
    "goal": GOAL,
    "mixed": MIXED,
    "nested": spaces.Dict(inner=GOAL, number=spaces.Discrete(2, start=5)),
    "from 2": spaces.Discrete(4, start=2),
    "from -1": spaces.Discrete(4, start=-1),
    "several, from 1": spaces.MultiDiscrete([2, 3], start=[1, 0]),
    "table": spaces.MultiDiscrete([[2, 3], [4, 2]]),
    "one value": spaces.Box(-1, 1, ()),
}


@pytest.mark.parametrize("kind", OBSERVATIONS)
def test_observations_as_one_vector(kind: str) -> None:
    plain = Recorded(OBSERVATIONS[kind])
    env = plain_spaces(plain)
    for take in (lambda: env.reset(seed=1), lambda: env.step(0)):
        vector = take()[0]
        np.testing.assert_array_equal(vector, flatten(OBSERVATIONS[kind], plain.observation))
        assert vector.dtype == np.float32
        assert env.observation_space.contains(vector)


@pytest.mark.parametrize("space", [GOAL, MIXED], ids=["goal", "mixed"])
def test_a_dict_is_laid_out_as_sb3_lays_it_out(space: spaces.Dict) -> None:
    plain = Recorded(space)
    vector, _ = plain_spaces(plain).reset(seed=3)
    tensors = {name: torch.as_tensor(np.array(part)[None]) for name, part in plain.observation.items()}
    expected = CombinedExtractor(space)(preprocess_obs(tensors, space))
    np.testing.assert_array_equal(vector[None], expected.numpy())


ACTIONS: dict[str, spaces.Space[Any]] = {
    "from 1": spaces.Discrete(3, start=1),
    "from -1": spaces.Discrete(3, start=-1),
    "several, from -1": spaces.MultiDiscrete([2, 3], start=[0, -1]),
    "table": spaces.MultiDiscrete([[2, 3], [1, 2]]),
    "binary table": spaces.MultiBinary((2, 2)),
}


def every_action(space: Any) -> list[Any]:
    if isinstance(space, spaces.Discrete):
        return [np.int64(action) for action in range(space.n)]
    sizes = [2] * int(np.prod(space.shape)) if isinstance(space, spaces.MultiBinary) else space.nvec
    return [np.array(action) for action in itertools.product(*(range(size) for size in sizes))]


@pytest.mark.parametrize("kind", ACTIONS)
def test_every_action_can_be_taken(kind: str) -> None:
    plain, actions = Recorded(actions=ACTIONS[kind]), set()
    env = plain_spaces(plain)
    env.reset()
    for action in every_action(env.action_space):
        assert env.action_space.contains(action)
        env.step(action)
        assert ACTIONS[kind].contains(plain.action)
        actions.add(str(plain.action))
    assert len(actions) == len(every_action(env.action_space))


@pytest.mark.parametrize(
    ("space", "action", "expected"),
    [
        (spaces.Box(0, 5, (2,), np.int32), [1.6, 0.2], np.array([2, 0], np.int32)),
        (spaces.Box(-2, 2, ()), [0.5], np.array(0.5, np.float32)),
    ],
    ids=["whole numbers", "one value"],
)
def test_real_actions(space: spaces.Box, action: list[float], expected: Any) -> None:
    plain = Recorded(actions=space)
    env: Any = plain_spaces(plain)
    env.step(np.array(action, np.float32))
    np.testing.assert_array_equal(plain.action, expected, strict=True)
    assert env.action_space.shape == (len(action),)
    assert np.issubdtype(env.action_space.dtype, np.floating)
    assert (env.action_space.low == space.low).all()
    assert (env.action_space.high == space.high).all()


FITTING = [BOX, spaces.Box(0, 255, (5, 7, 3), np.uint8), TWO, spaces.MultiDiscrete([2, 3]), spaces.MultiBinary((2, 3))]


@pytest.mark.parametrize("observations", FITTING, ids=str)
def test_spaces_that_fit_stay(observations: spaces.Space[Any]) -> None:
    for actions in (TWO, BOX, spaces.MultiDiscrete([2, 3]), spaces.MultiBinary(3)):
        env = Recorded(observations, actions)
        assert plain_spaces(env) is env


KINDS = "Box, Discrete, MultiDiscrete, MultiBinary"
UNFIT: dict[str, tuple[spaces.Space[Any], spaces.Space[Any], str]] = {
    "text": (spaces.Text(4), TWO, f"Text observations, allowed are {KINDS} and Dict of these"),
    "sequence": (spaces.Sequence(BOX), TWO, "Sequence observations, allowed are Box, "),
    "tuple": (spaces.Tuple([BOX, TWO]), TWO, "Tuple observations, allowed are Box, "),
    "text in a Dict": (spaces.Dict(a=BOX, b=spaces.Text(4)), TWO, "Text observations, allowed are Box, "),
    "image in a Dict": (
        spaces.Dict(a=BOX, b=spaces.Box(0, 255, (8, 8, 3), np.uint8)), TWO,
        "images (8, 8, 3) in a Dict, allowed are images alone or a Dict without images; choose parts with "
        "gymnasium.wrappers.FilterObservation",
    ),
    "nothing": (spaces.Dict(), TWO, "empty observations Dict(), allowed are one value or more"),
    "act by text": (BOX, spaces.Text(4), f"Text actions, allowed are {KINDS}; change them with gymnasium.wrappers."),
    "act by sequence": (BOX, spaces.Sequence(BOX), "Sequence actions, allowed are Box, "),
    "act by Dict": (BOX, GOAL, "Dict actions, allowed are Box, "),
    "act by nothing": (BOX, spaces.Box(-1, 1, (0,)), "empty actions Box([], [], (0,), float32), allowed are one "),
}  # fmt: skip


@pytest.mark.parametrize("kind", UNFIT)
def test_spaces_that_no_policy_can_take_are_refused_in_one_line(kind: str, register: Callable[[Any], None]) -> None:
    observations, actions, message = UNFIT[kind]
    register(lambda **_: Recorded(observations, actions))
    with pytest.raises(UnknownEnvironment) as error:
        make_control("Test-v0")
    assert str(error.value).startswith(f"Test-v0 has {message}")
    assert "\n" not in str(error.value)
