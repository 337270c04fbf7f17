from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from snn4.policies.coding import ENCODERS, CodingConfig, DeltaEncoder, DirectEncoder, PopulationEncoder, make_encoder
from snn4.policies.decoding import WeightedDecoder, make_decoder

INF = float("inf")
LOW, HIGH = np.array([-2, 0, 5], np.float32), np.array([2, 10, 6], np.float32)


def encoder(kind: Any, T: int, **config: Any) -> Any:
    return make_encoder(3, T, CodingConfig(kind, **config), (LOW, HIGH))


def fractions(B: int) -> NDArray[np.float64]:
    """Values (B, 3) as fractions of their range; the first ones are those at which codes are likely to fail."""
    edges = np.repeat([[0.0], [1.0], [0.5], [-0.7], [1.3]], 3, 1)  # the last two lie outside
    return np.concatenate([edges, np.random.default_rng(0).random((B - 5, 3))])


def values(p: NDArray[np.float64]) -> Tensor:
    return torch.as_tensor(LOW + p * (HIGH - LOW))  # float64: both sides see the same numbers


# ---- every code


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("kind", "rank", "direct, rate, latency, delta, population, phase"),
        ("neurons_per_input", 1, "a whole number >= 2"),
        ("width", 0.0, "a finite number > 0"),
        ("width", float("nan"), "a finite number > 0"),
        ("unbounded_range", INF, "a finite number > 0"),
        ("latency_threshold", 1.1, "a number from 0 to 1"),
        ("delta_threshold", 0.0, "a number > 0 and <= 0.5, or None"),
        ("delta_threshold", 0.6, "a number > 0 and <= 0.5, or None"),
        ("period", 0, "a whole number from 1 to 24"),
        ("period", 2.5, "a whole number from 1 to 24"),
    ],
)
def test_errors_name_field_value_and_what_is_allowed(field: str, value: Any, allowed: str) -> None:
    with pytest.raises(ValueError, match=rf"^{field}: got {value!r}, allowed .*{allowed}"):
        CodingConfig(**{field: value})


@pytest.mark.parametrize("T", [1, 5])
@pytest.mark.parametrize("kind", ENCODERS)
def test_shape_dtype_and_whether_there_are_only_spikes(kind: str, T: int) -> None:
    coder, x = encoder(kind, T), values(fractions(9))
    for dtype in (torch.float32, torch.bfloat16):
        out = coder(x.to(dtype))
        assert out.shape == (1 if kind == "direct" else T, 9, coder.n_outputs)
        assert out.dtype == dtype
        assert coder.spikes == set(out.unique().tolist()).issubset({0, 1})
    assert not [name for name in coder.state_dict() if kind != "population"]
    assert coder.to("meta")(x.to("meta")).device.type == "meta"  # nothing is left on the CPU


@pytest.mark.parametrize("kind", ["rate", "latency", "delta", "phase"])
def test_values_outside_the_bounds_count_as_the_bound(kind: str) -> None:
    coder = encoder(kind, 6, deterministic=True)
    low, high = torch.as_tensor(LOW)[None], torch.as_tensor(HIGH)[None]
    assert torch.equal(coder(low - 3), coder(low))
    assert torch.equal(coder(high + 1e9), coder(high))
    assert not torch.equal(coder(low), coder(high))


@pytest.mark.parametrize("kind", ENCODERS)
def test_gradients_reach_values_inside_the_range(kind: str) -> None:
    torch.manual_seed(0)
    for dtype in (torch.float32, torch.bfloat16):
        x = values(0.05 + 0.9 * fractions(20)[5:]).to(dtype).requires_grad_()
        coder = encoder(kind, 8)
        out = coder(x)
        (out * torch.randn_like(out)).sum().backward()
        assert x.grad is not None
        assert x.grad.isfinite().all()
        assert (x.grad != 0).all()


@pytest.mark.parametrize(
    ("kind", "weights"),
    [
        ("rate", torch.full((16,), 1 / 16)),
        ("latency", torch.arange(16, 0, -1) / 16),
        ("delta", torch.full((16,), 1 / 32)),
        ("phase", 0.5 ** (torch.arange(16) % 8 + 2)),
    ],
)
def test_an_ann_in_front_learns_through_the_code(kind: Any, weights: Tensor) -> None:
    """The output of a linear layer, coded and decoded by the code's own weights, learns the target."""
    torch.manual_seed(0)
    front, coder = nn.Linear(1, 1), make_encoder(1, 16, CodingConfig(kind, deterministic=True))
    decoder, x = WeightedDecoder(weights), torch.linspace(-1, 1, 32)[:, None]
    optimiser = torch.optim.Adam(front.parameters(), 0.05)
    for _ in range(120):
        fraction = decoder(coder(front(x)))
        if kind == "delta":
            fraction = 0.5 + fraction[:, :1] - fraction[:, 1:]
        loss = (fraction - (0.4 + 0.3 * x)).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 1 / 16


