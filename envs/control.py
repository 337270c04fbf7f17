"""Gymnasium tasks as vector environments for stable-baselines3."""

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
from snn4.envs.mujoco import catch_warnings
from snn4.envs.spaces import UnfitSpace, plain_spaces
from snn4.envs.variations import BadVariation, VariationConfig, Varied


class UnknownEnvironment(ValueError):
    """The name is not registered, the environment cannot be made here, or no policy supports its spaces."""


class Control(DummyVecEnv):
    """Copies of one environment, all in this process."""

    cut_after: int | None = None
    """Steps after which episodes are truncated; None: only the environment's own limit holds."""

    @property
    def has_limit(self) -> bool:
        """Whether Gymnasium knows a limit to the length of episodes."""
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

    With ``cut_after``, episodes are truncated after that many steps, whatever the environment's own limit is.

    Images have channels first; boolean ones become 0.0 and 1.0 (`channels.channels_first`). Other observations and
    actions take the forms that policies support (`spaces.plain_spaces`).

    Raises:
        UnknownEnvironment: with the nearest registered names, the package to install, or the allowed spaces.
        BadVariation: the environment does not support the variation.
    """

    minatar = environment.startswith("MinAtar/")

    def make() -> gym.Env[Any, Any]:
        # The checker validates every step again; the learner's own checks of observations find the same faults.
        env = gym.make(environment, disable_env_checker=True, **(kwargs or {}))
        env = env if cut_after is None else gym.wrappers.TimeLimit(env, cut_after)
        env = channels_first(plain_spaces(FreshGames(env) if minatar else env))
        return Monitor(env if variation is None else Varied(env, variation))

    try:
        if minatar:
            register_minatar()
        if _extra(environment) == "mujoco":
            catch_warnings()
        copies = Control([make] * n_envs)
        copies.cut_after = cut_after
        return copies
    except BadVariation:
        raise
    except UnfitSpace as error:
        raise UnknownEnvironment(f"{environment} has {error}") from error
    except (gym.error.DependencyNotInstalled, ModuleNotFoundError) as error:
        extra = _extra(environment)
        what = error if extra is None else f"pip install 'snn4-agent[{extra}]'"
        raise UnknownEnvironment(f"{environment} needs a package that is not installed: {what}") from error
    except gym.error.Error as error:
        near = get_close_matches(environment, gym.registry, n=3, cutoff=0.5)
        hint = f"did you mean {', '.join(near)}?" if near else "gymnasium.pprint_registry() lists all of them"
        raise UnknownEnvironment(
            f"got {environment!r}, allowed is a registered Gymnasium environment; {hint}"
        ) from error
    except Exception as error:  # a constructor may raise any error for its arguments
        arguments = f" with {dict(kwargs)}" if kwargs else ""
        raise UnknownEnvironment(f"{environment} cannot be made{arguments}: {str(error) or repr(error)}") from error


_EXTRAS = {"MinAtar/": "minatar", "gymnasium.envs.box2d.": "box2d", "gymnasium.envs.mujoco.": "mujoco"}
"""Extras of this package, by the beginning of an environment's name or of the place of its class."""


def _extra(environment: str) -> str | None:
    """The extra of this package that brings what ``environment`` needs; None if none does."""
    spec = gym.registry.get(environment)
    beginnings = environment, str(spec.entry_point) if spec else ""
    return next((extra for start, extra in _EXTRAS.items() if any(text.startswith(start) for text in beginnings)), None)
