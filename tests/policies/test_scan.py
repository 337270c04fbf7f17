from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scans import BF16, F32, VARIANTS, assert_equal, assert_same, constants, inputs, run
from thresholds import NEAR, distance, distance_of
from torch import Tensor

from snn4.policies.dynamics import Dynamics, NeuronState, rest_state
from snn4.policies.fused import is_fused
from snn4.policies.neurons import Neuron, NeuronConfig
from snn4.policies.scan import reference_scan, scan


def channels_last(x: Tensor) -> Tensor:
    return x.movedim(2, -1).contiguous().movedim(-1, 2)


@pytest.mark.parametrize("name", VARIANTS)
def test_fused_kernel_equals_plain_loop(name: str) -> None:
    """Also for images in both layouts, and for a constant current, which in turn equals the same current repeated."""
    assert is_fused(), "numba is a dependency: nothing here is compared with anything without it"
    current, state, dynamics, decay = inputs(name, 6, 3, 5, 2, 2)
    assert min(distance(current, state, dynamics, decay), distance(current[:1], state, dynamics, decay, 6)) > NEAR
    whole = run(scan, current, state, dynamics, decay)
    assert_same(whole, run(reference_scan, current, state, dynamics, decay))
    if dynamics.reset != "none":
        assert 0.1 < whole[0].float().mean() < 0.9

    turned = channels_last(current)
    assert not turned.is_contiguous()
    images = run(scan, turned, state, dynamics, decay)
    assert images[0].movedim(2, -1).is_contiguous()
    assert_same(images, whole)

    constant = run(scan, current[:1], state, dynamics, decay, steps=6)
    assert_same(constant, run(reference_scan, current[:1], state, dynamics, decay, steps=6))
    output, states, (grad, *others) = run(scan, current[:1].expand(current.shape), state, dynamics, decay)
    assert_same(constant, (output, states, (grad.float().sum(0, keepdim=True).to(grad.dtype), *others)))


@pytest.mark.parametrize("name", [name for name in VARIANTS if "bfloat16" not in name])
@pytest.mark.parametrize("rested", [True, False])
def test_second_derivatives_are_those_of_the_plain_loop(name: str, rested: bool) -> None:
    """Of a penalty on first ones, for all inputs."""

    def penalized(function: Any, current: Tensor, state: NeuronState | None, dynamics: Dynamics, decay: Any) -> Any:
        current = current.detach().requires_grad_()
        state = state and state.map(lambda part: part.detach().requires_grad_())
        decay = None if decay is None else decay.detach().requires_grad_()
        wanted = [part for part in (current, *(state or ()), decay) if part is not None]
        output, last = function(1.1 * current, state, dynamics, decay=decay)
        loss = (output.square() * torch.linspace(1, 2, output.numel()).view(output.shape)).sum() + last.v.square().sum()
        first = torch.autograd.grad(loss, wanted, create_graph=True)
        return torch.autograd.grad(sum(grad.square().sum() for grad in first), wanted)

    def plain(current: Tensor, state: NeuronState | None, dynamics: Dynamics, decay: Any) -> Any:
        return reference_scan(current, state or rest_state(current, dynamics), dynamics, decay=decay)

    current, state, dynamics, decay = inputs(name, 6, 3, 5)
    got, wanted = (penalized(f, current, None if rested else state, dynamics, decay) for f in (scan, plain))
    assert any(grad.abs().sum() > 0 for grad in wanted)
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b, atol=1e-3 * float(b.abs().max()) + 1e-6, rtol=1e-3)


def test_graphs_of_gradients_change_no_gradient() -> None:
    """Also of a state that was made of the current, and of many steps in half precision."""
    current, _, dynamics, _ = inputs("lif-soft", 6, 3, 5)
    half, steps = inputs("lif-soft-bfloat16", 1, 3, 5), 256
    for x, first, d, n in ((current, True, dynamics, None), (half[0], False, half[2], steps)):
        seen, told = x.requires_grad_(), []
        for again in (False, True):
            state = NeuronState(1.1 * seen.mean(0)) if first else None
            loss = scan(seen, state, d, steps=n)[0].float().square().sum()
            told += torch.autograd.grad(loss, [seen], create_graph=again)
        torch.testing.assert_close(told[1], told[0], atol=1e-5, rtol=1e-4 if first else 0.01)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("differentiated", [True, False])
def test_a_traced_neuron_goes_on_spiking(differentiated: bool) -> None:
    """Also after it was saved, as stable-baselines3's guide to export does it."""
    neuron, file = Neuron(NeuronConfig()), io.BytesIO()
    seen, other = torch.randn(2, 4, 2, 3, generator=torch.Generator().manual_seed(0)) + 0.5
    assert distance_of(neuron, other) > NEAR
    with torch.set_grad_enabled(differentiated):
        torch.jit.save(torch.jit.trace(lambda x: neuron(x)[0], seen), file)
        file.seek(0)
        traced = torch.jit.load(file)
        assert torch.equal(traced(other), neuron(other)[0])
        assert not torch.equal(traced(other), traced(seen))