def test_bad_arguments_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"^n_inputs: got 0, allowed is a whole number >= 1"):
        make_encoder(0, 4, CodingConfig())
    with pytest.raises(ValueError, match=r"^T: got 0, allowed is a whole number >= 1"):
        make_encoder(3, 0, CodingConfig("rate"))
    with pytest.raises(ValueError, match=r"^bounds: got shapes \(3,\) and \(3,\), allowed is \(2,\) for both"):
        make_encoder(2, 4, CodingConfig("phase"), (LOW, HIGH))
    with pytest.raises(ValueError, match=r"^x: got shape \(4, 1\) of torch.float32, allowed is \(…, 3\)"):
        encoder("rate", 4)(torch.zeros(4, 1))
    with pytest.raises(ValueError, match=r"^x: got shape \(4, 3\) of torch.uint8, allowed .* floating-point"):
        encoder("latency", 4)(torch.zeros(4, 3, dtype=torch.uint8))


# ---- each code by a plain computation, and back


def rate_spikes(p: float, T: int) -> list[float]:
    membrane, train = 0.5, []
    for _ in range(T):
        membrane += p
        train.append(float(membrane >= 1))
        membrane -= train[-1]
    return train


def latency_spikes(p: float, T: int) -> list[float]:
    """The spike comes at the step k with the nearest value (T - k) / T; of two equally near steps, at the later."""
    distances = [round(abs((T - k) / T - p), 9) for k in range(T)]
    return [float(k == T - 1 - int(np.argmin(distances[::-1]))) for k in range(T)]


def phase_spikes(p: float, T: int) -> list[float]:
    bits = f"{min(int(p * 256), 255):08b}"
    return [float(bits[t % 8]) for t in range(T)]


PLAIN: dict[str, Callable[[float, int], list[float]]] = {
    "rate": rate_spikes, "latency": latency_spikes, "phase": phase_spikes
}  # fmt: skip


@pytest.mark.parametrize("T", [1, 3, 8, 20])
@pytest.mark.parametrize("kind", PLAIN)
def test_code_by_a_plain_computation(kind: str, T: int) -> None:
    p = fractions(40)
    spikes = encoder(kind, T, deterministic=True)(values(p))
    for b, i in np.ndindex(40, 3):
        assert spikes[:, b, i].tolist() == PLAIN[kind](float(np.clip(p[b, i], 0, 1)), T), p[b, i]


def phase_weights(T: int, period: int) -> Tensor:
    return 0.5 ** (torch.arange(T) % period + 1.0)


@pytest.mark.parametrize("T", [1, 4, 8, 25])
def test_round_trips(T: int) -> None:
    p = fractions(60)
    x, inside = values(p), np.clip(p, 0, 1)

    def error(spikes: Tensor, readout: str) -> float:
        return float(np.abs(make_decoder(readout, T, 0.9)(spikes).numpy() - inside).max())

    assert error(encoder("rate", T, deterministic=True)(x), "rate") <= 0.5 / T + 1e-9
    assert error(encoder("latency", T)(x), "first_spike") <= 1 / T + 1e-9
    first = encoder("phase", T)(x)[:8]
    read = torch.tensordot(phase_weights(len(first), 8).double(), first, dims=1).numpy()
    assert np.abs(read - inside).max() <= 2.0 ** -min(T, 8)
    _, count = encoder("delta", T).over_time(x.expand(T, *x.shape))
    assert np.abs(0.5 + count.numpy() / (2 * T) - inside).max() <= 0.5 / T + 1e-9


# ---- direct


def test_direct_code_is_one_step_of_the_values() -> None:
    x = torch.randn(5, 3)
    direct = make_encoder(3, 4, CodingConfig())
    assert isinstance(direct, DirectEncoder)
    assert direct.n_outputs == 3
    assert torch.equal(direct(x), x[None])


# ---- rate


def test_poisson_spikes_are_seeded_independent_and_of_the_right_rate() -> None:
    T, coder = 4000, encoder("rate", 4000)
    p = np.array([[0.0, 0.1, 0.5], [0.85, 1.0, 0.3]])
    torch.manual_seed(3)
    spikes = coder(values(p))
    torch.manual_seed(3)
    assert torch.equal(coder(values(p)), spikes)
    assert not torch.equal(coder(values(p)), spikes)
    standard_error = np.sqrt(p * (1 - p) / T)
    assert (np.abs(spikes.mean(0).numpy() - p) <= 4 * standard_error).all()
    pairs = (spikes[1:] * spikes[:-1]).mean(0).numpy()  # two neighbouring steps both spike with probability p^2
    assert (np.abs(pairs - p**2) <= 6 * standard_error).all()


