from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snn4.policies.dynamics import NeuronState
from snn4.policies.network import SpikingResidual, SpikingSequential, detach
from snn4.policies.neurons import Neuron, NeuronConfig
from snn4.policies.normalization import StepNorm2d

T, B = 7, 3
LIF = NeuronConfig(tau_mem=4e-3, v_threshold=0.4)
CUBA = NeuronConfig("cuba", tau_mem=4e-3, v_threshold=0.4)


def network(norm: str = "none", dtype: torch.dtype = torch.float64, **options: Any) -> SpikingSequential:
    """Convolutions and neurons with all ways of nesting, and a readout."""

    def synapses(a: int, b: int) -> list[nn.Module]:
        norms = {"none": [], "batch": [nn.BatchNorm2d(b)], "step": [StepNorm2d(b, 32)]}
        return [nn.Conv2d(a, b, 3, padding=1), *norms[norm]]

    torch.manual_seed(0)
    branch = SpikingSequential(*synapses(4, 6), Neuron(CUBA), nn.Conv2d(6, 4, 1))
    block = SpikingResidual(branch, SpikingSequential(nn.Conv2d(4, 4, 1), Neuron(LIF)))
    layers = [*synapses(2, 4), Neuron(LIF), nn.AvgPool2d(2), block, SpikingSequential(Neuron(LIF), nn.Flatten())]
    return SpikingSequential(*layers, nn.Linear(4 * 9, 5), **options).to(dtype)


def images(steps: int = T) -> Tensor:
    return torch.randn(steps, B, 2, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def tensors(state: Any) -> list[Tensor]:
    if isinstance(state, tuple):
        return [x for part in state for x in tensors(part)]
    return [state] if isinstance(state, Tensor) else []


def trained(net: SpikingSequential, x: Tensor, steps: int | None = None) -> list[Tensor]:
    """Output, last state and the gradients of parameters and, last, input, from a loss that all of them enter."""
    x = x.clone().requires_grad_()
    y, state = net(x, None, steps)
    weights = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).reshape(y.shape)
    (torch.tanh(y * weights).sum() + sum(part.square().sum() for part in tensors(state))).backward()
    gradients = [p.grad for p in (*net.parameters(), x)]
    assert gradients[0].abs().sum() > 0
    return [y, *tensors(state), *gradients]


def assert_close(got: list[Tensor], expected: list[Tensor]) -> None:
    assert len(got) == len(expected)
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("norm", ["batch", "step"])
def test_one_step_at_a_time_is_all_steps_at_once(norm: str) -> None:
    net, x, state, outputs = network(norm).eval(), images(), None, []
    for step in x.split([1, 2, 1, 3]):
        y, state = net(step, state)
        outputs.append(y)
    whole, last = net(x)
    assert sum(part.abs().sum() for part in tensors(last)) > 0
    assert_close([torch.cat(outputs), *tensors(state)], [whole, *tensors(last)])
    assert isinstance(last[-1][0], NeuronState)
    assert len(last) == (3 if norm == "batch" else 4)


@pytest.mark.parametrize("norm", ["none", "batch", "step"])
def test_constant_input_is_the_same_input_at_every_step(norm: str) -> None:
    x, constant, expanded = images(1), network(norm), network(norm)
    batches: list[int] = []
    constant[0].register_forward_hook(lambda layer, inputs, output: batches.append(len(output)))
    got, expected = trained(constant, x, T), trained(expanded, x.expand(T, -1, -1, -1, -1))
    expected[-1] = expected[-1].sum(0, keepdim=True)
    assert_close(got, expected)
    assert batches == [B]  # the first convolution ran once


@pytest.mark.parametrize(("norm", "k", "constant"), [("none", 1, False), ("none", 3, True), ("step", 3, False)])
def test_segments_have_the_gradients_of_the_whole(norm: str, k: int, constant: bool) -> None:
    x, steps = images(1 if constant else T), T if constant else None
    whole, segments = network(norm), network(norm, checkpoint_steps=k)
    assert_close(trained(segments, x, steps), trained(whole, x, steps))
    assert_close(list(segments.buffers()), list(whole.buffers()))
    with torch.no_grad():
        assert_close([segments(x, None, steps)[0]], [whole(x, None, steps)[0]])


def test_segments_update_running_statistics_once() -> None:
    """As the same segments run one after the other, without a second pass in the backward one."""
    net, plain, x = network("batch", checkpoint_steps=3), network("batch"), images()
    y, _ = net(x)
    before = [buffer.clone() for buffer in net.buffers()]
    y.square().sum().backward()
    assert_close(list(net.buffers()), before)
    state, loss = None, torch.zeros(())
    for chunk in x.split(3):
        y, state = plain(chunk, state)
        loss = loss + y.square().sum()
    loss.backward()
    assert_close(list(net.buffers()), list(plain.buffers()))
    assert int(net[1].num_batches_tracked) == 3
    assert_close([p.grad for p in net.parameters()], [p.grad for p in plain.parameters()])


