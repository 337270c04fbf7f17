"""NIR graphs, computed as their definition says: forward Euler steps in float64, node by node."""

from __future__ import annotations

from typing import Any

import nir
import numpy as np
import torch
from torch.nn import functional as F

DT = 1e-4


def euler(graph: Any, signal: Any) -> Any:
    """Outputs (T, …) of ``graph`` for the ``signal`` (T, …) of one sample, from rest; nodes may come in any order."""
    sources = {name: [a for a, b in graph.edges if b == name] for name in graph.nodes}
    states: dict[str, Any] = {name: {} for name in graph.nodes}
    outputs = []
    for x in np.asarray(signal, np.float64):
        values: dict[str, Any] = {}
        while len(values) < len(graph.nodes):
            for name, node in graph.nodes.items():
                if name not in values and all(source in values for source in sources[name]):
                    inputs = sum(values[source] for source in sources[name]) if sources[name] else x
                    values[name] = step(node, inputs, states[name])
        outputs.append(next(values[name] for name, node in graph.nodes.items() if isinstance(node, nir.Output)))
    return np.stack(outputs)


def step(node: Any, x: Any, state: dict[str, Any]) -> Any:
    """One step of ``node``."""
    match node:
        case nir.Affine():
            return node.weight @ x + node.bias
        case nir.Linear():
            return node.weight @ x
        case nir.Scale():
            return node.scale * x
        case nir.Flatten():
            return x.reshape(-1)
        case nir.Conv2d():
            arguments = (node.stride, node.padding, node.dilation, node.groups)
            *pairs, groups = [np.asarray(value).tolist() for value in arguments]
            tensors = (torch.from_numpy(np.asarray(value, np.float64)) for value in (x, node.weight, node.bias))
            return F.conv2d(*tensors, *pairs, groups).numpy()
        case nir.SumPool2d() | nir.AvgPool2d():
            size, stride, padding = (np.asarray(v).tolist() for v in (node.kernel_size, node.stride, node.padding))
            mean = F.avg_pool2d(torch.from_numpy(x), size, stride, padding).numpy()
            return mean * np.prod(size) if isinstance(node, nir.SumPool2d) else mean
        case nir.I():
            state["v"] = state.get("v", 0) + node.r * x
            return state["v"]
        case nir.LI() | nir.LIF() | nir.CubaLIF() | nir.IF():
            return neurons(node, x, state)
    return x


def neurons(node: Any, x: Any, state: dict[str, Any]) -> Any:
    v = state.get("v", np.zeros(node.r.shape) + getattr(node, "v_leak", 0))
    if isinstance(node, nir.IF):
        v = v + node.r * x
    elif isinstance(node, nir.CubaLIF):
        i = state.get("i", np.zeros(node.r.shape))
        state["i"] = i + DT / node.tau_syn * (node.w_in * x - i)
        v = v + DT / node.tau_mem * (node.v_leak - v + node.r * state["i"])
    else:
        v = v + DT / node.tau * (node.v_leak - v + node.r * x)
    if isinstance(node, nir.LI):
        state["v"] = v
        return v
    spikes = v > node.v_threshold
    state["v"] = np.where(spikes, node.v_reset, v)
    return spikes.astype(np.float64)
