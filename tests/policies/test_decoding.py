from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from snn4.policies.decoding import DECODERS, decoder_weights, make_decoder
from snn4.policies.neurons import Neuron, NeuronConfig


def random_spikes(*shape: int, rate: float = 0.3) -> Tensor:
    return (torch.rand(shape, generator=torch.Generator().manual_seed(0)) < rate).float()


def decoded(kind: str, train: list[float], decay: float) -> float:
    """The value that ``kind`` decodes from the spikes of one neuron, by definition."""
    T = len(train)
    if kind == "first_spike":
        return (T - train.index(1)) / T if 1 in train else 0.0
    trace = mass = 0.0
    for spike in train:
        leak = decay if kind == "membrane" else 1.0
        trace, mass = leak * trace + spike, leak * mass + 1
    return trace / mass


@pytest.mark.parametrize("T", [1, 4, 9])
@pytest.mark.parametrize("kind", DECODERS)
def test_decoder_by_its_definition(kind: str, T: int) -> None:
    spikes = random_spikes(T, 6, 5)
    values = make_decoder(kind, T, 0.7)(spikes)
    assert values.shape == (6, 5)
    for b, i in np.ndindex(6, 5):
        assert values[b, i].item() == pytest.approx(decoded(kind, spikes[:, b, i].tolist(), 0.7), abs=1e-6)


@pytest.mark.parametrize("kind", DECODERS)
def test_silence_is_zero_and_a_spike_at_every_step_one(kind: str) -> None:
    decoder = make_decoder(kind, 5, 0.9)
    assert decoder(torch.zeros(5, 2, 3, 4, 4)).eq(0).all()
    torch.testing.assert_close(decoder(torch.ones(5, 2, 3, 4, 4)), torch.ones(2, 3, 4, 4))


@pytest.mark.parametrize("kind", DECODERS)
def test_half_precision_is_decoded_in_float32(kind: str) -> None:
    decoder, spikes = make_decoder(kind, 7, 0.9), random_spikes(7, 4, 3)
    with torch.autocast("cpu", torch.bfloat16):
        values = decoder(spikes.bfloat16())
    assert values.dtype == torch.float32
    assert torch.equal(values, decoder(spikes))


def test_only_the_weighted_decoder_learns_and_is_saved() -> None:
    names = {kind: list(make_decoder(kind, 4, 0.9).state_dict()) for kind in DECODERS}
    assert names == {"rate": [], "membrane": [], "weighted": ["weights"], "first_spike": []}


def test_weighted_decoder_finds_the_weights_behind_values() -> None:
    """The decoder starts as rate; targets from a leaky trace turn its weights into those of membrane."""
    decoder, spikes = make_decoder("weighted", 4, 0.5), random_spikes(4, 64, 2)
    torch.testing.assert_close(decoder(spikes), spikes.mean(0))
    target, optimiser = make_decoder("membrane", 4, 0.5)(spikes), torch.optim.Adam(decoder.parameters(), 0.05)
    for _ in range(200):
        optimiser.zero_grad()
        (decoder(spikes) - target).square().mean().backward()
        optimiser.step()
    torch.testing.assert_close(decoder.weights.detach(), decoder_weights("membrane", 4, 0.5), atol=1e-3, rtol=0)


def test_gradient_of_first_spike_is_what_each_spike_is_worth() -> None:
    """The derivative by a spike is the value with this spike minus the value without it; other spikes stay."""
    T, decoder = 6, make_decoder("first_spike", 6, 0.9)
    spikes = random_spikes(T, 40, 1, rate=0.25).requires_grad_()
    decoder(spikes).sum().backward()
    assert spikes.grad is not None
    assert len(set(spikes.detach().sum(0).flatten().tolist()) & {0, 1, 2}) == 3  # silent, one spike, two
    for t in range(T):
        here = (torch.arange(T) == t).view(T, 1, 1)
        worth = decoder(spikes.detach().masked_fill(here, 1)) - decoder(spikes.detach().masked_fill(here, 0))
        torch.testing.assert_close(spikes.grad[t], worth)


def test_first_spike_lets_silent_neurons_learn_when_to_spike() -> None:
    """Neurons that never spike at first learn to do so, each the earlier the larger its target."""
    torch.manual_seed(0)
    decoder, neuron = make_decoder("first_spike", 8, 0.9), Neuron(NeuronConfig(tau_mem=10e-3))
    target, weight = torch.tensor([[0.25, 0.5, 0.75, 1.0]]), nn.Parameter(torch.full((1, 4), 0.01))
    optimiser = torch.optim.Adam([weight], 0.02)

    def values() -> Any:
        return decoder(neuron(weight[None], steps=8)[0])

    assert values().eq(0).all()
    for _ in range(150):
        optimiser.zero_grad()
        (values() - target).square().sum().backward()
        optimiser.step()
    torch.testing.assert_close(values().detach(), target, atol=1 / 8, rtol=0)


def test_small_network_learns_a_function_through_first_spike() -> None:
    torch.manual_seed(0)
    layers = [nn.Linear(2, 32), Neuron(NeuronConfig()), nn.Linear(32, 1), Neuron(NeuronConfig())]
    decoder, optimiser = make_decoder("first_spike", 8, 0.9), torch.optim.Adam(nn.ModuleList(layers).parameters(), 5e-3)
    x = torch.rand(128, 2)
    target = (x[:, :1] - x[:, 1:]).abs()
    losses = []
    for _ in range(150):
        signal = x[None]
        for layer in layers:
            signal = layer(signal, steps=8)[0] if isinstance(layer, Neuron) else layer(signal)
        loss = (decoder(signal) - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert np.mean(losses[-10:]) < 0.3 * target.var().item() < losses[0]


@pytest.mark.parametrize("T", [1, 4, 9])
def test_decoder_weights(T: int) -> None:
    rate, membrane = decoder_weights("rate", T, 0.7), decoder_weights("membrane", T, 0.7)
    assert rate.sum() == pytest.approx(1)
    assert rate.tolist() == pytest.approx([1 / T] * T)
    assert membrane.sum() == pytest.approx(1)
    spikes = torch.rand(T)
    assert (membrane @ spikes).item() == pytest.approx(decoded("membrane", spikes.tolist(), 0.7), rel=1e-5)


@pytest.mark.parametrize("kind", ["rate", "membrane", "weighted"])
def test_decoding_by_weights_commutes_with_a_linear_head(kind: str) -> None:
    torch.manual_seed(0)
    decoder, head = make_decoder(kind, 6, 0.8), nn.Linear(10, 3)
    spikes = random_spikes(6, 4, 10)
    torch.testing.assert_close(head(decoder(spikes)), decoder(head(spikes)))


def test_bad_arguments_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"^readout: got 'last', allowed are rate, membrane, weighted, first_spike$"):
        make_decoder("last", 4, 0.9)
    with pytest.raises(ValueError, match=r"^readout: got 'weighted', allowed are rate, membrane$"):
        decoder_weights("weighted", 4, 0.9)
    with pytest.raises(ValueError, match=r"^T: got 0, allowed is a whole number >= 1"):
        make_decoder("rate", 0, 0.9)
    with pytest.raises(ValueError, match=r"^decay: got nan, allowed is a number from 0 to 1"):
        make_decoder("membrane", 4, float("nan"))
    for kind in DECODERS:
        with pytest.raises(ValueError, match=r"^spikes: got 1 steps \(shape \(1, 2\)\), allowed are 4"):
            make_decoder(kind, 4, 0.9)(torch.zeros(1, 2))