def test_segments_hold_far_less_for_the_backward_pass() -> None:
    def held(steps: int, **options: Any) -> int:
        """Bytes kept between forward and backward pass."""
        storages: dict[int, Any] = {}

        def keep(x: Tensor) -> Tensor:
            storages[x.untyped_storage().data_ptr()] = x.untyped_storage()  # held, so that no address comes twice
            return x

        net = network(dtype=torch.float32, **options)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
            _, state = net(images(1).float(), None, steps)
        states = sum(part.nbytes for part in tensors(state)) * steps // options.get("checkpoint_steps", steps)
        return sum(storage.nbytes() for storage in storages.values()) + states

    whole, segmented = (held(64, **options) - held(32, **options) for options in ({}, {"checkpoint_steps": 8}))
    assert 0 < segmented < whole / 8
    assert held(64, checkpoint_steps=8) < held(64) / 6


def test_truncated_backpropagation_cuts_between_chunks() -> None:
    """Against the LIF equation with a membrane that loses its history at the first step of each chunk."""
    layer, x, k = nn.Linear(4, 5).double(), torch.randn(6, B, 4, dtype=torch.float64), 2
    net, state = SpikingSequential(layer, Neuron(LIF)), None
    for chunk in x.split(k):
        y, state = net(chunk, detach(state))
        (y.sum() + state[0].v.square().sum()).backward()
    got = layer.weight.grad.clone()

    def gradient(cuts: bool) -> Tensor:
        layer.zero_grad()
        v, loss = torch.zeros(B, 5, dtype=torch.float64), torch.zeros(())
        for t, step in enumerate(x):
            v = LIF.decay * (v.detach() if cuts and t % k == 0 else v) + layer(step)
            s = (v >= LIF.v_threshold).to(v)
            slope = 1 / (1 + (torch.pi * (v - LIF.v_threshold)).square())  # arctan with slope 2, at x = v - threshold
            s = s + (slope.detach() * (v - v.detach()))
            v = v - s.detach() * LIF.v_threshold
            loss = loss + s.sum() + (v.square().sum() if t % k == k - 1 else 0)
        loss.backward()
        return layer.weight.grad.clone()

    assert_close([got], [gradient(cuts=True)])
    assert not torch.allclose(got, gradient(cuts=False))


@pytest.mark.parametrize(("half", "tolerance"), [(False, 1e-4), (True, 0.05)])
def test_segments_of_fused_scans_in_channels_last(half: bool, tolerance: float) -> None:
    x = images(1).float()[0].to(memory_format=torch.channels_last).unsqueeze(0)
    results = []
    for k in (None, 3):
        net = network("batch", torch.float32, checkpoint_steps=k).eval().to(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            y, state = net(x, None, T)
        assert y.dtype == (torch.bfloat16 if half else torch.float32)
        assert state[0].v.is_contiguous(memory_format=torch.channels_last)
        assert state[0].v.dtype == torch.float32
        y.float().square().sum().backward()
        results.append([y, *tensors(state), *(p.grad for p in net.parameters())])
    for a, b in zip(*results, strict=True):  # sums run in other orders
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance * b.abs().max().item())


def test_errors_name_what_does_not_fit() -> None:
    net, x = network(), images()
    _, state = net(x)
    with pytest.raises(ValueError, match=r"^checkpoint_steps: got 0, allowed is None or a whole number >= 1"):
        SpikingSequential(checkpoint_steps=0)
    with pytest.raises(ValueError, match=r"^state: got 2 entries, allowed is a tuple of 3"):
        net(x, state[:2])
    with pytest.raises(ValueError, match=r"^state: got int, allowed is a tuple of 2"):
        net[3](torch.zeros(1, B, 4, 3, 3).double(), 1)
    with pytest.raises(ValueError, match=r"^state.v: got shape \(3, 4, 6, 6\), allowed is \(2, 4, 6, 6\)"):
        net(x[:, :2], state)
    with pytest.raises(ValueError, match=r"^steps: got 3 for an input of 7 steps"):
        net(x, None, 3)
    with pytest.raises(ValueError, match=r"^x: got shape \(5,\), allowed is \(T, B, …\)"):
        net(torch.zeros(5))
    with pytest.raises(TypeError, match=r"^RNN: got an output of type tuple, allowed is a Tensor"):
        SpikingSequential(nn.RNN(2, 2))(torch.zeros(1, 1, 2))
