from __future__ import annotations

from typing import Any

import pytest
import torch
from ann_modules import SMALL, Plain, images, seasoned
from torch import Tensor

from snn4.learners.conversion import sizes
from snn4.learners.conversion.conversion import ConversionConfig
from snn4.learners.conversion.networks import artificial
from snn4.learners.conversion.progress import Progress
from snn4.learners.conversion.sizes import SMALLEST, UNEVEN, Sizes, measured, smallest_error
from snn4.learners.conversion.tracing import trace
from snn4.policies.networks.graph import GraphConfig


def draw(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).relu()


def error(x: Tensor, size: float, T: int) -> float:
    """Mean squared error of rates of T steps that stand for ``size``, from the membrane's equation."""
    total = 0.0
    for value in x.tolist():
        v, spikes = 0.5, 0
        for _ in range(T):
            v += value / size
            if v >= 1:
                v, spikes = v - 1, spikes + 1
        total += (spikes * size / T - value) ** 2
    return total / len(x)


@pytest.mark.parametrize("T", [1, 2, 5])
def test_the_smallest_error_against_brute_force(T: int) -> None:
    """No size on the same grid has a smaller error, as neurons compute it step by step."""
    x = draw(3, 60)
    for row, size in zip(x, smallest_error(x, T), strict=True):
        tried = [error(row, float(row.max() * fraction), T) for fraction in torch.linspace(0.1, 1.0, 46)]
        assert error(row, float(size), T) == pytest.approx(min(tried), rel=1e-3)


def test_errors_fall_with_steps() -> None:
    x = draw(1, 200)
    errors = [error(x[0], float(smallest_error(x, T)), T) for T in (1, 2, 4, 8, 16)]
    assert errors == sorted(errors, reverse=True)


def test_a_silent_channel() -> None:
    assert smallest_error(torch.zeros(2, 5), 4).tolist() == pytest.approx([SMALLEST, SMALLEST])


def measure(name: str = "plain", n: int = 20, **fields: Any) -> tuple[Sizes, dict[str, Tensor], list[Progress]]:
    """Sizes, all activations (C, n), and reports."""
    module = seasoned(SMALL[name]) if name != "limit" else seasoned(lambda: Plain(limit=True))
    x = images(n)
    graph, config = trace(module, x[:1]), ConversionConfig(**{"images": n, **fields})
    ann = artificial(graph, GraphConfig(in_channels=3, image_size=(8, 8), n_classes=5))
    steps, reports = measured(ann, graph, x, config), []
    while True:
        try:
            reports.append(next(steps))
        except StopIteration as end:
            found: Sizes = end.value
            break
    kept: dict[str, Tensor] = {}
    with sizes.activations(ann, graph.neurons, kept.__setitem__), torch.no_grad():
        ann(x)
    return found, {name: y.transpose(0, 1).flatten(1) for name, y in kept.items()}, reports


def test_a_percentile_of_all_activations() -> None:
    """Of a layer whose channels have one value for each image, so that every one is drawn."""
    found, all_values, _ = measure(method="threshold-balance", percentile=90.0)
    last = list(found)[-1]
    torch.testing.assert_close(found[last], all_values[last].quantile(0.9, 1).clamp_min(SMALLEST))
    whole, _, _ = measure(method="threshold-balance", percentile=90.0, scale="layer")
    assert all(len(set(size.tolist())) == 1 for size in whole.values())
    torch.testing.assert_close(whole[last][0], all_values[last].flatten().quantile(0.9))


def test_the_largest_activation() -> None:
    found, all_values, _ = measure(method="threshold-balance", percentile=100.0)
    for name, size in found.items():
        assert (size <= all_values[name].amax(1).clamp_min(SMALLEST) + 1e-6).all()


def test_neurons_that_cannot_take_spikes_back_get_smaller_sizes() -> None:
    signed, plain = (measure(neuron=neuron)[0] for neuron in ("signed_if", "if"))
    for name, size in signed.items():
        torch.testing.assert_close(plain[name], (size * UNEVEN).clamp_min(SMALLEST))


def test_burn_in_leaves_fewer_steps() -> None:
    assert_same(measure(T=6, burn_in=2)[0], measure(T=4)[0])


def test_sizes_do_not_pass_the_limit_of_an_activation() -> None:
    found, _, _ = measure("limit", method="threshold-balance", percentile=100.0)
    assert all(float(size.max()) <= 6 for size in found.values())


def test_the_draw_is_always_the_same() -> None:
    torch.manual_seed(1)
    first = measure()[0]
    torch.manual_seed(2)
    assert_same(measure()[0], first)


def test_reports() -> None:
    _, _, reports = measure(n=150)
    assert [(report.done, report.total) for report in reports] == [(100, 150), (150, 150)]


@pytest.mark.parametrize("scale", ["channel", "layer"])
def test_more_values_than_torch_takes(monkeypatch: pytest.MonkeyPatch, scale: Any) -> None:
    """A wide layer, or many images: in parts, or every second one."""
    monkeypatch.setattr(sizes, "LARGEST", 30)
    found, all_values, _ = measure(method="threshold-balance", percentile=90.0, scale=scale, n=20)
    last = list(found)[-1]
    if scale == "channel":
        torch.testing.assert_close(found[last], all_values[last].quantile(0.9, 1).clamp_min(SMALLEST))
    assert (found[last] > 0).all()


def test_more_images_than_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizes, "KEPT", 7)
    found, all_values, _ = measure(method="threshold-balance", percentile=100.0)
    last = list(found)[-1]
    torch.testing.assert_close(found[last], all_values[last][:, :7].amax(1).clamp_min(SMALLEST))


def assert_same(a: Sizes, b: Sizes) -> None:
    assert list(a) == list(b)
    assert all(torch.equal(size, b[name]) for name, size in a.items())