@pytest.mark.parametrize("name", ["lif-soft", "lif-hard", "everything-hard"])
def test_without_gradients_the_same(name: str) -> None:
    current, state, dynamics, decay = inputs(name, 6, 3, 5)
    spikes, states, _ = run(scan, current, state, dynamics, decay)
    with torch.no_grad():
        silent, last = scan(current, state, dynamics, decay=decay)
    assert torch.equal(silent, spikes)
    assert all(torch.equal(a, b) for a, b in zip([part for part in last if part is not None], states, strict=True))


@pytest.mark.parametrize("name", VARIANTS)
def test_two_chunks_are_one_run(name: str) -> None:
    current, state, dynamics, decay = inputs(name, 7, 3, 4)

    def in_two_chunks(current: Tensor, state: NeuronState, dynamics: Dynamics, decay: Any) -> Any:
        first, middle = scan(current[:3], state, dynamics, decay=decay)
        second, last = scan(current[3:], middle, dynamics, decay=decay)
        return torch.cat([first, second]), last

    chunks, whole = (run(function, current, state, dynamics, decay) for function in (in_two_chunks, scan))
    assert_equal(chunks, whole)
    assert_same(chunks, whole, 1e-6)


@settings(deadline=None, max_examples=60)
@given(
    name=st.sampled_from([name for name, (_, dtype, _) in VARIANTS.items() if dtype == F32]),
    shape=st.lists(st.integers(1, 5), min_size=2, max_size=4),
    seed=st.integers(0, 2**32 - 1),
    v_threshold=st.floats(0.1, 2),
    v_reset=st.floats(-1, 0),
    slope=st.floats(0.5, 10),
    decays=st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)),
    syn_gain=st.floats(-2, 2),
    adapt_decay=st.floats(0, 1),
)
def test_fused_kernel_equals_plain_loop_for_any_shape_and_constants(
    name: str, shape: list[int], seed: int, decays: tuple[float, ...], **changes: float
) -> None:
    count = len(VARIANTS[name][0].get("decay", (0.9,)))
    arguments = inputs(name, *shape, seed=seed, decay=decays[:count], **changes)
    assume(distance(*arguments) > NEAR)
    assert_same(run(scan, *arguments), run(reference_scan, *arguments), 1e-4)


def test_membrane_by_hand() -> None:
    current = torch.tensor([0.5, 1.0, 0.25, 1.5]).reshape(4, 1)
    state, dynamics = NeuronState(torch.tensor([0.5])), Dynamics((0.5,), (2.0,), (-0.25,))
    spikes, last = scan(current, state, dynamics)
    # u: 0.25 + 0.75 = 1 spikes, leaves 0 | 0 + 1.75 spikes, leaves 0.75 | 0.375 + 0.25 = 0.625 | 0.3125 + 2.75 spikes
    assert spikes.ravel().tolist() == [1, 1, 0, 1]
    assert last.v.item() == 2.0625
    spikes, last = scan(current, state, dynamics._replace(reset="hard", v_reset=-1.0))
    # u: 1 spikes | -0.5 + 1.75 spikes | -0.5 + 0.25 = -0.25 | -0.125 + 2.75 spikes
    assert spikes.ravel().tolist() == [1, 1, 0, 1]
    assert last.v.item() == -1.0
    membrane, last = scan(current, state, dynamics._replace(reset="none"))
    # u: 1 | 0.5 + 1.75 = 2.25 | 1.125 + 0.25 = 1.375 | 0.6875 + 2.75 = 3.4375
    assert membrane.ravel().tolist() == [1, 2.25, 1.375, 3.4375]
    assert last.v.item() == 3.4375


def test_everything_by_hand() -> None:
    """Synapse, three membranes, adaptation and a hard reset in one neuron."""
    dynamics = constants(
        decay=(0.5, 0.0, 1.0), gain=(1.0, 2.0, 0.5), leak=(0.0, 0.5, 0.0), v_threshold=1.0, v_reset=-1.0, reset="hard",
        syn_decay=0.5, syn_gain=2.0, adaptation=1.0, adapt_decay=0.5,
    )  # fmt: skip
    state = NeuronState(torch.zeros(3, 1), torch.zeros(1), torch.zeros(1))
    current = torch.tensor([[0.5], [0.25]])
    # i = 1,   u = (1, 2.5, 0.5),     mean 4/3 >= 1 spikes: v = (-1, -1, -1),        a = 1
    # i = 1,   u = (0.5, 2.5, -0.5),  mean 5/6 < 1 + 1:     v = u,                   a = 0.5
    with torch.no_grad():
        spikes, last = scan(current, state, dynamics)
    assert spikes.ravel().tolist() == [1, 0]
    assert last.v.ravel().tolist() == [0.5, 2.5, -0.5]
    assert [part.item() for part in (last.i, last.a) if part is not None] == [1, 0.5]


