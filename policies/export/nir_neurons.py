"""Neurons of NIR and of this project, in both directions.

NIR's neurons are differential equations. All libraries that read them take forward Euler steps of ``DT``::

    LIF      v <- v + DT / tau * (v_leak - v + r * I)
    CubaLIF  i <- i + DT / tau_syn * (w_in * I - i),  then v as a LIF of i, with tau_mem
    IF       v <- v + r * I                                                   the libraries do not multiply by DT
    all      spike if v > v_threshold, then v = v_reset

A decay of this project is ``1 - DT / tau``. Its neurons spike at ``v >= v_threshold``: in float32, that is ``v >`` the
number before the threshold, which is the threshold in NIR.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from snn4.policies.export.description import Layer, Neurons, NotExportable
from snn4.policies.export.nir_library import nir
from snn4.policies.export.scales import Doubles
from snn4.policies.neurons import NEVER_LEAK, NeuronConfig

DT = 1e-4
"""Step of NIR's neurons, seconds: snnTorch knows no other."""
NEAREST = {"alif": "lif", "multi": "lif", "signed_if": "if"}
"""Neurons that NIR does not have, and the nearest that it has."""
SOFT, START = "soft", "v_initial"
"""In the metadata of a node: the reset, which NIR does not have; and the membrane from which neurons start."""


class NotImportable(ValueError):
    """A NIR graph, or a part of it, that cannot become a network of this project."""


def require_expressible(layer: Layer, soft_reset: bool) -> None:
    """NotExportable if NIR has no such neurons as ``layer``; with ``soft_reset``, their reset may be another."""
    config = layer.part.config  # type: ignore[union-attr]
    if config.kind in NEAREST:
        near = NEAREST[config.kind]
        raise NotExportable(f"{layer.name}: got neurons of kind {config.kind}, allowed are lif, cuba, plif, if; NIR "
                            f"has no others, and the nearest is {near}: train with neuron.kind={near}")  # fmt: skip
    if config.reset == SOFT and not soft_reset:
        raise NotExportable(f"{layer.name}: got neurons with reset: soft, allowed is hard, because NIR's neurons are "
                            "set to v_reset; train with neuron.reset=hard, or let only the metadata tell of the reset, "
                            "which other programs do not read: --allow-soft-reset")  # fmt: skip


def wish(neurons: Neurons) -> Doubles:
    """The factor of the inputs of NIR's neuron with r = 1 (CubaLIF: r = tau_mem / DT, w_in = tau_syn / DT)."""
    c = neurons.config
    if c.kind in NEVER_LEAK:
        return np.array(1.0 if c.r is None else c.r)
    lost = _lost(neurons)
    if c.kind == "cuba":
        return np.array(1.0) if c.r is None else lost * c.r * -math.expm1(-c.dt / c.tau_syn)
    return 1 / lost if c.r is None else np.array(float(c.r))


def to_node(neurons: Neurons, shape: tuple[int, ...], factor: Doubles) -> nir.NIRNode:
    """NIR's node for ``neurons`` of ``shape``, whose inputs still have to be multiplied by ``factor``."""
    c = neurons.config

    def full(value: Any) -> Doubles:
        return np.broadcast_to(np.asarray(value, np.float64), shape).copy()

    known = _about(c)
    if c.kind in NEVER_LEAK:
        # NIR's IF starts from 0: the membrane is written relative to where it starts, or the metadata says it.
        start = 0.0 if c.reset == SOFT else c.v_leak
        known |= {START: c.v_leak} if c.v_leak and c.reset == SOFT else {}
        ends = {"v_threshold": full(_before(c.v_threshold - start)), "v_reset": full(c.v_reset - start)}
        return nir.IF(r=full(factor), **ends, metadata=known)
    ends = {"v_threshold": full(_before(c.v_threshold)), "v_reset": full(c.v_reset), "v_leak": full(c.v_leak)}
    tau = DT / _lost(neurons)
    if c.kind == "cuba":
        tau_syn = DT / -math.expm1(-c.dt / c.tau_syn)
        w_in = full(factor) * tau_syn / DT
        return nir.CubaLIF(
            tau_syn=full(tau_syn), tau_mem=full(tau), r=full(tau / DT), w_in=w_in, **ends, metadata=known
        )
    return nir.LIF(tau=full(tau), r=full(factor), **ends, metadata=known)


