"""The outline of a policy: names and shapes of its tensors, found without optimizers, buffers and much memory."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
from stable_baselines3.common.vec_env import VecEnv
from torch.overrides import TorchFunctionMode

from snn4.learners.algorithms import LearnerConfig, make_policy
from snn4.policies.sb3 import PolicyConfig

Outline = dict[str, tuple[int, ...]]
"""Shapes by the names in `state_dict`."""

NUMBERS = 2**27
"""Weights beyond this number (half a gigabyte) get a shape, but no memory."""


def outline(learner: LearnerConfig, policy: PolicyConfig, env: VecEnv) -> Outline:
    """The tensors of the policy that `make_policy` would make; raises what SB3, torch and networks raise."""
    light: dict[str, Any] = {"ortho_init": False} if learner.algorithm in ("PPO", "A2C") else {}
    names_optimizer = bool({"optimizer_class", "optimizer_kwargs"} & learner.policy_kwargs.keys())
    learner = dataclasses.replace(learner, policy_kwargs={**light, **learner.policy_kwargs})
    with torch.random.fork_rng(devices=[]), _Sparing():
        light_policy = make_policy(learner, policy, env, learns=names_optimizer)
    return {name: tuple(tensor.shape) for name, tensor in light_policy.state_dict().items()}


class _Sparing(TorchFunctionMode):
    """Creates weights beyond `NUMBERS` on torch's device "meta", where they stay when SB3 moves its layers."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.Tensor.to and args[0].is_meta:
            return args[0]
        if func is torch.empty and args:
            self.numbers += math.prod(args if isinstance(args[0], int) else args[0])
            if self.numbers > NUMBERS:
                kwargs["device"] = "meta"
        return func(*args, **kwargs)
