"""Gymnasium tasks as vector environments that stable-baselines3 steps."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import gymnasium as gym
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

import snn4.envs.drawn_cartpole
import snn4.envs.hidden_velocities  # noqa: F401  (both register environments)
from snn4.envs.channels import channels_first
from snn4.envs.minatar import FreshGames, register_minatar
from snn4.envs.variations import BadVariation, VariationConfig, Varied


class UnknownEnvironment(ValueError):
    """The name is not registered, or the environment cannot be built here."""


def make_control(
    environment: str,
    n_envs: int = 1,
    kwargs: Mapping[str, Any] | None = None,
    variation: VariationConfig | None = None,
) -> VecEnv:
    """``n_envs`` copies of a Gymnasium environment; seed them with ``.seed(seed)`` before ``.reset()``.

    Images come with channels first, boolean ones as 0.0 and 1.0 (`images.channels_first`).

    Raises:
        UnknownEnvironment: with the nearest registered names, or what to install.
        BadVariation: the environment cannot be varied like that.
    """

    minatar = environment.startswith("MinAtar/")

    def make() -> gym.Env[Any, Any]:
        # The checker re-validates every step; what it would find, the learner's own checks of observations find too.
        env = gym.make(environment, disable_env_checker=True, **(kwargs or {}))
        env = channels_first(FreshGames(env) if minatar else env)
        return Monitor(env if variation is None else Varied(env, variation))

    try:
        if minatar:
            register_minatar()
        return DummyVecEnv([make] * n_envs)
    except BadVariation:
        raise
    except (gym.error.DependencyNotInstalled, ModuleNotFoundError) as error:
        raise UnknownEnvironment(f"{environment} needs a package that is not installed: {error}") from error
    except gym.error.Error as error:
        near = get_close_matches(environment, gym.registry, n=3, cutoff=0.5)
        hint = f"did you mean {', '.join(near)}?" if near else "gymnasium.pprint_registry() lists what there is"
        raise UnknownEnvironment(
            f"got {environment!r}, allowed is a registered Gymnasium environment; {hint}"
        ) from error
    except Exception as error:  # whatever an environment's constructor has to say about its arguments
        raise UnknownEnvironment(f"{environment} cannot be made with {dict(kwargs or {})}: {error}") from error
