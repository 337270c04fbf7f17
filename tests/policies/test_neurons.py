from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from thresholds import NEAR, distance_of

from snn4.policies.dynamics import NeuronState
from snn4.policies.neurons import KINDS, NEVER_LEAK, Neuron, NeuronConfig, dynamics
from snn4.policies.surrogate import SURROGATES

SPIKING = [kind for kind in KINDS if kind != "li"]
RESETS = [(kind, reset) for kind in SPIKING for reset in ("soft", "hard") if (kind, reset) != ("signed_if", "hard")]
STEPS = 40


def test_decay_and_gain() -> None:
    config = NeuronConfig(tau_mem=10e-3, dt=2e-3)
    assert config.decay == pytest.approx(math.exp(-0.2))
    assert config.gain == 1
    resistive = NeuronConfig(tau_mem=10e-3, dt=2e-3, r=5.0)
    assert resistive.gain == pytest.approx(5 * (1 - math.exp(-0.2)))
    assert NeuronConfig(tau_mem=10e-3, dt=2e-3, r=1 / (1 - config.decay)).gain == pytest.approx(1)


def docstring(config: NeuronConfig, current: np.ndarray) -> tuple[np.ndarray, ...]:
    """`NeuronConfig`'s equations in float64, for a current (T, N): output, and the last v (K, N), i and a."""

    never_leaks = config.kind in ("if", "signed_if")

    def kept(tau: float) -> float:
        return 1.0 if never_leaks else math.exp(-config.dt / tau)

    taus = [config.tau_mem, *(config.tau_more if config.kind == "multi" else ())]
    v = np.full((len(taus), current.shape[1]), config.v_leak)
    u, i, a = np.empty_like(v), np.zeros(current.shape[1]), np.zeros(current.shape[1])
    outputs = []
    for drive in current:
        if config.kind == "cuba":
            drive = i = kept(config.tau_syn) * i + (1 if config.r is None else 1 - kept(config.tau_syn)) * drive
        for k, tau in enumerate(taus):
            rise = drive if config.r is None else (1.0 if never_leaks else 1 - kept(tau)) * config.r * drive
            u[k] = kept(tau) * v[k] + (1 - kept(tau)) * config.v_leak + rise
        s = u.mean(0) >= config.v_threshold + (config.adaptation * a if config.kind == "alif" else 0)
        if config.kind == "signed_if":
            s = s.astype(float) - ((u[0] < 0) & (a > 0))
        if config.kind == "li":
            v = u.copy()
        else:
            v = u - s * config.v_threshold if config.reset == "soft" else np.where(s, config.v_reset, u)
        a = kept(config.tau_adapt) * a + s
        outputs.append(u.mean(0) if config.kind == "li" else s)
    return np.array(outputs), v, i, a


def config_of(kind: str, **fields: Any) -> NeuronConfig:
    plain = {
        "tau_mem": 8e-3, "tau_more": (30e-3, 3e-3), "tau_adapt": 50e-3, "v_threshold": 0.7, "v_reset": -0.2,
        "v_leak": 0.1, "surrogate": "sigmoid",
    }  # fmt: skip
    return NeuronConfig(kind, **(plain | fields))  # type: ignore[arg-type]


@pytest.mark.parametrize("r", [None, 12.0])
@pytest.mark.parametrize(("kind", "reset"), [*RESETS, ("li", "soft")])
def test_equations_of_the_docstring(kind: str, reset: str, r: float | None) -> None:
    config = config_of(kind, reset=reset, r=r)
    current = torch.randn(STEPS, 1, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64) * 0.3 + 0.1
    expected, v, i, a = docstring(config, current[:, 0].numpy())
    assert distance_of(Neuron(config), current) > NEAR
    for dtype in (torch.float64, torch.float32):
        output, state = Neuron(config)(current.to(dtype))
        near: dict[str, Any] = {"abs": 1e-5, "rel": 1e-4}  # a learned decay is float32, whatever the current
        if kind == "li":
            assert output[:, 0].detach().numpy() == pytest.approx(expected, **near)
        else:
            assert np.array_equal(output[:, 0].detach().numpy(), expected)
            assert 0.02 < expected.mean() < 0.9
        assert state.v.detach().numpy().reshape(v.shape) == pytest.approx(v, **near)
        assert (state.i is None) == (kind != "cuba")
        assert (state.a is None) == (kind not in ("alif", "signed_if"))
        if state.i is not None:
            assert state.i[0].numpy() == pytest.approx(i, **near)
        if state.a is not None:
            assert state.a[0].numpy() == pytest.approx(a, **near)


