from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy

from snn4.envs.data.datasets import DataConfig, load_data
from snn4.envs.data.samples import Data
from snn4.envs.labelled import Labelled, loaded, make_guessing
from snn4.envs.world import TaskConfig

DIGITS = DataConfig("digits")


@pytest.fixture(scope="module")
def data() -> Data:
    return load_data(DIGITS)


class Eye:
    """Guesses the class of the nearest stored image."""

    def __init__(self, data: Data) -> None:
        self.known, self.labels = data.test.take(torch.arange(len(data.test)), None)
        self.seen: list[int] = []

    def predict(self, images: NDArray[Any], state: Any = None, **_: Any) -> tuple[NDArray[Any], Any]:
        nearest = torch.cdist(torch.from_numpy(images).flatten(1), self.known.flatten(1)).argmin(1)
        self.seen += nearest.tolist()
        return self.labels[nearest].numpy(), state


@pytest.mark.parametrize("n_envs", [1, 7, 100])
def test_the_mean_return_is_the_accuracy_on_all_images(data: Data, n_envs: int) -> None:
    env = Labelled(data.test, data.n_classes, n_envs)
    wrong = np.random.default_rng(0).random(len(data.test)) < 0.3

    class Erring(Eye):
        def predict(self, images: NDArray[Any], state: Any = None, **more: Any) -> tuple[NDArray[Any], Any]:
            guesses, _ = super().predict(images, state, **more)
            return (guesses + wrong[self.seen[-len(guesses) :]]) % 10, state

    returns, lengths = evaluate_policy(Erring(data), env, len(data.test), return_episode_rewards=True, warn=False)  # type: ignore[arg-type]
    assert isinstance(returns, list)
    assert set(lengths) == {1}  # type: ignore[arg-type]
    assert np.mean(returns) == pytest.approx(1 - wrong.mean())
    # Each image counts once.
    assert sum(returns) == (~wrong).sum()


def test_shuffled_images_follow_from_the_seed(data: Data) -> None:
    env: Any = Labelled(data.train, data.n_classes, 4, shuffle=True)

    def shown(seed: int) -> NDArray[Any]:
        env.seed(seed)
        return np.stack([env.reset(), *(env.step(np.zeros(4))[0] for _ in range(3))])

    first = shown(1)
    assert np.array_equal(first, shown(1))
    assert not np.array_equal(first, shown(2))


def test_parts_and_copies() -> None:
    envs = {part: make_guessing(DIGITS, 2, part) for part in ("train", "validation", "test")}  # type: ignore[arg-type]
    assert len({len(env.samples) for env in envs.values()}) == 3
    assert [env.shuffle for env in envs.values()] == [True, False, False]
    assert envs["train"].samples is loaded(DIGITS).train
    guessing = TaskConfig("digits", 10, data=DIGITS).make(3, "test")
    assert guessing.num_envs == 3
    assert guessing.observation_space.shape == (1, 8, 8)
    assert guessing.action_space.n == 10  # type: ignore[attr-defined]


def test_stable_baselines_can_learn_in_it(data: Data) -> None:
    model = PPO("MlpPolicy", Labelled(data.train, data.n_classes, 8, shuffle=True), n_steps=16, batch_size=64, seed=0)
    model.learn(256)
    assert model.num_timesteps == 256


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"data": DataConfig("nmnist")}, "data: got nmnist, allowed are images"),
        ({"data": DIGITS, "kwargs": {"a": 1}}, "data: not allowed with kwargs; remove kwargs"),
    ],
    ids=["events", "kwargs"],
)
def test_images_as_they_are(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        TaskConfig("x", 1, **arguments)
