from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from snn4.policies.neurons import LIF, LIFState, NeuronConfig

INF, NAN = float("inf"), float("nan")


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("tau_mem", 0.0, "finite number > 0"),
        ("tau_mem", NAN, "finite number > 0"),
        ("v_threshold", -1.0, "finite number > 0"),
        ("dt", INF, "finite number > 0"),
        ("slope", 0.0, "finite number > 0"),
        ("v_reset", 1.0, r"below v_threshold \(1.0\)"),
        ("v_reset", NAN, "finite number"),
        ("v_leak", NAN, "finite number"),
        ("v_leak", INF, "finite number"),
        ("r", NAN, "finite number"),
        ("reset", "none", "soft, hard"),
        ("surrogate", "relu", "arctan, sigmoid, fast_sigmoid, triangle, gaussian"),
    ],
)
def test_errors_name_field_value_and_what_is_allowed(field: str, value: Any, allowed: str) -> None:
    with pytest.raises(ValueError, match=rf"^{field}: got {value!r}, allowed .*{allowed}"):
        NeuronConfig(**{field: value})


def test_decay_and_gain() -> None:
    config = NeuronConfig(tau_mem=10e-3, dt=2e-3)
    assert config.decay == pytest.approx(math.exp(-0.2))
    assert config.gain == 1
    resistive = NeuronConfig(tau_mem=10e-3, dt=2e-3, r=5.0)
    assert resistive.gain == pytest.approx(5 * (1 - math.exp(-0.2)))
    assert NeuronConfig(tau_mem=10e-3, dt=2e-3, r=1 / (1 - config.decay)).gain == pytest.approx(1)


def test_membrane_follows_the_differential_equation() -> None:
    """Below threshold, many small steps of ``tau_mem dv/dt = (v_leak - v) + r I`` come to the same membrane."""
    config = NeuronConfig(tau_mem=20e-3, v_threshold=100.0, v_leak=0.3, r=4.0, dt=5e-3)
    current = torch.tensor([0.5, -1.0, 2.0]).reshape(3, 1, 1)
    _, (v,) = LIF(config)(current)
    expected, small = config.v_leak, 1000
    for value in current.ravel().tolist():
        for _ in range(small):
            expected += config.dt / small / config.tau_mem * (config.v_leak - expected + config.r * value)
    assert v.item() == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("reset", ["soft", "hard"])
@pytest.mark.parametrize("r", [None, 12.0])
def test_equations_of_the_docstring(reset: Any, r: float | None) -> None:
    config = NeuronConfig(tau_mem=8e-3, v_threshold=0.7, v_reset=-0.2, v_leak=0.1, r=r, reset=reset)
    current = torch.linspace(-0.5, 1.5, 20)
    spikes, (v,) = LIF(config)(current.reshape(20, 1, 1))
    decay = math.exp(-1e-3 / 8e-3)
    resistance = r if r is not None else 1 / (1 - decay)
    membrane, fired = 0.1, []
    for value in current.tolist():
        membrane = decay * membrane + (1 - decay) * (0.1 + resistance * value)
        fired.append(float(membrane >= 0.7))
        if fired[-1]:
            membrane = membrane - 0.7 if reset == "soft" else -0.2
    assert spikes.ravel().tolist() == fired
    assert 0 < sum(fired) < 20
    assert v.item() == pytest.approx(membrane, abs=1e-5)


def test_starts_at_rest_and_carries_its_state() -> None:
    layer = LIF(NeuronConfig(v_leak=0.4))
    current = torch.rand(6, 2, 3)
    assert torch.equal(layer.initial_state(current).v, torch.full((2, 3), 0.4))
    whole, end = layer(current)
    first, middle = layer(current[:2])
    second, later = layer(current[2:], middle)
    assert torch.equal(torch.cat([first, second]), whole)
    assert torch.equal(later.v, end.v)


def test_state_of_another_batch_is_refused() -> None:
    layer = LIF(NeuronConfig())
    _, state = layer(torch.zeros(4, 2, 3))
    with pytest.raises(ValueError, match=r"^v: got shape \(2, 3\), allowed is \(5, 3\)"):
        layer(torch.zeros(4, 5, 3), state)
    with pytest.raises(ValueError, match=r"^v: got shape \(3,\)"):
        layer(torch.zeros(4, 2, 3), LIFState(torch.zeros(3)))
