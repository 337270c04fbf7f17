"""The target ``lava``: a bundle that runs under Lava as it is, and says what it needs on a chip."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray

from snn4.agent.export.integers import calibration, integers_of
from snn4.agent.export.normalizing import EPSILON, LIMIT
from snn4.agent.export.source import PolicySource, Source
from snn4.agent.run.provenance import commit, installed_version
from snn4.envs.world import TaskConfig
from snn4.policies.export.bundle import write_bundle
from snn4.policies.export.card import card
from snn4.policies.export.lava import SAMPLES, network_files, npz
from snn4.policies.export.netx import net_file
from snn4.policies.metering.meter import Meter

KEPT_OBSERVATIONS, KEPT_IMAGES = 200, 20
"""Samples in a bundle."""
CARD, NET = "DEPLOY.md", "network.net"


def write_lava(source: Source, run: str, out: Path, bits: int = 8) -> None:
    """Write the bundle of ``source`` into the new folder ``out``, completely or not at all.

    Args:
        run: where it comes from, as it was typed: `verify` looks there for the trained network.
        bits: of a weight.

    Raises:
        ModelError: Loihi cannot compute the network; the message names the layer.
    """
    network = integers_of(source, bits)
    samples = calibration(source)[: KEPT_OBSERVATIONS if isinstance(source, PolicySource) else KEPT_IMAGES]
    signal = source.description.encode(samples)
    files, described = network_files(network, _code(source))
    about = {**_about(source, run), **described}
    coded = {} if network.coding == "direct" else {"signal": signal.astype(np.int8)}
    files[SAMPLES] = npz({"inputs": samples, **coded})
    files[CARD] = card(network, signal, about, _joules(source, samples)).encode()
    if (net := net_file(network)) is not None:
        files[NET] = net
    write_bundle(out, files, about)


def _about(source: Source, run: str) -> dict[str, Any]:
    policy = isinstance(source, PolicySource)
    return {
        "target": "lava",
        "name": source.name,
        "run": run,
        "task": source.task.name if policy else None,  # type: ignore[union-attr]
        **commit(),
        "version": installed_version("snn4-agent"),
        "environment": _environment(source) if policy else None,  # type: ignore[arg-type]
        "normalization": _normalization(source) if policy else None,  # type: ignore[arg-type]
    }


def _environment(source: PolicySource) -> dict[str, Any] | None:
    """What `gymnasium.make` needs; None for environments that are not Gymnasium's own, or varied."""
    task: TaskConfig = source.task
    if task.data is not None or task.variation is not None or task.environment not in gymnasium.registry:
        return None
    entry = str(gymnasium.spec(task.environment).entry_point)
    if not entry.startswith("gymnasium.") or not isinstance(source.policy.observation_space, spaces.Box):
        return None
    return {"id": task.environment, "kwargs": dict(task.kwargs)}


def _code(source: Source) -> dict[str, NDArray[Any]]:
    """The parameters of a population code."""
    if not isinstance(source, PolicySource) or source.description.coding.kind != "population":
        return {}
    encoder = source.policy.acting_layers().body.encoder  # type: ignore[operator, union-attr]
    return {name: getattr(encoder, name).detach().cpu().numpy() for name in ("centres", "log_widths")}


def _normalization(source: PolicySource) -> dict[str, Any] | None:
    """Of observations, as SB3's `VecNormalize` does it by default."""
    if source.normalization is None:
        return None
    statistics = source.normalization["observation"]
    return {
        "mean": statistics["mean"].ravel().tolist(), "var": statistics["var"].ravel().tolist(), "epsilon": EPSILON,
        "clip": LIMIT,
    }  # fmt: skip


def _joules(source: Source, samples: NDArray[Any]) -> dict[str, float | None]:
    """Energy of a decision of the trained network at 45 nm, by model."""
    x = torch.from_numpy(samples)
    if isinstance(source, PolicySource):
        with Meter(source.policy) as meter, torch.no_grad():
            source.policy._predict(x.reshape(-1, *(source.policy.observation_space.shape or ())), deterministic=True)
    else:
        with Meter(source.network) as meter, torch.no_grad():
            source.network(x)
    return {name: joules for name, joules in meter.cost().energy_joules.items() if name.startswith("45nm")}
