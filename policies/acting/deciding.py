"""Deterministic decisions of SB3 policies without torch, for policies that only need to run the spiking network."""

from __future__ import annotations

import copy
import math
import warnings
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.torch_layers import FlattenExtractor
from torch import Tensor, nn

from snn4.policies.acting.mlp import SpikingMLP
from snn4.policies.acting.residues import Residues
from snn4.policies.engine.event_driven import EVENT_DRIVEN_BATCH
from snn4.policies.finite import ADVICE, diverged


class ActingLayers(NamedTuple):
    """The acting modules of a policy, in order."""

    extractor: nn.Module
    body: nn.Module | None
    """None if only torch can decide."""
    head: nn.Module
    bounded: bool
    """Whether actions are bounded by tanh."""


class Copyable:
    """SB3 policies that can be copied after an update: copies do not include the distribution, which has a history."""

    def __getstate__(self) -> dict[str, Any]:
        state = dict(vars(self))
        state.pop("_head_views", None)
        if "action_dist" in state:
            state["action_dist"] = copy.copy(state["action_dist"])
            state["action_dist"].distribution = None
        return state


class WarnsOfNaN:
    """SB3 policies that warn when weights with NaN are loaded."""

    def load_state_dict(self, state_dict: Any, *args: Any, **kwargs: Any) -> Any:
        """As torch's; UserWarning for NaN, with the name of the parameter."""
        loaded = super().load_state_dict(state_dict, *args, **kwargs)  # type: ignore[misc]
        for name, value in state_dict.items():
            if isinstance(value, Tensor) and not value.is_meta and torch.isnan(value).any():
                warnings.warn(f"{name}: got NaN, allowed are finite numbers; {ADVICE}", stacklevel=3)
                break
        return loaded


class Deciding:
    """Adds a fast path to `predict`, with the same results as SB3's."""

    observation_space: spaces.Space[Any]
    action_space: spaces.Space[Any]
    normalize_images: bool
    spiking: dict[str, Any]

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
    ) -> tuple[NDArray[Any], Any]:
        """As SB3's; deterministic decisions for a few vectors run without torch, in a fraction of the time."""
        if self.spiking.get("residual"):
            residues: Residues = self.acting_layers().body.residues  # type: ignore[assignment, union-attr]
            with residues.carrying(state, episode_start):
                actions, _ = super().predict(observation, None, episode_start, deterministic)  # type: ignore[misc]
                return actions, residues.taken()
        actions = self._decide(observation) if deterministic and self._plain(observation) else None
        if actions is not None:
            return actions, state
        return super().predict(observation, state, episode_start, deterministic)  # type: ignore[misc,no-any-return]

    def acting_layers(self) -> ActingLayers:
        """The layers of the acting network."""
        raise NotImplementedError

    def _plain(self, observation: Any) -> bool:
        """Whether ``observation`` is a few vectors that SB3 would not change, and the policy is one of this project."""
        space, policy = self.observation_space, type(self)
        if not isinstance(space, spaces.Box) or len(space.shape) != 1 or type(observation) is not np.ndarray:
            return False
        if observation.ndim not in (1, 2) or observation.shape[-1:] != space.shape:
            return False
        if observation.ndim == 2 and len(observation) > EVENT_DRIVEN_BATCH:
            return False
        return policy.__module__ == _POLICIES  # a subclass may treat observations differently

    def _modules_once(self) -> list[nn.Module]:
        """All modules, collected once, because collecting them takes longer than a decision."""
        if "_all_modules" not in vars(self):
            vars(self)["_all_modules"] = list(self.modules())  # type: ignore[attr-defined]
        return vars(self)["_all_modules"]  # type: ignore[no-any-return]

    def _head_arrays(self, head: nn.Linear) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Views of its weight and bias, made once for each place in memory that they have."""
        weight, bias = head._parameters["weight"], head._parameters["bias"]
        assert weight is not None
        assert bias is not None
        key = weight.data_ptr(), bias.data_ptr(), weight.stride()
        if vars(self).get("_head_views", ((),))[0] != key:
            vars(self)["_head_views"] = key, weight.detach().numpy(), bias.detach().numpy()
        return vars(self)["_head_views"][1:]  # type: ignore[no-any-return]

    def _decide(self, observation: NDArray[Any]) -> NDArray[Any] | None:
        """Actions, or None if only torch can decide."""
        actions, (extractor, body, head, bounded) = self.action_space, self.acting_layers()
        if type(body) is not SpikingMLP or not isinstance(actions, (spaces.Box, spaces.Discrete)):
            return None
        # Subclasses may compute anything, and modules may have been replaced since the policy was built.
        if type(extractor) is not FlattenExtractor or type(head) is not nn.Linear or head._parameters["bias"] is None:
            return None
        acting = (extractor, body, head, *self._modules_once())
        for module in acting:
            if module._forward_hooks or module._forward_pre_hooks:
                return None
        latent = body.decide(np.ascontiguousarray(observation.reshape(-1, body.n_inputs), np.float32))
        if latent is None:
            return None
        weight, bias = self._head_arrays(head)
        values = latent @ weight.T + bias
        flat = values.reshape(-1)
        if math.isnan(flat.dot(flat)):
            raise diverged("values of the acting head", "NaN")
        if isinstance(actions, spaces.Discrete):
            chosen = values.argmax(1)
        elif bounded:
            chosen = self.unscale_action(np.tanh(values).reshape(-1, *actions.shape))  # type: ignore[attr-defined]
        else:
            chosen = values.reshape(-1, *actions.shape).clip(actions.low, actions.high)
        return chosen if observation.ndim == 2 else chosen.squeeze(0)  # type: ignore[no-any-return]


_POLICIES = "snn4.policies.sb3"
