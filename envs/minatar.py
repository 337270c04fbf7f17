"""MinAtar's games (Young & Tian 2019), which observe images."""

from __future__ import annotations

from typing import Any

import gymnasium as gym


class FreshGames(gym.Wrapper[Any, Any, Any, Any]):
    """MinAtar's games, each determined by its seed.

    Actions are sticky: the last action repeats with probability 0.1. For the first action of a game, MinAtar repeats
    the last action of the previous game; here it is always "no operation", as in the very first game.
    """

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset the environment and the last action."""
        self.env.get_wrapper_attr("game").last_action = 0
        return self.env.reset(seed=seed, options=options)


def register_minatar() -> None:
    """Register ``MinAtar/Breakout-v1`` and its like (Young & Tian 2019) with Gymnasium, once.

    Raises:
        ModuleNotFoundError: if MinAtar is not installed.
    """
    from minatar.gym import register_envs

    if "MinAtar/Breakout-v1" not in gym.registry:
        register_envs()