def _lost(neurons: Neurons) -> Doubles:
    """Fraction of the membrane that leaks in one step."""
    c = neurons.config
    if c.kind == "plif":
        return short(1 - neurons.decay.astype(np.float64))
    return np.array(-math.expm1(-c.dt / c.tau_mem))


def _before(threshold: float) -> float:
    return float(np.nextafter(np.float32(threshold), np.float32(-np.inf)))


def _after(threshold: float) -> float:
    return float(np.nextafter(np.float32(threshold), np.float32(np.inf)))


def _about(c: NeuronConfig) -> dict[str, Any]:
    """What a network needs to learn on as before; nothing of it changes what it computes, except a soft reset."""
    known: dict[str, Any] = {"kind": c.kind, "step_seconds": c.dt, "surrogate": c.surrogate, "slope": c.slope}
    known |= {"r_before": c.r} if c.r is not None else {}
    return known | ({"reset": SOFT} if c.reset == SOFT else {})


class Imported(NamedTuple):
    """Neurons of a NIR node."""

    neurons: Neurons
    wish: Doubles
    """What the inputs have to be multiplied by."""


def of_node(name: str, node: Any, dt: float) -> Imported:
    """The neurons of ``node``: LIF, CubaLIF, IF or LI.

    Raises:
        NotImportable: they cannot be had in this project, or have impossible values; the message names the node.
    """
    try:
        return _of_node(name, node, dt)
    except ValueError as error:
        raise error if isinstance(error, NotImportable) else NotImportable(f"{name}: {error}") from error


def _of_node(name: str, node: Any, dt: float) -> Imported:
    known = {key: value.item() if isinstance(value, np.generic) else value for key, value in node.metadata.items()}
    config, unit = _with_ends(name, node, _learned(node, known, dt), known)
    if isinstance(node, nir.IF):
        gain = 1.0 if config.r is None else config.r
        return Imported(Neurons(config, np.ones(1, np.float32)), short(node.r / unit / gain))
    if not isinstance(node, nir.CubaLIF):
        lost = _lost_in_step(name, "tau", node, dt)
        return _leaking(name, config, lost, lost * node.r / unit)
    lost, lost_current = _lost_in_step(name, "tau_mem", node, dt), _lost_in_step(name, "tau_syn", node, dt)
    config = dataclasses.replace(config, tau_syn=_tau(_same(name, "tau_syn", lost_current), config.dt))
    return _leaking(name, config, lost, lost * node.r * lost_current * node.w_in / unit)


def _learned(node: Any, known: Mapping[str, Any], dt: float) -> NeuronConfig:
    """What the metadata say of learning, and the kind of neuron."""
    kinds: dict[Any, Any] = {nir.IF: "if", nir.CubaLIF: "cuba", nir.LI: "li"}
    kind = kinds.get(type(node), "plif" if known.get("kind") == "plif" else "lif")
    names = {"step_seconds": "dt", "r_before": "r", "reset": "reset", "surrogate": "surrogate", "slope": "slope"}
    found = {names[key]: value for key, value in known.items() if key in names}
    return NeuronConfig(kind, **{"dt": dt, "reset": "hard", **found})


