"""MinAtar's games (Young & Tian 2019), whose observations are images."""

from __future__ import annotations

from typing import Any

import gymnasium as gym


class FreshGames(gym.Wrapper[Any, Any, Any, Any]):
    """MinAtar's games, each of which is fixed by its seed.

    Their actions are sticky: with a probability of 0.1 the last one is repeated. For the first of a game, MinAtar takes
    the last action of the game before; here it is "no operation", as in the very first game.
    """

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """As Gymnasium's."""
        self.env.get_wrapper_attr("game").last_action = 0
        return self.env.reset(seed=seed, options=options)


def register_minatar() -> None:
    """Register ``MinAtar/Breakout-v1`` and its like (Young & Tian 2019) with Gymnasium, unless that is done.

    Raises:
        ModuleNotFoundError: naming what to install.
    """
    try:
        from minatar.gym import register_envs
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("pip install 'snn4-agent[minatar]'") from error
    if "MinAtar/Breakout-v1" not in gym.registry:
        register_envs()
