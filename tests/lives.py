"""Configs of lives that take seconds."""

from __future__ import annotations

from typing import Any

import yaml

from snn4.agent.config.file import CONFIGS


def tiny_life() -> dict[str, Any]:
    """CartPole, as shipped, for 512 steps."""
    config: dict[str, Any] = yaml.safe_load((CONFIGS / "cartpole.yaml").read_text())
    config["name"] = "tiny"
    config["world"][0]["steps"] = 512
    config["evaluation"] = {"every": 256, "episodes": 2, "test_episodes": 3}
    return config
