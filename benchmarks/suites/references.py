"""Returns that make environments comparable: 0 is a random player, 1 the reference."""

from __future__ import annotations

from typing import NamedTuple


class Reference(NamedTuple):
    """The scale of an environment."""

    chance: float
    """Mean return of random actions, over 100 validation episodes (`Evaluator.chance`)."""
    mark: float | None
    """The best PPO agent of rl-baselines3-zoo (``benchmark.md``; one run each); None: the ANN twin's own mean."""


REFERENCES = {
    "CartPole-v1": Reference(23.4, 500.0),
    "Acrobot-v1": Reference(-499.6, -73.5),
    "MountainCar-v0": Reference(-200.0, -110.4),
    "MountainCarContinuous-v0": Reference(-33.1, 88.3),
    "Pendulum-v1": Reference(-1205.2, -172.2),
    "LunarLander-v3": Reference(-173.3, 242.1),  # quoted for v2
    "InvertedDoublePendulum-v5": Reference(48.7, None),
    "Hopper-v5": Reference(19.0, 2410.4),  # this and the following are quoted for v3
    "HalfCheetah-v5": Reference(-266.5, 5819.1),
    "Walker2d-v5": Reference(1.3, 3478.8),
    "Swimmer-v5": Reference(0.5, 281.6),
    "MinAtar/Asterix-v1": Reference(0.5, None),
    "MinAtar/Breakout-v1": Reference(0.3, None),
    "MinAtar/Freeway-v1": Reference(0.2, None),
    "MinAtar/Seaquest-v1": Reference(0.1, None),
    "MinAtar/SpaceInvaders-v1": Reference(4.0, None),
}
