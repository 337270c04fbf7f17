"""An agent that stable-baselines3 saved, described by its zip.

Spaces and arguments come from the readable forms in its JSON, widths from the shapes of its tensors.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gymnasium import spaces
from torch import Tensor, nn

from snn4.learners.sb3_spaces import UnreadableSpace, read_space
from snn4.learners.sb3_zip import BadAgent, Weights, read_data, read_weights

ActivationName = Literal["tanh", "relu", "elu", "gelu", "leaky_relu", "sigmoid", "silu"]
ACTIVATIONS: dict[str, type[nn.Module]] = {
    "tanh": nn.Tanh, "relu": nn.ReLU, "elu": nn.ELU, "gelu": nn.GELU, "leaky_relu": nn.LeakyReLU,
    "sigmoid": nn.Sigmoid, "silu": nn.SiLU,
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class SavedAgent:
    """An agent with SB3's own policy, as its zip describes it."""

    source: str
    algorithm: Literal["PPO", "A2C", "DQN", "SAC", "TD3"]
    activation: ActivationName
    net_arch: dict[str, tuple[int, ...]]
    """Hidden layers of the actor (``pi``) and, except with DQN, of the critic (``vf``, ``qf``), behind the features."""
    weights: Weights
    """The policy's `state_dict`, finite."""
    observation_space: spaces.Space[Any]
    """As the policy gets observations: channels first and, behind VecFrameStack, already stacked. Bounds that the file
    only abbreviates are infinite."""
    action_space: spaces.Box | spaces.Discrete
    features: Literal["flatten", "nature_cnn"]
    """Features extractor; all others are refused."""
    use_sde: bool
    """Whether it explored by gSDE, with which SAC clips the means of its actions at ``clip_mean``."""
    clip_mean: float
    normalize_images: bool
    """Whether the policy divides images of 0 to 255 by 255."""
    normalized: bool
    """Whether PPO or A2C last acted behind VecNormalize, whose statistics are not in the file. The files of other
    algorithms do not tell, and give False."""

    def sb3_arch(self, actor: Sequence[int]) -> list[int] | dict[str, list[int]]:
        """SB3's ``net_arch`` for an ``actor`` of these widths beside the agent's critic, if it has one."""
        critic = {role: list(widths) for role, widths in self.net_arch.items() if role != "pi"}
        return {"pi": list(actor), **critic} if critic else list(actor)


def read_agent(path: Path) -> SavedAgent:
    """The agent in ``path``, which ``PPO.save`` wrote, or that of A2C, DQN, SAC or TD3.

    Raises:
        BadAgent: there is no such file, it is damaged, or it holds another kind of agent.
    """
    data, weights = read_data(path), read_weights(path)
    algorithm = _algorithm(path, data, weights)
    kwargs = mapping(data.get("policy_kwargs"))
    use_sde = data.get("use_sde") is True or kwargs.get("use_sde") is True
    if kwargs.get("squash_output") is True:
        raise BadAgent(f"{path}: got policy_kwargs.squash_output: true, allowed is false")
    agent = SavedAgent(
        str(path), algorithm, _activation(path, algorithm, kwargs), _net_arch(weights), weights,
        space_of(path, data, "observation_space"), space_of(path, data, "action_space"),  # type: ignore[arg-type]
        _features(path, weights, kwargs), use_sde, _number(kwargs.get("clip_mean"), 2.0),
        kwargs.get("normalize_images") is not False,
        algorithm in ("PPO", "A2C") and data.get("_last_original_obs") is not None,
    )  # fmt: skip
    _require_actions(agent)
    return agent


def mapping(value: Any) -> dict[str, Any]:
    """``value`` if it is one; {} for all else."""
    return value if isinstance(value, dict) else {}


def _number(value: Any, default: float) -> float:
    return float(value) if type(value) in (int, float) else default


def _algorithm(path: Path, data: Mapping[str, Any], weights: Weights) -> Any:
    """The algorithm, by the names of the tensors and by the arguments that only one algorithm has."""
    names = weights.keys()
    if any(".layers." in name for name in names):
        raise BadAgent(f"{path}: got a spiking policy, allowed are SB3's own; name the run folder of its life instead")
    if "top_quantiles_to_drop_per_net" in data or any("lstm" in name or "running_mean" in name for name in names):
        raise BadAgent(f"{path}: {_ONLY}")
    if {"action_net.weight", "value_net.weight"} <= names:
        return "PPO" if "clip_range" in data else "A2C"
    if any(name.startswith("q_net.q_net.") for name in names):
        return "DQN"
    if any(name.startswith("actor.latent_pi.") for name in names) or "actor.log_std.weight" in names:
        return "SAC"
    if any(name.startswith("actor.mu.") for name in names) and "actor.log_std" not in names:
        return "TD3"
    raise BadAgent(f"{path}: {_ONLY}")