def euler(config: NeuronConfig, current: list[float], small: int = 1000) -> float:
    """Many small steps of the differential equations; the last membrane."""
    v, i, r = config.v_leak, 0.0, config.r or 0.0
    for value in current:
        for _ in range(small):
            dt = config.dt / small
            i = i + dt / config.tau_syn * (value - i) if config.kind == "cuba" else value
            v += dt / config.tau_mem * (config.v_leak - v + r * i)
    return v


def test_membrane_follows_the_differential_equation() -> None:
    """Below threshold, for a current that is constant over each step: exactly, however long the step."""
    config = NeuronConfig(tau_mem=20e-3, v_threshold=100.0, v_leak=0.3, r=4.0, dt=5e-3)
    current = torch.tensor([0.5, -1.0, 2.0]).reshape(3, 1, 1)
    _, state = Neuron(config)(current)
    assert state.v.item() == pytest.approx(euler(config, current.ravel().tolist()), rel=1e-3)


def test_synapse_and_membrane_follow_their_differential_equations() -> None:
    """Each is solved exactly, one after the other: the error of the two is of the order of the step."""
    values, errors = [0.5, -1.0, 2.0, 1.0], []
    for divisions in (5, 20):
        config = NeuronConfig("cuba", tau_mem=20e-3, tau_syn=5e-3, v_threshold=100.0, v_leak=0.3, r=4.0)
        config = replace(config, dt=5e-3 / divisions)
        current = torch.tensor(values, dtype=torch.float64).repeat_interleave(divisions).reshape(-1, 1, 1)
        exact = euler(replace(config, dt=5e-3), values, 5000)
        errors.append(abs(Neuron(config)(current)[1].v.item() - exact) / exact)
    assert errors[1] < 0.02
    assert errors[1] == pytest.approx(errors[0] / 4, rel=0.2)


def test_loihis_decays() -> None:
    """With r None: Loihi's ``u = u (1 - du / 4096) + I; v = v (1 - dv / 4096) + u`` (Davies et al. 2018)."""
    du, dv, dt = 900, 300, 1e-3
    tau_syn, tau_mem = (-dt / math.log(1 - delta / 4096) for delta in (du, dv))
    config = NeuronConfig("cuba", tau_mem=tau_mem, tau_syn=tau_syn, reset="hard", v_threshold=3.0, surrogate="sigmoid")
    current = torch.rand(STEPS, generator=torch.Generator().manual_seed(0))
    u = v = 0.0
    expected = []
    for value in current.tolist():
        u = u * (1 - du / 4096) + value
        v = v * (1 - dv / 4096) + u
        expected.append(float(v >= 3.0))
        v = 0.0 if expected[-1] else v
    spikes, state = Neuron(config)(current.reshape(STEPS, 1, 1))
    assert spikes.ravel().tolist() == expected
    assert 3 < sum(expected) < STEPS
    assert state.v.item() == pytest.approx(v, abs=1e-4)
    assert state.i is not None
    assert state.i.item() == pytest.approx(u, abs=1e-4)


def same_spikes(one: NeuronConfig, other: NeuronConfig) -> bool:
    current = torch.randn(STEPS, 3, 5, generator=torch.Generator().manual_seed(0)).double() + 0.2
    a, b = (Neuron(config)(current)[0] for config in (one, other))
    assert 0.02 < a.mean() < 0.98
    return torch.equal(a, b)


