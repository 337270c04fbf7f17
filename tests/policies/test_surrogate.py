from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from snn4.policies._scan_kernels import _derivative
from snn4.policies.surrogate import SURROGATES, spike

# The surrogates are the derivatives of these smooth steps.
PRIMITIVES: dict[str, Callable[[Tensor, float], Tensor]] = {
    "arctan": lambda x, slope: torch.atan(math.pi / 2 * slope * x) / math.pi,
    "sigmoid": lambda x, slope: torch.sigmoid(slope * x),
    "fast_sigmoid": lambda x, slope: x / (1 + slope * x.abs()),
    "triangle": lambda x, slope: (y := (slope * x).clamp(-1, 1)) - y * y.abs() / 2,
    "gaussian": lambda x, slope: torch.special.ndtr(slope * x),
    "rectangle": lambda x, slope: (slope * x).clamp(-0.5, 0.5),
}


@pytest.mark.parametrize("slope", [0.5, 2.0, 7.0])
@pytest.mark.parametrize("name", SURROGATES)
def test_surrogate_is_the_derivative_of_a_smooth_step(name: str, slope: float) -> None:
    x = torch.linspace(-3, 3, 400, dtype=torch.float64, requires_grad=True)
    (derivative,) = torch.autograd.grad(PRIMITIVES[name](x, slope).sum(), x)
    torch.testing.assert_close(SURROGATES[name](x.detach(), slope), derivative)


@pytest.mark.parametrize("slope", [1.0, 2.0, 5.0])
@pytest.mark.parametrize("name", SURROGATES)
def test_area(name: str, slope: float) -> None:
    """A step of height 1, except SuperSpike's, which is 1 at its peak whatever the slope."""
    x = torch.linspace(-1000, 1000, 2_000_001, dtype=torch.float64)
    area = torch.trapezoid(SURROGATES[name](x, slope), x).item()
    # a rectangle ends between two points
    assert area == pytest.approx(2 / slope if name == "fast_sigmoid" else 1, abs=6e-3)


@pytest.mark.parametrize("name", SURROGATES)
def test_compiled_derivative_is_the_same(name: str) -> None:
    x = torch.linspace(-4, 4, 101)
    number = list(SURROGATES).index(name)
    compiled = [_derivative(np.float32(value), number, np.float32(2.5)) for value in x]
    torch.testing.assert_close(torch.tensor(compiled, dtype=torch.float32), SURROGATES[name](x, 2.5))


@pytest.mark.parametrize("name", SURROGATES)
def test_spike_is_a_step_forward_and_the_surrogate_backward(name: str) -> None:
    x = torch.tensor([-1.0, -1e-7, 0.0, 1e-7, 1.0, float("nan")], requires_grad=True)
    spikes = spike(x, name, 3.0)
    assert spikes.tolist() == [0, 0, 1, 1, 1, 0]
    (gradient,) = torch.autograd.grad(spikes, x, torch.full_like(x, 2.0))
    torch.testing.assert_close(gradient, 2 * SURROGATES[name](x.detach(), 3.0), equal_nan=True)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_without_gradients_a_spike_is_a_comparison() -> None:
    x = torch.tensor([-1.0, 0.0, 1.0], requires_grad=True)
    with torch.no_grad():
        assert spike(x).tolist() == [0, 1, 1]
    with pytest.warns(torch.jit.TracerWarning, match="passes no gradient"):
        traced = torch.jit.trace(spike, x)
    assert not any("Python" in node.kind() for node in traced.graph.nodes())
