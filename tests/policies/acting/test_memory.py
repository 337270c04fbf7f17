from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snn4.policies.acting.memory import Memory, MemoryConfig
from snn4.policies.neurons import Neuron, NeuronConfig
from snn4.policies.recurrent import SpikingRecurrentPolicy

LIVELY: dict[str, Any] = {"tau_mem": 3e-3, "v_threshold": 0.4, "v_leak": 0.125, "tau_more": (2e-3, 30e-3)}
KINDS = ["lif", "cuba", "alif", "multi", "plif"]
ROWS = {"lif": 1, "cuba": 2, "alif": 2, "multi": 3, "plif": 1}


def make(kind: Any = "lif", taus: tuple[float, ...] = (2e-3, 8e-3), backend: str = "torch", **more: Any) -> Memory:
    torch.manual_seed(0)
    neuron = None if kind is None else NeuronConfig(kind, **{**LIVELY, **more})
    memory = Memory(3, (9, 6), neuron, MemoryConfig(taus), backend)
    with torch.no_grad():
        for linear in (layer for layer in memory.layers if isinstance(layer, nn.Linear)):
            linear.weight.mul_(3)
    return memory


def life(memory: Memory, n: int = 4, rows: int = 0) -> tuple[Tensor, Tensor]:
    """A packed state: a new life of ``n`` environments."""
    zeros = torch.zeros(memory.num_layers + rows, n, memory.hidden_size)
    return zeros, zeros.clone()


def observations(steps: int, n: int = 4) -> Tensor:
    return torch.randn(steps, n, 3, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", KINDS)
def test_packed_states_are_unpacked(kind: str) -> None:
    memory = make(kind)
    assert memory.num_layers == 2 + 2 * ROWS[kind] + 1
    assert memory.hidden_size == 9
    widths = [3, 3, *[9] * ROWS[kind], *[6] * ROWS[kind], 6]
    packed = torch.randint(-64, 64, (memory.num_layers + 2, 4, 12)) / 32  # with spare rows and spare width
    for row, width in enumerate(widths):
        packed[row, :, width:] = 0
    states = memory.unpack(packed)
    assert torch.equal(memory.pack(states, like=packed), packed)
    again = memory.unpack(memory.pack(states, like=packed))
    for a, b in zip(states, again, strict=True):
        for x, y in zip(a, b, strict=True):
            assert (x is None) == (y is None)
            assert x is None or y is None or torch.equal(x, y)


@pytest.mark.parametrize("kind", KINDS)
def test_zeros_are_a_new_life(kind: str) -> None:
    """A state of zeros is the state at rest, from which neurons start by themselves."""
    memory, x = make(kind), observations(7)
    output, _ = memory(x, life(memory))
    inputs = [x, *(memory.gain * (x - dendrite(x)[0]) for dendrite in memory.dendrites)]
    signal, spikes = torch.cat(inputs, -1), []
    for layer in memory.layers:
        signal = layer(signal)[0] if isinstance(layer, Neuron) else layer(signal)
        spikes += [signal] if isinstance(layer, Neuron) and layer.config.spikes else []
    torch.testing.assert_close(output, signal)
    assert all(0.02 < train.mean() < 0.98 for train in spikes)


@pytest.mark.parametrize("acting", [False, True])
@pytest.mark.parametrize("kind", [*KINDS, None])
def test_decisions_at_once_are_decisions_one_by_one(kind: str | None, acting: bool) -> None:
    """Without learning, single decisions are computed event by event."""
    memory, x = make(kind), observations(12)
    whole, last = memory(x, life(memory, rows=1))
    outputs, state = [], life(memory, rows=1)
    for now in x.split([1, 1, 3, 1, 6] if not acting else 1):
        before = state[0].clone()
        with torch.set_grad_enabled(not acting):
            out, after = memory(now, state)
        assert torch.equal(state[0], before), "the given state does not change"
        state = after
        outputs.append(out)
    torch.testing.assert_close(torch.cat(outputs), whole)
    torch.testing.assert_close(state, last)
    assert last[0][: memory.num_layers].abs().amax((1, 2)).min() > 0, "every row is used"
    assert not last[0][memory.num_layers :].any()


@pytest.mark.parametrize("backend", ["snntorch", "norse"])
def test_libraries_remember_the_same(backend: str) -> None:
    pytest.importorskip(backend)
    x = observations(8)
    expected, state = make("cuba", v_leak=0.0)(x, life(make("cuba")))
    output, backend_state = make("cuba", backend=backend, v_leak=0.0)(x, life(make("cuba")))
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close(backend_state, state)


def test_dendrites_signal_change() -> None:
    """The trace of a constant value reaches the value; the trace of a ramp lags behind by a constant."""
    dendrite = make().dendrites[0]
    still, _ = dendrite(torch.ones(60, 1, 3))
    assert still[0].max() < 0.5
    torch.testing.assert_close(still[-1], torch.ones(1, 3))
    ramp = torch.arange(60.0).view(-1, 1, 1).expand(60, 1, 3)
    trace, _ = dendrite(ramp)
    behind = (ramp - trace)[-1]
    decay = torch.tensor(NeuronConfig(tau_mem=2e-3).decay)
    torch.testing.assert_close(behind, (decay / (1 - decay)).expand(1, 3), rtol=1e-4, atol=0)


@pytest.mark.parametrize("kind", ["lif", "alif", None])
def test_gradients_pass_through_time(kind: str | None) -> None:
    memory, x = make(kind), observations(5).requires_grad_()
    out, state = memory(x, life(memory))
    out[-1].sum().backward()
    assert x.grad is not None
    assert (x.grad.abs().amax((1, 2)) > 0).all(), "the last decision learns from the first observation"
    # Truncated: no gradient passes the state that is handed over.
    later = observations(3).requires_grad_()
    memory(later, tuple(part.detach() for part in state))[0].sum().backward()
    assert later.grad is not None


@pytest.mark.parametrize("kind", ["lif", "multi"])
def test_episodes_that_begin_within_a_sequence_begin_a_new_life(kind: str) -> None:
    memory, x = make(kind), observations(8, n=3)
    starts = torch.zeros(8, 3)
    starts[0, 0] = starts[3, 1] = starts[5, 0] = 1
    _, state = memory(observations(4, n=3), life(memory, 3))  # the life before
    outputs, (packed, _) = SpikingRecurrentPolicy._process_sequence(
        x.swapaxes(0, 1).flatten(0, 1), state, starts.t().flatten(), memory
    )
    for n in range(3):
        own, parts = (state[0][:, n : n + 1], state[1][:, n : n + 1]), []
        for t in range(8):
            out, own = memory(x[t : t + 1, n : n + 1], life(memory, 1) if starts[t, n] else own)
            parts.append(out[0])
        torch.testing.assert_close(outputs.view(3, 8, -1)[n], torch.cat(parts))
        torch.testing.assert_close(packed[:, n : n + 1], own[0])


def test_an_artificial_critic_may_remember_nothing() -> None:
    memory = make(None, taus=())
    assert memory.num_layers == 0
    out, _ = memory(observations(2), life(memory, rows=3))
    assert out.shape == (2, 4, 6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"taus": (1e-3, 0.0)}, r"^taus: got \(0.001, 0.0\), allowed are finite numbers > 0"),
        ({"gain": -1.0}, "^gain: got -1.0, allowed are finite numbers > 0"),
        ({"tau_readout": float("nan")}, "^tau_readout: got nan, allowed are"),
    ],
)
def test_errors(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MemoryConfig(**arguments)