@pytest.mark.parametrize("name", ["lif-soft", "everything-hard", "plif-soft"])
def test_float64_agrees_with_the_fused_float32(name: str) -> None:
    """autograd's gradients in double precision."""
    current, state, dynamics, decay = inputs(name, 6, 3, 5, seed=2)
    assert distance(current, state, dynamics, decay) > NEAR
    fused = run(scan, current, state, dynamics, decay)
    wide = None if decay is None else decay.double()
    output, states, gradients = run(scan, current.double(), state.map(Tensor.double), dynamics, wide)
    assert output.dtype == states[0].dtype == torch.float64
    assert torch.equal(output.float(), fused[0])
    for got, want in zip([*fused[1], *fused[2]], [*states, *gradients], strict=True):
        torch.testing.assert_close(got, want.float(), atol=1e-4, rtol=1e-4)


def test_gradients_of_a_leaky_integrator_are_finite_differences() -> None:
    """It is linear: a difference of two runs of the fused kernel, however large, is the derivative."""
    current, state, dynamics, _ = inputs("li", 5, 2, 3)
    torch.manual_seed(0)
    d_current, d_v, weights = torch.randn(current.shape), torch.randn(state.v.shape), torch.randn(current.shape)
    current.requires_grad_()
    state.v.requires_grad_()
    (scan(current, state, dynamics)[0] * weights).sum().backward()
    with torch.no_grad():
        moved, _ = scan(current + d_current, NeuronState(state.v + d_v), dynamics)
        difference = ((moved - scan(current, state, dynamics)[0]) * weights).sum()
    slope = (current.grad * d_current).sum() + (state.v.grad * d_v).sum()  # type: ignore[operator]
    assert slope.item() == pytest.approx(difference.item(), rel=1e-4)


def test_gradient_of_a_long_constant_current_is_summed_in_full_precision() -> None:
    """In bfloat16 a sum stops growing once it is 256 times what is added."""
    gradients = []
    for dtype in (BF16, F32):
        current = torch.full((1, 2, 3), 0.1, dtype=dtype, requires_grad=True)
        state, dynamics = NeuronState(torch.zeros(2, 3)), constants(gain=(0.1,), leak=(0.0,), surrogate="gaussian")
        spikes, _ = scan(current, state, dynamics, steps=1000)
        gradients.append(torch.autograd.grad(spikes.sum(), current)[0])
    torch.testing.assert_close(gradients[0].float(), gradients[1], rtol=0.02, atol=0)


def test_detached_state_cuts_the_gradient() -> None:
    """Truncated backpropagation through time."""
    current, state, dynamics, _ = inputs("cuba-soft", 6, 3, 4)
    current.requires_grad_()
    _, middle = scan(current[:3], state, dynamics)
    assert middle.v.requires_grad
    cut = middle.detach()
    assert all(part is not None and not part.requires_grad for part in (cut.v, cut.i))
    assert cut.a is None
    spikes, _ = scan(current[3:], cut, dynamics)
    (gradient,) = torch.autograd.grad(spikes.sum(), current)
    assert not gradient[:3].any()
    assert gradient[3:].any()


def test_reset_passes_no_gradient() -> None:
    """After a spike a hard reset leaves nothing of the past."""
    current = torch.tensor([[2.0], [0.1]]).requires_grad_()
    _, last = scan(current, NeuronState(torch.zeros(1)), Dynamics((0.5,), reset="hard", surrogate="sigmoid"))
    (gradient,) = torch.autograd.grad(last.v.sum(), current)
    assert gradient.ravel().tolist() == [0, 1]


def test_memory_layout_does_not_matter_and_the_callers_state_stays() -> None:
    torch.manual_seed(0)
    turned, v = torch.randn(5, 6, 3).transpose(0, 1), torch.randn(3, 5).T
    before = v.clone()
    for current in (turned, torch.randn(5, 3).expand(6, 5, 3)):
        assert not current.is_contiguous()
        with_layout = run(scan, current, NeuronState(v), constants(surrogate="sigmoid"))
        without = run(scan, current.contiguous(), NeuronState(v.contiguous()), constants(surrogate="sigmoid"))
        assert_equal(with_layout, without)
        assert_same(with_layout, without)
    assert torch.equal(v, before)


@pytest.mark.parametrize("default", [torch.bfloat16, torch.float64])
def test_torch_s_default_dtype_does_not_matter(default: torch.dtype) -> None:
    current = torch.randn(1, 3, 5, requires_grad=True)

    def spikes_state_and_gradient() -> list[Tensor]:
        spikes, last = scan(current, None, constants(surrogate="sigmoid"), steps=6)
        return [spikes, last.v, *torch.autograd.grad(spikes.sum(), current)]

    expected = spikes_state_and_gradient()
    torch.set_default_dtype(default)
    try:
        got = spikes_state_and_gradient()
    finally:
        torch.set_default_dtype(torch.float32)
    assert all(a.dtype == torch.float32 and torch.equal(a, b) for a, b in zip(got, expected, strict=True))


@pytest.mark.parametrize("name", ["lif-soft", "plif-soft"])
def test_batch_of_none(name: str) -> None:
    _, _, dynamics, decay = inputs(name, 1, 1, 3)
    spikes, state = scan(torch.empty(4, 0, 3), NeuronState(torch.empty(0, 3)), dynamics, decay=decay)
    assert spikes.shape == (4, 0, 3)
    assert state.v.shape == (0, 3)