def test_even_rate_leaves_gaps_of_equal_length() -> None:
    spikes = make_encoder(1, 60, CodingConfig("rate", deterministic=True))(torch.tensor([[-1.2]]))  # p = 0.3
    gaps = spikes.flatten().nonzero().flatten().diff()
    assert set(gaps.tolist()) == {3, 4}
    assert spikes.sum() == 18


# ---- latency


def test_latency_spikes_once_from_the_threshold_on() -> None:
    p = np.array([[0.0, 0.29, 0.31], [0.3001, 0.7, 1.0]])
    spikes = encoder("latency", 10, latency_threshold=0.3)(values(p))
    assert torch.equal(spikes.sum(0), torch.as_tensor(p >= 0.3).double())
    assert torch.equal(encoder("latency", 10)(values(p)).sum(0), torch.ones(2, 3).double())
    assert spikes[:, 1].argmax(0).tolist() == [7, 3, 0]


def test_decoded_latency_has_the_slope_of_the_value() -> None:
    x = values(fractions(20)[5:]).requires_grad_()
    WeightedDecoder(torch.arange(7, 0, -1) / 7)(encoder("latency", 7)(x)).sum().backward()
    torch.testing.assert_close(x.grad, torch.as_tensor(1 / (HIGH - LOW)).double().expand(15, 3))


# ---- delta