def _with_ends(name: str, node: Any, config: NeuronConfig, known: Mapping[str, Any]) -> tuple[NeuronConfig, Doubles]:
    """``config`` with threshold, reset and leak; and the unit of each neuron's membrane, where thresholds differ."""
    if isinstance(node, nir.LI):
        return dataclasses.replace(config, v_leak=_same(name, "v_leak", node.v_leak)), np.array(1.0)
    unit = short(node.v_threshold / node.v_threshold.flat[0])
    if not (unit > 0).all():
        raise NotImportable(f"{name}: got v_threshold of both signs, or 0, allowed are numbers of one sign")
    leak = np.array(known.get(START, 0.0)) if isinstance(node, nir.IF) else node.v_leak
    leak, reset = _same(name, "v_leak", leak / unit), _same(name, "v_reset", node.v_reset / unit)
    threshold = _after(node.v_threshold.flat[0])
    return dataclasses.replace(config, v_threshold=threshold, v_leak=leak, v_reset=reset), unit


def _leaking(name: str, config: NeuronConfig, lost: Doubles, inputs: Doubles) -> Imported:
    """Neurons that lose the fraction ``lost`` of their membrane in a step, and multiply their ``inputs``."""
    if lost.ndim and config.kind == "lif":
        config = dataclasses.replace(config, kind="plif")
    if config.kind != "plif":
        config = dataclasses.replace(config, tau_mem=_tau(_same(name, "tau", lost), config.dt))
        currents = -math.expm1(-config.dt / config.tau_syn) if config.kind == "cuba" and config.r is not None else 1.0
        return Imported(Neurons(config, np.full(1, config.decay, np.float32)), short(inputs / (config.gain * currents)))
    decay = (1 - lost).astype(np.float32).reshape(lost.shape or (1,))
    if not ((decay > 0) & (decay < 1)).all():
        raise NotImportable(f"{name}: got tau of one step, or of far more, allowed is neither where taus differ")
    config = dataclasses.replace(config, tau_mem=_tau(float(lost.mean()), config.dt))
    return Imported(Neurons(config, decay), short(inputs if config.r is None else inputs / (lost * config.r)))


def with_gain(neurons: Neurons, factor: Doubles) -> Neurons | None:
    """``neurons`` that multiply their inputs by ``factor`` besides; None if they cannot."""
    c, most = neurons.config, float(factor.flat[0])
    if factor.ndim or (c.r is None and c.kind == "plif"):
        return None
    if c.r is not None:
        r = c.r * most
    elif c.kind in NEVER_LEAK:
        r = most
    else:
        r = most / ((1 - c.decay) * (-math.expm1(-c.dt / c.tau_syn) if c.kind == "cuba" else 1.0))
    return neurons._replace(config=dataclasses.replace(c, r=r))


def _lost_in_step(name: str, tau: str, node: Any, dt: float) -> Doubles:
    values = getattr(node, tau)
    if not (np.isfinite(values) & (values >= dt * (1 - 1e-9))).all():
        raise NotImportable(f"{name}: got {tau} {values.min()}, allowed are finite numbers >= dt ({dt})")
    return short(np.minimum(dt / values, 1.0))


def _tau(lost: float, dt: float) -> float:
    """The time constant, in seconds, with which a membrane loses this fraction in a step ``dt``."""
    return float(f"{-dt / math.log1p(-lost):.12g}") if lost < 1 else dt / 1000  # exp(-1000) is 0


def _same(name: str, field: str, values: Doubles) -> float:
    first = float(values.flat[0])
    if not np.allclose(values, first, rtol=1e-6, atol=1e-9):
        raise NotImportable(f"{name}: got {field} from {values.min()} to {values.max()}, allowed is the same for all")
    return first


def short(values: Doubles) -> Doubles:
    """``values`` as () if all are the same, as (C, 1, 1) if all of each channel are."""
    values = np.asarray(values, np.float64)
    if (values == values.flat[0]).all():
        return np.array(values.flat[0])
    channels = values[:, :1, :1] if values.ndim == 3 else values
    return np.ascontiguousarray(channels if (values == channels).all() else values)
