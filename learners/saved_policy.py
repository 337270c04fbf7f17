"""A spiking policy in the zip that stable-baselines3 saved, built again without unpickling.

Its class follows from the names of its tensors, its arguments from the readable forms that SB3 writes beside pickles.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy

from snn4.learners.saved_agent import mapping, space_of
from snn4.learners.sb3_zip import BadAgent, read_data, read_weights
from snn4.policies.recurrent import SpikingRecurrentPolicy
from snn4.policies.sb3 import SpikingActorCriticPolicy, SpikingDQNPolicy, SpikingSACPolicy, SpikingTD3Policy

POLICIES: dict[str, type[BasePolicy]] = {
    "lstm_actor.": SpikingRecurrentPolicy, "action_net.": SpikingActorCriticPolicy, "q_net.": SpikingDQNPolicy,
    "actor.latent_pi.": SpikingSACPolicy, "actor.mu.": SpikingTD3Policy,
}  # fmt: skip
"""The policy of which a tensor's name begins like this; the first one that fits."""
UNUSED = ("activation_fn", "optimizer_class", "optimizer_kwargs")
"""Arguments without which a spiking policy acts the same."""
FROM_PYTHON = "load it in Python, and call snn4.policies.deploy.save"


def read_policy(path: Path) -> BasePolicy:
    """The spiking policy of the agent in ``path``, on the CPU and ready to act; its optimizer is new.

    Raises:
        BadAgent: there is no such file, it is damaged, it holds a policy that does not spike, the agent saw
            observations through `VecNormalize`, or an argument has no readable form.
    """
    data, weights = read_data(path), read_weights(path)
    kind = _class(path, weights)
    if kind in (SpikingActorCriticPolicy, SpikingRecurrentPolicy) and data.get("_last_original_obs") is not None:
        raise BadAgent(
            f"{path}: saw observations through VecNormalize, whose statistics are not in the file; {FROM_PYTHON} with "
            "normalization"
        )
    observations, actions = (_exact_space(path, data, name) for name in ("observation_space", "action_space"))
    arguments = _arguments(path, data.get("policy_kwargs"))
    if data.get("use_sde") is True:
        arguments["use_sde"] = True
    try:
        policy = kind(observations, actions, lambda _: 0.0, **arguments)
        policy.load_state_dict(weights)
    except (ValueError, TypeError, RuntimeError) as error:
        raise BadAgent(f"{path}: policy_kwargs do not fit its tensors: {' '.join(str(error).split())[:200]}") from None
    policy.set_training_mode(False)
    return policy


def _class(path: Path, names: Collection[str]) -> type[BasePolicy]:
    if not any(".layers." in name for name in names):
        raise BadAgent(
            f"{path}: got a policy that does not spike, allowed are those of this project; convert it with: "
            "snn4-agent convert"
        )
    found = (kind for begin, kind in POLICIES.items() if any(name.startswith(begin) for name in names))
    if (kind := next(found, None)) is None:
        raise BadAgent(f"{path}: got an unknown policy, allowed are the spiking policies of this project")
    return kind


def _exact_space(path: Path, data: Mapping[str, Any], name: str) -> spaces.Space[Any]:
    """As `space_of`, but with all bounds: codes and actions depend on them."""
    row = mapping(data.get(name))
    if any("..." in str(row.get(bound)) for bound in ("low", "high")):
        raise BadAgent(f"{path}: {name}: its bounds are abbreviated; {FROM_PYTHON}")
    return space_of(path, data, name)


def _arguments(path: Path, kwargs: Any) -> dict[str, Any]:
    """The policy's arguments, of which dataclasses become mappings of their fields."""
    found = {}
    for name, value in mapping(kwargs).items():
        if name in UNUSED or name.startswith(":"):
            continue
        try:
            found[name] = _value(value)
        except (ValueError, SyntaxError):
            got = f"policy_kwargs.{name}: got {str(value)[:80]}"
            raise BadAgent(f"{path}: {got}, allowed are plain values; {FROM_PYTHON}") from None
    return found


def _value(value: Any) -> Any:
    """``value``, or the fields of a dataclass of which it is the representation."""
    if not isinstance(value, str) or re.fullmatch(r"\w+", value):
        return value
    call = ast.parse(value, mode="eval").body
    if not isinstance(call, ast.Call) or call.args:
        raise ValueError(value)
    return {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
