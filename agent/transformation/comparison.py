"""The indicators of a network before and after its compression."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.policies import BasePolicy
from torch import Tensor, nn

from snn4.agent.evaluation.accuracy import Batch, Recognizer, recognize
from snn4.agent.evaluation.indicators import measure, meter, spread, time_decisions
from snn4.agent.evaluation.joules import joules_per_decision
from snn4.agent.run.events import Score
from snn4.policies.compression.config import CompressionConfig
from snn4.policies.compression.quantization import Grid
from snn4.policies.compression.size import stored_bytes, synapse_count
from snn4.policies.networks.classifier import SpikingClassifier

BEFORE, AFTER = "before", "after"
ORIGINAL = "original"
"""The uncompressed classifier in the run folder: original.safetensors."""
METERED = 256
"""Samples on which operations are counted."""
DECISIONS = 100
"""Timed decisions of a classifier."""
TURNS = 2_000
"""Timed decisions of a policy."""
COSTS = (
    "spikes_per_decision", "effective_acs", "effective_macs", "dense_macs", "neuron_macs", "neuron_acs",
    "neuron_updates", "energy_joules", "parameters", "footprint_bytes", "connection_sparsity", "activation_sparsity",
)  # fmt: skip


def grid_of(config: CompressionConfig) -> Grid | None:
    """The grid of the weights; None if they stay float32."""
    return None if config.bits is None else Grid(config.bits, config.scale, config.power_of_two)


def indicators(
    network: SpikingClassifier, batches: Iterable[Batch], total: int, grid: Grid | None, steps: int | None = None
) -> dict[str, Any]:
    """Accuracy and costs of ``network`` on ``batches`` of ``total`` samples, after ``steps`` (None: all)."""
    recognizer = Recognizer(network, steps)
    recognition = recognize(network, batches, network.config.n_classes, steps)
    cost = meter(recognizer, spread(batches, total, METERED))
    samples = [x for part in spread(batches, total, 20) for x in part.split(1, dim=-4)]
    timings = [timing for timing in time_decisions(recognizer, samples, DECISIONS) if timing.threads == 1]
    fastest = min(timings, key=lambda timing: timing.median_milliseconds)
    return {
        "return_mean": recognition.top1[-1], "samples": total, "latency_steps": recognition.steps,
        "latency_seconds": fastest.median_milliseconds / 1e3, "energy_joules_measured": measure(recognizer, samples),
        **{name: getattr(cost, name) for name in COSTS},
        **size_of(network, grid),
    }  # fmt: skip


def policy_indicators(score: Score, acting: nn.Module, grid: Grid | None, steps: int, seconds: float) -> dict[str, Any]:
    """Return and costs of a policy whose ``acting`` modules decide in ``steps`` inner steps and ``seconds``."""
    return {**score, "latency_steps": steps, "latency_seconds": seconds, **size_of(acting, grid)}


def size_of(network: nn.Module, grid: Grid | None) -> dict[str, Any]:
    """Synapses, and the bytes and bits of a network whose weights lie on ``grid``."""
    return {
        "synapses": synapse_count(network), "bytes": stored_bytes(network, grid),
        "bits": 32 if grid is None else grid.bits,
    }  # fmt: skip


def seconds_per_decision(policies: Mapping[str, BasePolicy], observations: NDArray[Any]) -> dict[str, float]:
    """Median time of single deterministic decisions; the policies take turns on ``observations`` (N, …)."""
    seconds: dict[str, list[float]] = {name: [] for name in policies}
    for number in range(TURNS):
        x = observations[number % len(observations)]
        for name, policy in policies.items():
            started = time.perf_counter()
            policy.predict(x, deterministic=True)
            seconds[name].append(time.perf_counter() - started)
    return {name: float(np.median(times[TURNS // 10 :])) for name, times in seconds.items()}


def joules(policy: BasePolicy, observations: NDArray[Any]) -> float | str:
    """Of a deterministic decision on this machine, or why they are unknown."""
    return joules_per_decision(lambda: lambda: policy.predict(observations[0], deterministic=True))


def first_of(batches: Iterable[tuple[Tensor, ...]], images: int) -> list[Tensor]:
    """The inputs of ``batches`` until there are ``images`` of them."""
    found: list[Tensor] = []
    for x, *_ in batches:
        found.append(x)
        if sum(part.shape[-4] for part in found) >= images:
            break
    return found


def lines(config: Mapping[str, Any]) -> Sequence[str]:
    """What was done, in words; ``config`` is the plain `CompressionConfig`."""
    parts = []
    if config["shrink"]:
        parts.append(f"{config['shrink']:.0%} of the neurons of each hidden layer removed")
    if config["pattern"]:
        parts.append(f"synapses kept in the pattern {config['pattern']}")
    elif config["prune"]:
        parts.append(f"{config['prune']:.0%} of the synapses of each layer removed")
    if config["bits"]:
        scale = "power-of-two scales" if config["power_of_two"] else "scales"
        parts.append(f"weights of {config['bits']} bits, with {scale} per {config['scale']}")
    if config["spike_cost"]:
        parts.append(f"a cost of {config['spike_cost']:g} on the mean spike rate")
    return parts
