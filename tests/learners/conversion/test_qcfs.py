from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from ann_modules import LARGE, SMALL, Plain, images, seasoned
from torch import Tensor, nn

from snn4.learners.conversion import qcfs
from snn4.learners.conversion.conversion import ConversionConfig, converting, graph_of
from snn4.learners.conversion.networks import artificial
from snn4.learners.conversion.qcfs import QuantizedReLU, learned_sizes, quantize
from snn4.learners.conversion.scaling import scaled
from snn4.learners.conversion.tracing import trace
from snn4.policies.networks.graph import GraphConfig
from snn4.policies.neurons import Neuron, NeuronConfig


@pytest.fixture
def without_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qcfs, "is_fused", lambda: False)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return 1.5 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def with_gradients(layer: QuantizedReLU, x: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    x = x.clone().requires_grad_()
    y = layer(x)
    grads = torch.autograd.grad((y * weights).sum(), [x, layer.size])
    return y.detach(), *grads


def by_formula(layer: QuantizedReLU, x: Tensor) -> Tensor:
    """``size * clip(floor(x * levels / size + 1/2) / levels, 0, 1)``, value by value."""
    size = layer.size.detach().view(-1, *(1,) * (x.dim() - 2)).expand(x.shape[1:])
    return (size * ((x * layer.levels / size + 0.5).floor() / layer.levels).clamp(0, 1)).to(x.dtype)


SHAPES: list[tuple[int, ...]] = [(5, 4), (3, 4, 5, 6), (1, 4, 1, 1), (200, 4), (0, 4)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("levels", [1, 4])
def test_the_formula(shape: tuple[int, ...], levels: int) -> None:
    layer, x = QuantizedReLU(torch.tensor([0.5, 1.0, 2.0, 3.7]), levels), drawn(*shape)
    torch.testing.assert_close(layer(x), by_formula(layer, x))


@pytest.mark.parametrize("shape", SHAPES[:-1])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_kernel_against_the_plain_formula_and_autograd(
    shape: tuple[int, ...], layout: torch.memory_format, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No value is at the edge between two levels, so that values are equal, and sums of gradients near."""
    if layout is torch.channels_last and len(shape) != 4:
        return
    layer = QuantizedReLU(torch.tensor([0.5, 1.0, 2.0, 3.7]), 4)
    x, weights = drawn(*shape).contiguous(memory_format=layout), drawn(*shape, seed=1)
    fused = with_gradients(layer, x, weights)
    monkeypatch.setattr(qcfs, "is_fused", lambda: False)
    plain = with_gradients(layer, x, weights)
    for got, want in zip(fused, plain, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5 * max(1.0, float(want.abs().max())))


def test_gradients_by_differences(without_kernel: None) -> None:
    """Of the activation without its floor: inside, the gradient is that of the identity; above, that of the size."""
    size = torch.tensor([2.0])
    x = torch.tensor([[-1.0], [0.3], [1.9], [2.5]])
    _, grad_x, grad_size = with_gradients(QuantizedReLU(size, 4), x, torch.ones_like(x))
    assert grad_x.flatten().tolist() == [0, 1, 1, 0]
    # floor(u * 4 + 1/2) / 4 - u of the values inside, and 1 of the one above
    assert float(grad_size) == pytest.approx((0.25 - 0.15) + (1.0 - 0.95) + 1)


def test_a_neuron_has_this_rate_for_a_constant_current() -> None:
    x, levels = drawn(6, 3), 5
    layer = QuantizedReLU(torch.tensor([0.6, 1.0, 2.5]), levels)
    for kind in ("if", "signed_if"):
        spikes, _ = Neuron(NeuronConfig(kind, v_leak=0.5))((x / layer.size).unsqueeze(0), steps=levels)  # type: ignore[arg-type]
        torch.testing.assert_close(spikes.mean(0) * layer.size, layer(x))


def test_half_precision_comes_out_as_float32() -> None:
    layer, x = QuantizedReLU(torch.ones(4), 4), drawn(5, 4)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x.bfloat16())
    assert y.dtype == torch.float32
    torch.testing.assert_close(y, layer(x.bfloat16().float()))


def test_a_size_that_learning_turns_below_zero() -> None:
    """Its sign is dropped when the network is converted; until then its values are finite."""
    layer = QuantizedReLU(torch.tensor([-0.5]), 4)
    assert torch.isfinite(layer(drawn(5, 1))).all()


# Whole networks


def sizes_of(graph: Any) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(0)
    return {name: torch.empty(graph.channels[name]).uniform_(0.5, 2.0, generator=draw) for name in graph.neurons}


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    **SMALL, "limit": lambda: Plain(limit=True), **{name: LARGE[name] for name in ("resnet18", "mobilenet_v2")},
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_every_relu_is_quantized(name: str) -> None:
    """Also functions, and modules that are used twice; the trace of the result has the same names."""
    module, x = seasoned(NETWORKS[name]), images(2, 32 if name in LARGE else 8)
    graph = trace(module, x)
    sizes = sizes_of(graph)
    network = quantize(copy.deepcopy(module), graph, sizes, 4)
    kept = [layer for layer in network.modules() if isinstance(layer, QuantizedReLU)]
    assert len(kept) == len(graph.neurons)
    again = trace(network, x)
    assert again.nodes == graph.nodes
    assert all(torch.equal(size, sizes[neuron]) for neuron, size in learned_sizes(again, network).items())
    for name_, pair in graph.weights.items():
        assert all(torch.equal(a, b) for a, b in zip(again.weights[name_], pair, strict=True))


def test_many_levels_are_the_activation() -> None:
    module, x = seasoned(SMALL["dense"]), images(5)
    graph = trace(module, x)
    large = {name: torch.full((graph.channels[name],), 50.0) for name in graph.neurons}
    with torch.no_grad():
        fine = quantize(copy.deepcopy(module), graph, large, 1_000_000)(x)
        torch.testing.assert_close(fine, module(x), rtol=1e-3, atol=1e-3)


def test_the_converted_network_has_the_values_of_the_quantized_one() -> None:
    """Of one layer of neurons exactly: T is the number of levels."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(216, 5))
    graph, x = graph_of(module, images(10)), images(10)
    sizes = sizes_of(graph)
    network = quantize(module, graph, sizes, 4).eval()
    config = ConversionConfig("qcfs", T=4, images=10)
    steps = converting(trace(network, x[:1]), x, config, learned_sizes(graph, network))
    while True:
        try:
            next(steps)
        except StopIteration as end:
            conversion = end.value
            break
    with torch.no_grad():
        # Biases are corrected for the ANN without levels, hence the network before the correction.
        from snn4.learners.conversion.networks import spiking

        plain = spiking(conversion.graph, conversion.network.config)
        torch.testing.assert_close(plain(x), network(x), rtol=1e-3, atol=1e-4)


def test_the_ann_keeps_its_limits() -> None:
    """An ANN twin of a quantized ReLU6 is a ReLU6, whatever the sizes of its channels."""
    module, x = seasoned(lambda: Plain(limit=True)), images(4) * 20
    graph = trace(module, x)
    sizes = sizes_of(graph)
    again = trace(quantize(copy.deepcopy(module), graph, sizes, 4), x)
    ann = artificial(scaled(again, sizes), GraphConfig(in_channels=3, image_size=(8, 8), n_classes=5))
    with torch.no_grad():
        assert (module[2](module[1](module[0](x))) == 6).any()  # type: ignore[index]
        torch.testing.assert_close(ann(x), module(x), rtol=1e-3, atol=1e-3)