def test_kinds_that_come_down_to_a_lif() -> None:
    """A synapse without delay, a threshold that does not adapt, equal membranes, a decay that nobody has trained."""
    lif = config_of("lif", r=12.0)
    assert same_spikes(lif, replace(lif, kind="cuba", tau_syn=1e-6))
    assert not same_spikes(lif, replace(lif, kind="cuba"))
    assert same_spikes(lif, replace(lif, kind="alif", adaptation=0.0))
    assert not same_spikes(lif, replace(lif, kind="alif"))
    assert same_spikes(lif, replace(lif, kind="multi", tau_more=(lif.tau_mem,)))
    assert not same_spikes(lif, replace(lif, kind="multi"))
    assert same_spikes(lif, replace(lif, kind="plif"))
    assert same_spikes(lif, replace(lif, kind="plif", tau_spread=3.0))  # one decay has nothing to spread over


def test_leaky_integrator_gives_its_membrane_and_does_not_spike() -> None:
    config = NeuronConfig("li", v_threshold=0.1)
    assert not config.spikes
    assert all(NeuronConfig(kind).spikes for kind in SPIKING)  # type: ignore[arg-type]
    output, state = Neuron(config)(torch.ones(5, 1, 2))
    assert output[:, 0, 0].tolist() == pytest.approx(np.cumsum(config.decay ** np.arange(5)).tolist())
    assert torch.equal(output[-1], state.v)


@pytest.mark.parametrize("kind", KINDS)
def test_starts_at_rest_and_carries_its_state(kind: str) -> None:
    layer = Neuron(config_of(kind, tau_more=(30e-3,)))
    current = torch.rand(6, 2, 3)
    start = layer.initial_state(current)
    assert torch.equal(start.v, torch.full((2, 2, 3) if kind == "multi" else (2, 3), 0.1))
    assert not any(part is not None and part.any() for part in (start.i, start.a))
    whole, end = layer(current)
    first, middle = layer(current[:2])
    second, later = layer(current[2:], middle)
    assert torch.equal(torch.cat([first, second]), whole)
    assert all(a is b is None or torch.equal(a, b) for a, b in zip(later, end, strict=True))  # type: ignore[arg-type]
    assert torch.equal(layer(current[:1], steps=6)[0], layer(current[:1].expand(6, 2, 3))[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])  # the fused loop, and the plain one
def test_a_signed_neuron_passes_a_gradient_at_both_thresholds(dtype: torch.dtype) -> None:
    """At 0 only with a spike to take back: the first of both neurons has one, the second has none."""
    current = torch.tensor([[[1.2, 0.3]], [[-0.9, -0.9]]], dtype=dtype, requires_grad=True)
    spikes, _ = Neuron(NeuronConfig("signed_if", surrogate="sigmoid"))(current)
    assert spikes.flatten(1).tolist() == [[1, 0], [-1, 0]]
    spikes[1].sum().backward()
    u = torch.tensor([-0.7, -0.6], dtype=dtype)
    expected = SURROGATES["sigmoid"](u - 1, 2.0) + torch.tensor([1, 0]) * SURROGATES["sigmoid"](u, 2.0)
    assert current.grad is not None
    torch.testing.assert_close(current.grad, expected.expand(2, 1, 2))  # without leak, both steps count alike


def test_half_precision_current_has_a_float32_state() -> None:
    spikes, state = Neuron(NeuronConfig("cuba"))(torch.rand(4, 2, 3).bfloat16())
    assert spikes.dtype == torch.bfloat16
    assert state.v.dtype == torch.float32
    assert state.i is not None
    assert state.i.dtype == torch.float32


def test_state_of_another_batch_or_neuron_is_refused() -> None:
    layer = Neuron(NeuronConfig())
    _, state = layer(torch.zeros(4, 2, 3))
    with pytest.raises(ValueError, match=r"^state\.v: got shape \(2, 3\), allowed is \(5, 3\)"):
        layer(torch.zeros(4, 5, 3), state)
    with pytest.raises(ValueError, match=r"^state\.v: got shape \(3,\)"):
        layer(torch.zeros(4, 2, 3), NeuronState(torch.zeros(3)))
    with pytest.raises(ValueError, match=r"^state\.i: got shape None, allowed is \(2, 3\)"):
        Neuron(NeuronConfig("cuba"))(torch.zeros(4, 2, 3), state)


