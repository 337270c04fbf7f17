"""Random networks, and their engine beside the same layers in torch.

Weights and inputs are multiples of powers of two, so that sums of currents are exact whatever their order.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from snn4.policies.acting.mlp import SpikingMLP
from snn4.policies.engine.event_driven import EVENT_DRIVEN_BATCH, EventDriven
from snn4.policies.neurons import NeuronConfig

LIVELY: dict[str, Any] = {"tau_mem": 5e-3, "v_threshold": 0.5, "tau_more": (2e-3, 30e-3), "tau_spread": 3.0}
KINDS = ["lif", "cuba", "alif", "multi", "plif"]


def make(net_arch: tuple[int, ...] = (24, 16), neuron: NeuronConfig | None = None, **more: Any) -> SpikingMLP:
    """A random network, lively in all layers, with weights that are multiples of 1/256."""
    torch.manual_seed(0)
    net = SpikingMLP(5, net_arch, neuron=neuron or NeuronConfig(**LIVELY), **more)
    with torch.no_grad():
        for linear in (layer for layer in net.layers if isinstance(layer, nn.Linear)):
            linear.weight.copy_((linear.weight * 2 * 256).round() / 256)
            linear.bias.copy_((linear.bias * 256).round() / 256)
    return net


def observations(n: int, seed: int = 1) -> Tensor:
    return (torch.randn(n, 5, generator=torch.Generator().manual_seed(seed)) * 32).round() / 16


def engine_of(net: SpikingMLP) -> EventDriven:
    assert net.event_driven is not None
    assert net.event_driven.runs(net.layers, net.decoder)
    return net.event_driven


@torch.no_grad()
def assert_same_spikes(net: SpikingMLP, x: Tensor, lively: bool = True) -> None:
    torch.manual_seed(2)
    expected = net.spikes(x)
    torch.manual_seed(2)  # a random code draws the same numbers again
    got = engine_of(net).spikes(net.encoder(x).numpy())
    for layer, (a, b) in enumerate(zip(got, expected, strict=True)):
        assert torch.equal(torch.from_numpy(a).float(), b), f"layer {layer}"
        assert not lively or 0.02 < b.mean() < 0.98, f"layer {layer}"


def acts(net: SpikingMLP, x: Tensor) -> Tensor:
    """Its decisions, as the engine takes them."""
    with torch.no_grad():
        return torch.cat([net(part) for part in x.split(EVENT_DRIVEN_BATCH)])
