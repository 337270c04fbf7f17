"""Gymnasium tasks as vector environments that stable-baselines3 steps."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import gymnasium as gym
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

import snn4.envs.drawn_cartpole
import snn4.envs.hidden_velocities  # noqa: F401  (both register environments)
from snn4.envs.channels import channels_first
from snn4.envs.minatar import FreshGames, register_minatar
from snn4.envs.spaces import UnfitSpace, plain_spaces
from snn4.envs.variations import BadVariation, VariationConfig, Varied


class UnknownEnvironment(ValueError):
    """The name is not registered, or the environment cannot be built here, or no policy could see and act in it."""


class Control(DummyVecEnv):
    """Copies of an environment, all in this process."""

    cut_after: int | None = None
    """Steps after which episodes are truncated that would go on otherwise."""

    @property
    def has_limit(self) -> bool:
        """Whether every episode ends by itself, as far as Gymnasium knows."""
        spec = self.envs[0].spec
        return spec is not None and spec.max_episode_steps is not None


def make_control(
    environment: str,
    n_envs: int = 1,
    kwargs: Mapping[str, Any] | None = None,
    variation: VariationConfig | None = None,
    cut_after: int | None = None,
) -> Control:
    """``n_envs`` copies of a Gymnasium environment; seed them with ``.seed(seed)`` before ``.reset()``.

    With ``cut_after``, episodes are truncated after so many steps, whatever the environment's own limit is.

    Images come with channels first, boolean ones as 0.0 and 1.0 (`channels.channels_first`); other observations, and
    actions, in the forms that policies take (`spaces.plain_spaces`).

    Raises:
        UnknownEnvironment: with the nearest registered names, or what to install, or which spaces are allowed.
        BadVariation: the environment cannot be varied like that.
    """

    minatar = environment.startswith("MinAtar/")

    def make() -> gym.Env[Any, Any]:
        # The checker re-validates every step; what it would find, the learner's own checks of observations find too.
        env = gym.make(environment, disable_env_checker=True, **(kwargs or {}))
        env = env if cut_after is None else gym.wrappers.TimeLimit(env, cut_after)
        env = channels_first(plain_spaces(FreshGames(env) if minatar else env))
        return Monitor(env if variation is None else Varied(env, variation))

    try:
        if minatar:
            register_minatar()
        copies = Control([make] * n_envs)
        copies.cut_after = cut_after
        return copies
    except BadVariation:
        raise
    except UnfitSpace as error:
        raise UnknownEnvironment(f"{environment} has {error}") from error
    except (gym.error.DependencyNotInstalled, ModuleNotFoundError) as error:
        raise UnknownEnvironment(f"{environment} needs a package that is not installed: {error}") from error
    except gym.error.Error as error:
        near = get_close_matches(environment, gym.registry, n=3, cutoff=0.5)
        hint = f"did you mean {', '.join(near)}?" if near else "gymnasium.pprint_registry() lists what there is"
        raise UnknownEnvironment(
            f"got {environment!r}, allowed is a registered Gymnasium environment; {hint}"
        ) from error
    except Exception as error:  # whatever an environment's constructor has to say about its arguments
        arguments = f" with {dict(kwargs)}" if kwargs else ""
        raise UnknownEnvironment(f"{environment} cannot be made{arguments}: {str(error) or repr(error)}") from error
