from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from snn4.policies.acting.mlp import SpikingMLP
from snn4.policies.coding import CodingConfig
from snn4.policies.decoding import decoder_weights
from snn4.policies.neurons import Neuron, NeuronConfig

NEURONS = {
    "soft": NeuronConfig(tau_mem=5e-3, v_threshold=0.6, v_leak=0.05),
    "hard": NeuronConfig(tau_mem=5e-3, v_threshold=0.6, v_reset=-0.1, reset="hard", r=4.0),
}


def step_by_step(net: SpikingMLP, x: Tensor, readout: str) -> tuple[list[Tensor], Tensor, Tensor]:
    """All layers at one step before any at the next, as a chip would run them.

    Also how near to the threshold the membranes of each sample have come (B,).
    """
    linears = [layer for layer in net.layers if isinstance(layer, nn.Linear)]
    config = next(layer.config for layer in net.layers if isinstance(layer, Neuron))
    membranes = [torch.full((len(x), linear.out_features), config.v_leak) for linear in linears]
    trains: list[list[Tensor]] = [[] for _ in linears]
    code = net.encoder(x)
    weights = decoder_weights(readout, net.T, config.decay)
    decoded, nearest = torch.zeros(len(x), linears[-1].out_features), torch.full((len(x),), torch.inf)
    for t in range(net.T):
        signal = code[min(t, len(code) - 1)]
        for n, linear in enumerate(linears):
            current = signal @ linear.weight.T + linear.bias
            v = config.decay * membranes[n] + config.gain * current + (1 - config.decay) * config.v_leak
            nearest = torch.minimum(nearest, (v - config.v_threshold).abs().amin(1))
            signal = (v >= config.v_threshold).float()
            soft = v - signal * config.v_threshold
            membranes[n] = soft if config.reset == "soft" else torch.where(signal > 0, config.v_reset, v)
            trains[n].append(signal)
        decoded = decoded + weights[t] * signal
    return [torch.stack(train) for train in trains], decoded, nearest


@pytest.mark.parametrize("readout", ["rate", "membrane"])
@pytest.mark.parametrize("neuron", NEURONS.values(), ids=NEURONS)
@pytest.mark.parametrize("kind", ["direct", "population"])
@pytest.mark.parametrize("T", [1, 5])
def test_layer_by_layer_equals_step_by_step(T: int, kind: Any, neuron: NeuronConfig, readout: str) -> None:
    torch.manual_seed(0)
    net = SpikingMLP(6, [20, 16, 12], T, neuron, CodingConfig(kind=kind), readout)
    with torch.no_grad():
        for linear in net.layers[::2]:
            linear.weight.mul_(4)  # lively enough that all layers spike
    x = torch.randn(40, 6)
    *_, nearest = step_by_step(net, x, readout)
    x = x[nearest > 1e-4][:10]  # whose spikes do not depend on rounding
    trains, decoded, _ = step_by_step(net, x, readout)
    for got, want in zip(net.spikes(x), trains, strict=True):
        assert torch.equal(got, want)
        assert 0 < want.mean() < 1
    torch.testing.assert_close(net(x), decoded)


def test_forgets_between_calls_and_keeps_examples_apart() -> None:
    torch.manual_seed(0)
    net, x = SpikingMLP(4, [32, 32], neuron=NEURONS["soft"]), 3 * torch.randn(5, 4)
    together = net(x)
    assert torch.equal(net(x), together)
    torch.testing.assert_close(torch.cat([net(row[None]) for row in x]), together)


@pytest.mark.parametrize("kind", ["direct", "population"])
def test_gradients_reach_every_parameter(kind: Any) -> None:
    torch.manual_seed(0)
    net = SpikingMLP(4, [32, 32], coding=CodingConfig(kind=kind), neuron=NEURONS["soft"])
    net(torch.randn(16, 4)).sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("readout", ["rate", "weighted"])
@pytest.mark.parametrize("kind", ["lif", "cuba", "alif", "multi", "plif"])
@pytest.mark.parametrize("code", ["direct", "population"])
def test_learns_as_layer_by_layer(code: Any, kind: Any, readout: str) -> None:
    """However it is computed, output and gradients are those of its layers run one after another."""
    torch.manual_seed(0)
    neuron = NeuronConfig(kind, tau_mem=5e-3, v_threshold=0.6, v_leak=0.05, surrogate="sigmoid")
    net, x = SpikingMLP(4, [24, 16, 8], 5, neuron, CodingConfig(kind=code), readout), 2 * torch.randn(20, 4)
    target, grads = torch.randn(20, 8), []
    with torch.no_grad():
        for linear in net.layers[::2]:
            linear.weight.mul_(3)  # lively enough that all layers spike
    for way in (net, lambda values: net.decoder(net.spikes(values)[-1])):
        values = x.clone().requires_grad_()
        out = way(values)
        inputs = {"x": values, **dict(net.named_parameters())}
        found = torch.autograd.grad((out - target).square().sum(), list(inputs.values()))
        grads.append((out.detach(), dict(zip(inputs, found, strict=True))))
    (out, got), (expected, wanted) = grads
    torch.testing.assert_close(out, expected)
    for name, grad in wanted.items():
        assert grad.abs().sum() > 0, name
        torch.testing.assert_close(got[name], grad, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize("backend", ["torch", "snntorch", "norse"])
def test_decides_as_in_torch(backend: str) -> None:
    """`decide`, without torch where that can be, is `forward`."""
    if backend != "torch":
        pytest.importorskip(backend)
    torch.manual_seed(0)
    for code, readout in (
        ("direct", "rate"),
        ("population", "membrane"),
        ("phase", "weighted"),
        ("direct", "first_spike"),
    ):
        net = SpikingMLP(3, [16, 8], 4, NEURONS["soft"], CodingConfig(kind=code), readout, backend=backend)  # type: ignore[arg-type]
        x = 3 * torch.randn(6, 3)
        decided, expected = net.decide(x.numpy()), net(x).detach()
        assert (decided is None) == (backend != "torch" or readout == "first_spike")
        if decided is not None:
            assert decided.dtype == np.float32
            np.testing.assert_allclose(decided, expected.numpy(), rtol=1e-5, atol=1e-6)
        with torch.no_grad():
            torch.testing.assert_close(net(x), expected)


def test_bounds_reach_the_encoder() -> None:
    bounds = np.array([0, 5], np.float32), np.array([1, 9], np.float32)
    net = SpikingMLP(2, [4], coding=CodingConfig(kind="population"), bounds=bounds)
    assert net.encoder.centres.amin(1).tolist() == [0, 5]
    assert net.encoder.centres.amax(1).tolist() == [1, 9]


def test_decoder_is_no_parameter_and_is_not_saved() -> None:
    names = SpikingMLP(2, [4, 3]).state_dict()
    assert list(names) == ["layers.0.weight", "layers.0.bias", "layers.2.weight", "layers.2.bias"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"T": 0}, "^T: got 0, allowed is a whole number >= 1"),
        ({"net_arch": []}, r"^net_arch: got \[\], allowed is one or more layer sizes >= 1"),
        ({"net_arch": [8, 0]}, r"^net_arch: got \[8, 0\], allowed is one or more layer sizes >= 1"),
        ({"readout": "last"}, "^readout: got 'last', allowed are rate, membrane"),
    ],
)
def test_errors(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SpikingMLP(**{"n_inputs": 3, "net_arch": [8], **arguments})