def test_integer_current_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^current: got dtype torch\.int64, allowed is a floating-point one"):
        Neuron(NeuronConfig())(torch.ones(4, 2, 3, dtype=torch.int64))


@pytest.mark.parametrize("kind", KINDS)
def test_only_plif_has_parameters(kind: str) -> None:
    layer = Neuron(NeuronConfig(kind, tau_mem=12e-3))  # type: ignore[arg-type]
    assert len(list(layer.parameters())) == (kind == "plif")
    assert layer.decay.item() == pytest.approx(1 if kind in NEVER_LEAK else math.exp(-1 / 12))
    assert dynamics(layer.config) is layer.dynamics


def test_spread_time_constants() -> None:
    layer = Neuron(NeuronConfig("plif", tau_mem=10e-3, tau_spread=4.0), (5,))
    taus = -1e-3 / layer.decay.detach().log()
    assert taus.tolist() == pytest.approx([2.5e-3, 5e-3, 10e-3, 20e-3, 40e-3], rel=1e-4)
    one_by_one = [Neuron(NeuronConfig(tau_mem=tau, surrogate="sigmoid")) for tau in (2.5e-3, 5e-3, 10e-3, 20e-3, 40e-3)]
    current = torch.randn(STEPS, 3, 5, generator=torch.Generator().manual_seed(0))
    assert distance_of(layer, current) > NEAR
    spikes, _ = layer(current)
    for m, neuron in enumerate(one_by_one):
        assert torch.equal(spikes[..., m], neuron(current[..., m : m + 1])[0][..., 0])


def test_a_learned_decay_for_each_channel_of_an_image() -> None:
    layer = Neuron(NeuronConfig("plif", tau_spread=2.0, surrogate="sigmoid"), (3, 1, 1))
    current = torch.randn(6, 2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    spikes, _ = layer(current)
    flat = Neuron(NeuronConfig("plif", tau_spread=2.0, surrogate="sigmoid"), (3,))
    pixels, _ = flat(current.movedim(2, -1).reshape(6, -1, 3))
    assert torch.equal(spikes.movedim(2, -1).reshape(6, -1, 3), pixels)
    spikes.sum().backward()
    assert layer.decay_logit is not None
    assert layer.decay_logit.grad is not None
    assert layer.decay_logit.grad.shape == (3, 1, 1)


@pytest.mark.parametrize("kind", ["multi", "plif"])
def test_factors_are_those_that_the_membrane_is_computed_with(kind: str) -> None:
    """One step without threshold: ``u = decay * v + (gain * I + leak)``, for each membrane."""
    layer = Neuron(config_of(kind, r=12.0, tau_spread=2.0, v_threshold=100.0), (3,))
    current = torch.rand(1, 2, 3)
    start = layer.initial_state(current).map(lambda part: part + 0.5)
    decay, gain, leak = (factor.unsqueeze(1) for factor in layer.factors())
    expected = decay * start.v + (gain * current + leak)
    torch.testing.assert_close(layer(current, start)[1].v, expected if kind == "multi" else expected[0])


@pytest.mark.parametrize("r", [None, 10.0])
def test_plif_learns_the_time_constant_of_its_teacher(r: float | None) -> None:
    """From both sides, by its spike counts; with r, the gain is learned with the decay."""
    teacher = NeuronConfig(tau_mem=6e-3, r=r, surrogate="sigmoid")
    current = torch.rand(20, 16, 8, generator=torch.Generator().manual_seed(0)) * 0.5
    counts = Neuron(teacher)(current)[0].sum(0)
    for tau in (2e-3, 20e-3):
        student = Neuron(replace(teacher, kind="plif", tau_mem=tau))
        assert abs(student.decay.item() - teacher.decay) > 0.1
        optimizer = torch.optim.Adam(student.parameters(), lr=0.1)
        for _ in range(60):
            optimizer.zero_grad()
            (student(current)[0].sum(0) - counts).square().mean().backward()
            optimizer.step()
        assert student.decay.item() == pytest.approx(teacher.decay, abs=0.02)