def delta_loop(level: NDArray[np.float64], threshold: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    reference, spikes = np.full(level.shape[1:], 0.5), np.zeros((*level.shape[:2], 6))
    for t, b, i in np.ndindex(level.shape):
        if level[t, b, i] - reference[b, i] >= threshold:
            spikes[t, b, i] = 1
            reference[b, i] += threshold
        elif reference[b, i] - level[t, b, i] >= threshold:
            spikes[t, b, i + 3] = 1
            reference[b, i] -= threshold
    return spikes, reference


def walk(steps: int) -> NDArray[np.float64]:
    """Random walks (steps, 4, 3) in [0, 1]."""
    rng = np.random.default_rng(1)
    return np.clip(0.5 + np.cumsum(rng.normal(0, 0.05, (steps, 4, 3)), 0), 0.001, 0.999)


def test_delta_over_time_by_a_plain_loop_and_in_chunks() -> None:
    p = walk(120)
    coder: DeltaEncoder = encoder("delta", 4, delta_threshold=0.07)
    spikes, count = coder.over_time(values(p))
    plain, reference = delta_loop(p, 0.07)
    assert np.array_equal(spikes.numpy(), plain)
    np.testing.assert_allclose(0.5 + 0.07 * count.numpy(), reference)
    chunks, state = [], None
    for part in values(p).split([1, 50, 9, 60]):
        chunk, state = coder.over_time(part, state)
        chunks.append(chunk)
    assert torch.equal(torch.cat(chunks), spikes)
    assert state is not None
    assert torch.equal(state, count)


def test_spikes_add_up_to_the_signal_within_a_threshold() -> None:
    """Where the signal never moves by more than a threshold in one step."""
    p = 0.5 + 0.4 * np.sin(np.arange(200) / 10)[:, None, None] * np.array([[0.3, 0.7, 1.0]])
    spikes, _ = encoder("delta", 4, delta_threshold=0.05).over_time(values(p))
    on, off = spikes.numpy()[..., :3], spikes.numpy()[..., 3:]
    followed = 0.5 + 0.05 * np.cumsum(on - off, 0)
    assert np.abs(followed - p).max() < 0.05 + 1e-9
    assert (on * off).sum() == 0
    assert min(on.sum(), off.sum()) > 30


@pytest.mark.parametrize("threshold", [None, 0.08])
def test_delta_of_an_observation_is_a_thermometer(threshold: float | None) -> None:
    p = fractions(40)
    spikes = encoder("delta", 5, delta_threshold=threshold)(values(p)).numpy()
    moved = (np.clip(p, 0, 1) - 0.5) / (threshold or 0.1)
    on, off = (np.minimum(5, np.floor(np.maximum(0, side) + 1e-9)) for side in (moved, -moved))
    steps = np.arange(5)[:, None, None]
    assert np.array_equal(spikes, np.concatenate([steps < on, steps < off], -1))
    still, _ = encoder("delta", 5, delta_threshold=threshold).over_time(values(p).expand(5, 40, 3))
    assert np.array_equal(spikes, still.numpy())


def test_delta_refuses_a_state_of_another_batch() -> None:
    with pytest.raises(ValueError, match=r"^state: got shape \(2, 3\), allowed is \(4, 3\), that of a step"):
        encoder("delta", 4).over_time(torch.zeros(5, 4, 3), torch.zeros(2, 3))


# ---- phase


def test_phase_repeats_with_its_period() -> None:
    x = values(fractions(30))
    spikes = encoder("phase", 11, period=4)(x)
    assert torch.equal(spikes[4:8], spikes[:4])
    assert torch.equal(spikes[8:], spikes[:3])
    assert torch.equal(spikes[:3], encoder("phase", 3, period=8)(x))  # the most significant bits come first


# ---- population


def population(T: int = 8, **config: Any) -> PopulationEncoder:
    low, high = np.array([-2, 0, -INF, -3.4e38], np.float32), np.array([2, 10, INF, 3.4e38], np.float32)
    return PopulationEncoder(4, T, CodingConfig(kind="population", **config), (low, high))


def test_receptive_fields_cover_the_bounds_and_a_default_range_where_there_are_none() -> None:
    centres = population(neurons_per_input=5, unbounded_range=6.0).centres
    torch.testing.assert_close(centres[0].detach(), torch.tensor([-2.0, -1, 0, 1, 2]))
    torch.testing.assert_close(centres[1].detach(), torch.tensor([0.0, 2.5, 5, 7.5, 10]))
    for unbounded in (2, 3):
        torch.testing.assert_close(centres[unbounded].detach(), torch.tensor([-6.0, -3, 0, 3, 6]))
    without_bounds = PopulationEncoder(1, 4, CodingConfig(kind="population", neurons_per_input=3))
    assert without_bounds.centres[0].tolist() == [-3, 0, 3]


def test_a_population_for_other_values_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^x: got shape \(5, 1\) of torch.float32, allowed is \(…, 4\)"):
        population()(torch.zeros(5, 1))


def test_population_code_by_an_explicit_loop() -> None:
    """Each field's activity drives an integrate-and-fire neuron that starts half way to its threshold."""
    torch.manual_seed(0)
    encoder = population(T=12, neurons_per_input=5, width=0.6)
    x = torch.randn(7, 4) * torch.tensor([1, 5, 2, 2])
    spikes = encoder(x).reshape(12, 7, 4, 5)
    spacing = [1.0, 2.5, 1.5, 1.5]
    for b, i, k in np.ndindex(7, 4, 5):
        distance = (x[b, i].item() - encoder.centres[i, k].item()) / (0.6 * spacing[i])
        membrane, fired = 0.5, []
        for _ in range(12):
            membrane += math.exp(-(distance**2) / 2)
            fired.append(float(membrane >= 1))
            membrane -= fired[-1]
        assert spikes[:, b, i, k].tolist() == fired


def test_fields_are_most_active_at_their_centre() -> None:
    encoder = population(T=16, neurons_per_input=6)
    for k in range(6):
        spikes = encoder(encoder.centres[:, k].detach()[None])
        assert set(spikes.unique().tolist()) <= {0.0, 1.0}
        counts = spikes.sum((0, 1)).reshape(4, 6)
        assert counts.argmax(1).tolist() == [k] * 4
        assert counts[:, k].tolist() == [16] * 4
        away = counts[0].tolist()
        assert away[:k] == sorted(away[:k])
        assert away[k:] == sorted(away[k:], reverse=True)


def test_centre_of_mass_of_a_population_gives_the_value_back() -> None:
    """Away from the ends: beyond them, no fields balance the others."""
    coder = population(T=16)
    p = torch.as_tensor(0.2 + 0.6 * np.random.default_rng(0).random((50, 1)), dtype=torch.float32)
    low, span = coder.centres[:, 0], coder.centres[:, -1] - coder.centres[:, 0]
    counts = coder(low + p * span).sum(0).reshape(50, 4, 10)
    read = (counts * coder.centres).sum(-1) / counts.sum(-1)
    assert ((read - low) / span - p).abs().max() < 0.25 / 9  # a quarter of the distance between neighbours


def test_gradients_reach_centres_and_widths() -> None:
    torch.manual_seed(0)
    encoder = population()
    x = torch.rand(3, 4, requires_grad=True)
    weights = torch.randn(8, 3, encoder.n_outputs)
    (encoder(x) * weights).sum().backward()
    for gradient in (encoder.centres.grad, encoder.log_widths.grad, x.grad):
        assert gradient is not None
        assert gradient.isfinite().all()
        assert gradient.abs().sum() > 0