_ONLY = "got an agent of another algorithm, allowed are SB3's PPO, A2C, DQN, SAC and TD3 with policies without memory"


def _activation(path: Path, algorithm: str, kwargs: Mapping[str, Any]) -> Any:
    default = "tanh" if algorithm in ("PPO", "A2C") else "relu"
    if (written := kwargs.get("activation_fn")) is None:
        return default
    known = {kind.__name__: name for name, kind in ACTIVATIONS.items()}
    if (name := _class_name(written)) not in known:
        raise BadAgent(f"{path}: got activation_fn {name}, allowed are {', '.join(known)}")
    return known[name]


def _class_name(written: Any) -> str:
    """``ReLU`` of ``<class 'torch.nn.modules.activation.ReLU'>``."""
    return re.sub(r"^<class '|'>$", "", str(written)).rpartition(".")[2]


def space_of(path: Path, data: Mapping[str, Any], name: str) -> spaces.Space[Any]:
    """The space ``name`` in the ``data`` of the agent in ``path``; BadAgent if it has no readable form."""
    try:
        return read_space(mapping(data.get(name)))
    except UnreadableSpace as error:
        raise BadAgent(f"{path}: {name}: {error}") from None


def _features(path: Path, weights: Weights, kwargs: Mapping[str, Any]) -> Any:
    given = kwargs.get("features_extractor_class")
    name = None if given is None else _class_name(given)
    if features := dict(below(weights, features_place(weights))):
        shapes = {key: tuple(value.shape[2:]) for key, value in features.items() if key.endswith("weight")}
        if shapes == _NATURE and name in (None, "NatureCNN"):
            return "nature_cnn"
    elif name in (None, "FlattenExtractor"):
        return "flatten"
    raise BadAgent(f"{path}: got {name or 'an unknown'} features extractor, allowed are FlattenExtractor and NatureCNN")


_NATURE = {"cnn.0.weight": (8, 8), "cnn.2.weight": (4, 4), "cnn.4.weight": (3, 3), "linear.0.weight": ()}
"""Kernels of NatureCNN."""


def features_place(weights: Weights) -> str:
    """The prefix of the acting network's features extractor."""
    places = ("pi_features_extractor", "features_extractor", "q_net.features_extractor", "actor.features_extractor")
    return next((place for place in places if any(True for _ in below(weights, place))), places[0])


def below(weights: Weights, place: str) -> Iterator[tuple[str, Tensor]]:
    """Tensors whose names begin with ``place``, and the rest of their names."""
    return ((name.removeprefix(f"{place}."), x) for name, x in weights.items() if name.startswith(f"{place}."))


def linears(weights: Weights, place: str) -> list[str]:
    """The names of all linear layers below ``place``, or of ``place`` itself, in order."""
    inside = [name.removesuffix(".weight") for name, _ in below(weights, place) if name.endswith("weight")]
    numbers = sorted(int(name) for name in inside if name.isdecimal())
    return [place] if f"{place}.weight" in weights else [f"{place}.{number}" for number in numbers]


def _net_arch(weights: Weights) -> dict[str, tuple[int, ...]]:
    widths = {
        role: tuple(len(weights[f"{name}.weight"]) for name in linears(weights, place)[: -1 if with_head else None])
        for role, place, with_head in _NETWORKS
        if any(True for _ in below(weights, place))
    }
    return {"pi": (), **widths}


_NETWORKS = (
    ("pi", "mlp_extractor.policy_net", False), ("vf", "mlp_extractor.value_net", False), ("pi", "q_net.q_net", True),
    ("pi", "actor.mu", True), ("pi", "actor.latent_pi", False), ("qf", "critic.qf0", True),
)  # fmt: skip
"""Role, place, and whether the last layer is a head; SAC's ``latent_pi`` takes precedence over its ``mu``."""


def acting_head(agent: SavedAgent) -> str:
    """The name of the acting network's last linear layer."""
    place = {"PPO": "action_net", "A2C": "action_net", "DQN": "q_net.q_net"}.get(agent.algorithm, "actor.mu")
    return linears(agent.weights, place)[-1]


def _require_actions(agent: SavedAgent) -> None:
    space = agent.action_space
    size = int(space.n) if isinstance(space, spaces.Discrete) else spaces.flatdim(space)
    found = len(agent.weights[f"{acting_head(agent)}.weight"])
    if isinstance(space, spaces.Discrete) != (agent.algorithm == "DQN") and agent.algorithm in ("DQN", "SAC", "TD3"):
        raise BadAgent(f"{agent.source}: got {agent.algorithm} with actions {space}, which SB3 does not support")
    if size != found:
        raise BadAgent(
            f"{agent.source}: got {found} outputs of its network, allowed are {size} for its actions {space}"
        )
