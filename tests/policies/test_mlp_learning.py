"""All layers as one function (`mlp._FusedLayers`) against the same layers one by one in torch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from snn4.policies.acting.mlp import SpikingMLP
from snn4.policies.coding import CodingConfig
from snn4.policies.neurons import Neuron, NeuronConfig


def make(kind: Any = "lif", coding: Any = "direct", readout: str = "rate", **neuron: Any) -> SpikingMLP:
    torch.manual_seed(0)
    config = NeuronConfig(kind=kind, v_threshold=0.5, tau_mem=5e-3, **neuron)
    return SpikingMLP(3, (16, 12), T=5, neuron=config, coding=CodingConfig(kind=coding), readout=readout)


def one_by_one(net: SpikingMLP, x: Tensor) -> Tensor:
    return net.decoder(net.spikes(x)[-1])


def results(function: Any, net: SpikingMLP, x: Tensor) -> list[Tensor]:
    x = x.clone().requires_grad_()
    y = function(x)
    gradient = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
    return [y.detach(), *torch.autograd.grad(y, [x, *net.parameters()], gradient)]


@pytest.mark.parametrize(
    ("kind", "coding", "readout", "neuron"),
    [
        ("lif", "direct", "rate", {}),
        ("lif", "population", "weighted", {"reset": "hard", "v_reset": -0.2}),
        ("cuba", "direct", "membrane", {"v_leak": 0.1}),
        ("alif", "direct", "weighted", {"surrogate": "triangle", "slope": 1.0}),
        ("multi", "population", "rate", {"v_leak": 0.1, "r": 20.0}),
    ],
)
def test_outputs_and_gradients_are_those_of_the_layers(
    kind: str, coding: str, readout: str, neuron: dict[str, Any]
) -> None:
    net, x = make(kind, coding, readout, **neuron), torch.randn(9, 3, generator=torch.Generator().manual_seed(2))
    got, wanted = results(net, net, x), results(lambda x: one_by_one(net, x), net, x)
    assert got[0].abs().sum() > 0
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_second_derivatives_are_those_of_the_layers() -> None:
    """Of a penalty on first ones, as TRPO and gradient penalties need them, also through the input."""
    net, x = make("lif", "direct", "weighted"), torch.randn(9, 3, generator=torch.Generator().manual_seed(2))
    told = []
    for function in (net, lambda x: one_by_one(net, x)):
        seen = x.clone().requires_grad_()
        wanted = [seen, *net.parameters()]
        first = torch.autograd.grad(function(2 * seen).square().sum(), wanted, create_graph=True)
        told.append(torch.autograd.grad(sum(grad.square().sum() for grad in first), wanted, allow_unused=True))
    assert sum(float(grad.abs().sum()) for grad in told[1] if grad is not None) > 0
    for one, other in zip(*told, strict=True):
        assert (one is None) == (other is None)
        if other is not None:
            torch.testing.assert_close(one, other, atol=1e-3 * float(other.abs().max()) + 1e-6, rtol=1e-3)


def test_graphs_of_gradients_change_no_gradient() -> None:
    """Of weights that two layers share and that a hook halves, once."""
    net, calls = SpikingMLP(6, (6, 6), T=3, neuron=NeuronConfig(tau_mem=5e-3, v_threshold=0.5)), []
    shared = net.layers[2].weight = net.layers[0].weight
    shared.register_hook(lambda grad: (calls.append(1), 0.5 * grad)[1])
    x = torch.randn(9, 6, generator=torch.Generator().manual_seed(2))
    told = []
    for function, again in ((net, False), (net, True), (lambda x: one_by_one(net, x), True)):
        told += torch.autograd.grad(function(x).square().sum(), [shared], create_graph=again)
    assert len(calls) == 3
    torch.testing.assert_close(told[1], told[0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(told[2], told[0], atol=1e-5, rtol=1e-4)


def test_recomputed_by_torch_s_checkpoints() -> None:
    net, x = make("lif", "direct", "rate"), torch.randn(9, 3, generator=torch.Generator().manual_seed(2))
    told = results(lambda x: checkpoint(net, x, use_reentrant=False), net, x)
    assert all(torch.equal(one, other) for one, other in zip(told, results(net, net, x), strict=True))


@pytest.mark.parametrize("learns", [True, False])
def test_a_batch_of_none(learns: bool) -> None:
    net = make("lif", "direct", "rate")
    with torch.set_grad_enabled(learns):
        assert net(torch.zeros(0, 3)).shape == one_by_one(net, torch.zeros(0, 3)).shape


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("learns", [True, False])
def test_a_traced_network_goes_on_deciding(learns: bool) -> None:
    net, seen, other = make("lif", "direct", "rate"), torch.randn(5, 3), 2 * torch.randn(40, 3)
    with torch.set_grad_enabled(learns):
        traced = torch.jit.trace(net, seen)
        torch.testing.assert_close(traced(other), net(other))
        assert len(traced(other).unique(dim=0)) > 5


def graph(y: Tensor) -> str:
    return type(y.grad_fn).__name__


def test_used_only_where_nothing_else_is_learned_or_watched() -> None:
    x = torch.randn(20, 3)
    assert "FusedLayers" in graph(make()(x))
    assert "FusedLayers" not in graph(make("plif")(x))
    assert "FusedLayers" not in graph(make(readout="first_spike")(x))
    net = make()
    layer = next(layer for layer in net.layers if isinstance(layer, Neuron))
    seen: list[int] = []
    hook = layer.register_forward_hook(lambda *_: seen.append(1))
    assert "FusedLayers" not in graph(net(x))
    assert seen
    hook.remove()
    assert "FusedLayers" in graph(net(x))
    with torch.autocast("cpu", torch.bfloat16):
        assert "FusedLayers" not in graph(net(x))
    assert "FusedLayers" not in graph(net.double()(x.double()))


def test_gradients_of_frozen_parameters_are_not_asked_for() -> None:
    net = make()
    net.layers[0].requires_grad_(False)
    net(torch.randn(4, 3)).sum().backward()
    assert net.layers[0].weight.grad is None
    assert net.layers[2].weight.grad is not None
