from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from snn4.policies.coding import CodingConfig, DirectEncoder, PopulationEncoder, decoder_weights, make_encoder

INF = float("inf")


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("kind", "rate", "direct, population"),
        ("neurons_per_input", 1, "a whole number >= 2"),
        ("width", 0.0, "a finite number > 0"),
        ("width", float("nan"), "a finite number > 0"),
        ("unbounded_range", INF, "a finite number > 0"),
    ],
)
def test_errors_name_field_value_and_what_is_allowed(field: str, value: Any, allowed: str) -> None:
    with pytest.raises(ValueError, match=rf"^{field}: got {value!r}, allowed .*{allowed}"):
        CodingConfig(**{field: value})


def test_direct_code_is_one_step_of_the_values() -> None:
    x = torch.randn(5, 3)
    encoder = make_encoder(3, 4, CodingConfig())
    assert isinstance(encoder, DirectEncoder)
    assert encoder.n_outputs == 3
    assert torch.equal(encoder(x), x[None])


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


@pytest.mark.parametrize("T", [1, 4, 9])
def test_decoder_weights(T: int) -> None:
    rate, membrane = decoder_weights("rate", T, 0.7), decoder_weights("membrane", T, 0.7)
    assert rate.sum() == pytest.approx(1)
    assert rate.tolist() == pytest.approx([1 / T] * T)
    assert membrane.sum() == pytest.approx(1)
    trace, spikes = 0.0, torch.rand(T)
    for spike in spikes.tolist():
        trace = 0.7 * trace + spike
    assert (membrane @ spikes).item() == pytest.approx(trace / sum(0.7**k for k in range(T)), rel=1e-5)


def test_decoder_of_another_name_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^readout: got 'last', allowed are rate, membrane"):
        decoder_weights("last", 4, 0.9)


@pytest.mark.parametrize("readout", ["rate", "membrane"])
def test_decoding_commutes_with_a_linear_head(readout: str) -> None:
    torch.manual_seed(0)
    weights, head = decoder_weights(readout, 6, 0.8), nn.Linear(10, 3)
    spikes = (torch.rand(6, 4, 10) < 0.3).float()
    head_last = head(torch.tensordot(weights, spikes, dims=1))
    head_first = torch.tensordot(weights, head(spikes), dims=1)
    torch.testing.assert_close(head_last, head_first)
