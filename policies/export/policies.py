"""The description of a policy of stable-baselines3 that this project has built."""

from __future__ import annotations

import dataclasses
from typing import Any

from gymnasium import spaces
from stable_baselines3.common.torch_layers import FlattenExtractor
from torch import nn

from snn4.policies.acting.deciding import Deciding
from snn4.policies.acting.mlp import SpikingMLP
from snn4.policies.export.describing import describe_mlp
from snn4.policies.export.description import Actions, Description, NotExportable


def describe_policy(policy: Any) -> Description:
    """The description of the acting part of ``policy``.

    Raises:
        NotExportable: for policies that carry their state, see images, have no spiking layer, or act by other spaces
            than Box and Discrete; the message says what is allowed.
    """
    if not isinstance(policy, Deciding):
        raise NotExportable(f"policy: got {type(policy).__name__}, allowed are spiking policies with state: reset")
    extractor, body, head, bounded = policy.acting_layers()
    if not isinstance(extractor, FlattenExtractor):
        raise NotExportable(f"observations: got {type(extractor).__name__}, allowed are values without an encoder")
    if not isinstance(body, SpikingMLP) or not isinstance(head, nn.Linear):
        got = f"{type(body).__name__} and {type(head).__name__}"
        raise NotExportable(f"policy: got {got}, allowed are spiking layers and one linear head")
    described = describe_mlp(body, head, policy.spiking["coding"])
    return dataclasses.replace(described, actions=_actions(policy.action_space, bounded))


def _actions(space: spaces.Space[Any], squashed: bool) -> Actions:
    if isinstance(space, spaces.Discrete):
        return Actions("discrete")
    if isinstance(space, spaces.Box):
        low, high = (tuple(bound.ravel().tolist()) for bound in (space.low, space.high))
        return Actions("continuous", low, high, space.shape, squashed)
    raise NotExportable(f"action_space: got {space}, allowed are Box and Discrete")
