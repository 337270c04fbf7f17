"""The plain arrays of a policy of stable-baselines3 that this project has built."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.common.vec_env import VecNormalize
from torch import nn

from snn4.policies.acting.deciding import Deciding
from snn4.policies.acting.memory import Memory as CarryingBody
from snn4.policies.acting.mlp import SpikingMLP
from snn4.policies.coding import plain_code
from snn4.policies.deploy.network import Head, Memory, Network, Statistics
from snn4.policies.engine.plain import Code, Floats
from snn4.policies.export.description import NotExportable
from snn4.policies.export.normalization import Normalization
from snn4.policies.finite import require_finite
from snn4.policies.recurrent import SpikingRecurrentPolicy


def network_of(policy: Any, normalization: Any = None) -> Network:
    """The acting part of ``policy``; see `snn4.policies.deploy.save`."""
    extractor, body, head, squashed = _parts(policy)
    if type(extractor) is not FlattenExtractor:
        raise NotExportable(f"observations: got {type(extractor).__name__}, allowed are values without an encoder")
    if type(body) not in (SpikingMLP, CarryingBody) or type(head) is not nn.Linear or head.bias is None:
        got = f"{type(body).__name__} and {type(head).__name__}"
        raise NotExportable(f"policy: got {got}, allowed are spiking layers and one linear head")
    space = policy.observation_space
    if not isinstance(space, spaces.Box) or (policy.normalize_images and is_image_space(space)):
        raise NotExportable(f"observation_space: got {space}, allowed is a Box that is no image")
    require_finite(policy.modules())
    engine = _engine(body)
    return Network(
        space.shape, engine.plain_layers(), _floats(engine.decoder.weights), _code(policy, body),
        _head(head, policy.action_space, squashed), _statistics(normalization, space.shape),
        _memory(body) if isinstance(body, CarryingBody) else None,
    )  # fmt: skip


def _parts(policy: Any) -> tuple[Any, Any, Any, bool]:
    if isinstance(policy, Deciding):
        return policy.acting_layers()
    if isinstance(policy, SpikingRecurrentPolicy):
        return policy.pi_features_extractor, policy.lstm_actor, policy.action_net, False
    raise NotExportable(f"policy: got {type(policy).__name__}, allowed are the spiking policies of this project")


def _engine(body: Any) -> Any:
    """The event-driven engine of ``body``, with which its policy acts."""
    if getattr(body, "residues", None) is not None:
        raise NotExportable("residual: got True, allowed is False")
    if body.event_driven is None:
        allowed = "readout rate, membrane or weighted, and backend torch"
        raise NotExportable(f"policy: got first_spike, or neurons of another library; allowed are {allowed}")
    if any(neuron.dynamics.signed for neuron in body.event_driven.neurons):
        raise NotExportable("neuron: got kind signed_if, allowed are all other kinds; convert with neuron: if")
    return body.event_driven


def _code(policy: Any, body: Any) -> Code:
    if isinstance(body, CarryingBody):
        return Code("direct", {}, *[np.zeros(0, np.float32)] * 2)
    code = plain_code(body.encoder, policy.spiking["coding"])
    if code is None:
        raise NotExportable("coding.deterministic: got False, allowed with kind rate is True: its spikes are random")
    return code


def _head(head: nn.Linear, space: spaces.Space[Any], squashed: bool) -> Head:
    weight, bias = _floats(head.weight), _floats(head.bias)
    if isinstance(space, spaces.Discrete):
        return Head(weight, bias, "discrete", np.zeros(0, np.float32), np.zeros(0, np.float32))
    if isinstance(space, spaces.Box):
        return Head(weight, bias, "squashed" if squashed else "clipped", space.low, space.high)
    raise NotExportable(f"action_space: got {space}, allowed are Box and Discrete")


def _statistics(normalization: Any, shape: tuple[int, ...]) -> Statistics | None:
    if isinstance(normalization, Normalization):
        mean, std = (values.reshape(shape) for values in (normalization.mean, normalization.std))
        clip = np.inf if normalization.clip is None else normalization.clip
        return Statistics(mean, std, np.array(clip))
    if isinstance(normalization, VecNormalize) and normalization.norm_obs:
        seen: Any = normalization.obs_rms
        return Statistics(seen.mean, np.sqrt(seen.var + normalization.epsilon), np.array(normalization.clip_obs, float))
    if normalization is None or isinstance(normalization, VecNormalize):
        return None
    raise TypeError(
        f"normalization: got {type(normalization).__name__}, allowed is VecNormalize, Normalization or None"
    )


def _memory(body: CarryingBody) -> Memory:
    integrators = [(neuron.dynamics.decay[0], neuron.dynamics.gain[0]) for neuron in (*body.dendrites, body.layers[-1])]  # type: ignore[union-attr, index]
    return Memory(
        np.array(integrators[:-1], np.float32).reshape(-1, 2), np.array(body.gain, np.float32),
        np.array(integrators[-1], np.float32),
    )  # fmt: skip


def _floats(x: Any) -> Floats:
    return np.ascontiguousarray(x.detach().numpy(), np.float32)
