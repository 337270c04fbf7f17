"""A data set as an environment: each episode shows one image and asks for its class; the return is 1 or 0.

So accuracy is a mean return, and every test of a policy in an environment also works on images.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from snn4.envs.data.datasets import DataConfig, load_data
from snn4.envs.data.samples import Data, Samples

Part = Literal["train", "validation", "test"]


class Labelled(VecEnv):
    """``n_envs`` images at a time, float32 (C, H, W), normalised by `Samples`.

    Args:
        samples: the images, shown in order: each once in ``len(samples)`` episodes as counted by SB3's evaluation.
        n_classes: number of possible answers.
        n_envs: images at a time.
        shuffle: show random images instead, drawn from the seed.
    """

    render_mode = None

    def __init__(self, samples: Samples, n_classes: int, n_envs: int = 1, shuffle: bool = False) -> None:
        self.samples, self.shuffle = samples, shuffle
        image, _ = samples.take(torch.tensor([0]), None)
        observations = spaces.Box(-np.inf, np.inf, tuple(image.shape[1:]), np.float32)
        super().__init__(n_envs, observations, spaces.Discrete(n_classes))
        self._random, self._round = np.random.default_rng(), 0
        self._labels = torch.zeros(n_envs, dtype=torch.int64)
        self._guesses: NDArray[Any] = np.zeros(n_envs, dtype=np.int64)

    def reset(self) -> NDArray[np.float32]:
        """The first images."""
        self._random, self._round = np.random.default_rng(self._seeds[0]), 0
        self._reset_seeds()
        return self._show()

    def step_async(self, actions: NDArray[Any]) -> None:
        self._guesses = actions

    def step_wait(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        right = (torch.as_tensor(self._guesses) == self._labels).numpy().astype(np.float32)
        shown = self._show()
        infos: list[dict[str, Any]] = [{"terminal_observation": image, "TimeLimit.truncated": False} for image in shown]
        return shown, right, np.ones(self.num_envs, dtype=bool), infos

    def _show(self) -> NDArray[np.float32]:
        if self.shuffle:
            rows = self._random.integers(len(self.samples), size=self.num_envs)
        else:  # if SB3 asks some copies for one more episode, these are the last copies
            rows = (self._round * self.num_envs + np.arange(self.num_envs)[::-1]) % len(self.samples)
        self._round += 1
        images, self._labels = self.samples.take(torch.from_numpy(rows), None)
        return images.numpy()

    def close(self) -> None:
        """Do nothing."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [getattr(self, attr_name)] * len(self._chosen(indices))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        setattr(self, attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        return [getattr(self, method_name)(*args, **kwargs)] * len(self._chosen(indices))

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        return [False] * len(self._chosen(indices))

    def _chosen(self, indices: Any) -> Sequence[int]:
        return list(self._get_indices(indices))


def make_guessing(config: DataConfig, n_envs: int, part: Part) -> Labelled:
    """A part of a data set as an environment; training images are shuffled."""
    data = loaded(config)
    return Labelled(getattr(data, part), data.n_classes, n_envs, shuffle=part == "train")


@functools.lru_cache(maxsize=4)
def loaded(config: DataConfig) -> Data:
    """`load_data`, called once for all copies of an environment."""
    return load_data(config)
