"""The engine against the same layers in torch, spike by spike.

Weights and inputs are multiples of powers of two, so that sums of currents are exact whatever their order.
"""

from __future__ import annotations

import copy
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from engines import KINDS, LIVELY, acts, assert_same_spikes, engine_of, make, observations
from torch import nn
from torch.distributions import Distribution

from snn4.policies.acting.mlp import SpikingMLP
from snn4.policies.coding import CodingConfig
from snn4.policies.engine import event_driven
from snn4.policies.engine.event_driven import EVENT_DRIVEN_BATCH, EventDriven
from snn4.policies.neurons import NeuronConfig


@pytest.mark.parametrize("reset", ["soft", "hard"])
@pytest.mark.parametrize("kind", KINDS)
def test_spikes_equal_those_of_torch(kind: Any, reset: Any) -> None:
    plain = NeuronConfig(kind=kind, reset=reset, **LIVELY)
    strange = NeuronConfig(kind=kind, reset=reset, r=4.0, v_leak=0.125, v_reset=-0.25, adaptation=0.5, **LIVELY)
    for neuron in (plain, strange):
        assert_same_spikes(make((24, 20, 16), neuron, T=6), observations(1500))


@pytest.mark.parametrize("T", [1, 2, 16])
def test_any_number_of_steps(T: int) -> None:
    assert_same_spikes(make(T=T), observations(500))


@pytest.mark.parametrize("kind", ["rate", "latency", "delta", "population", "phase"])
def test_codes(kind: Any) -> None:
    net = make(T=4, coding=CodingConfig(kind=kind))
    assert_same_spikes(net, observations(500))
    assert kind == "rate" or torch.equal(acts(net, observations(40)), net(observations(40)))


@pytest.mark.parametrize("readout", ["rate", "membrane", "weighted"])
def test_readouts(readout: str) -> None:
    net, x = make(T=7, readout=readout), observations(200)
    if readout == "weighted":
        with torch.no_grad():
            net.decoder.weights.uniform_(-1, 1)
    torch.testing.assert_close(acts(net, x), net(x))


@torch.no_grad()
def test_where_sums_are_rounded_only_borderline_neurons_differ() -> None:
    """Weights in tenths, which float32 does not have, and a threshold that sums of them reach often."""
    net, x = make((64, 64), NeuronConfig(v_threshold=0.6, tau_mem=5e-3), T=4), (observations(3000) > 0).float()
    linears: list[Any] = list(net.layers[::2])
    for linear in linears:
        linear.weight.copy_((linear.weight * 10).round() / 10)
        linear.bias.copy_((linear.bias * 10).round() / 10)
    expected = [train.numpy() > 0 for train in net.spikes(x)]
    got = engine_of(net).spikes(x[None].numpy())
    differ = np.stack([(a != b).any(2) for a, b in zip(expected, got, strict=True)], 1)  # (T, layers, B)
    samples = differ.any((0, 1)).nonzero()[0]
    assert len(samples) > 50, "rounding is what this test is about"
    for b in samples[:200]:
        t, layer = divmod(int(differ[:, :, b].ravel().argmax()), 2)  # what comes first, in time and on the way
        v = np.zeros(64)
        for step in range(t + 1):
            signal = x[b].numpy() if layer == 0 else expected[0][step, b]
            v = net.layers[1].config.decay * v + linears[layer].weight.double().numpy() @ signal
            v += linears[layer].bias.double().numpy()
            distance, v = v - 0.6, v - 0.6 * expected[layer][step, b]
        assert np.abs(distance[expected[layer][t, b] != got[layer][t, b]]).max() < 1e-5


@torch.no_grad()
def test_states_are_carried() -> None:
    for kind in ("cuba", "alif", "multi"):
        net = make(neuron=NeuronConfig(kind=kind, v_leak=0.125, **LIVELY), T=5)
        whole = net.spikes(observations(6))[-1]
        single = EventDriven(list(net.layers), make(T=1).decoder)  # type: ignore[arg-type]
        states = single.rest(6)
        for spikes in whole:
            assert torch.equal(torch.from_numpy(single(observations(6)[None].numpy(), states)), spikes)


# It never acts with old weights


def _optimiser(net: SpikingMLP) -> None:
    net(observations(32)).square().sum().backward()
    torch.optim.Adam(net.parameters(), 0.1, fused=True).step()


def _load(net: SpikingMLP) -> None:
    net.load_state_dict({name: value + 0.25 for name, value in net.state_dict().items()})


def _assign(net: SpikingMLP) -> None:
    net.load_state_dict({name: value + 0.25 for name, value in net.state_dict().items()}, assign=True)


def _data(net: SpikingMLP) -> None:
    net.layers[0].weight.data[3] += 1.0
    net.layers[2].bias.data += 0.25


def _new_data(net: SpikingMLP) -> None:
    net.layers[2].weight.data = net.layers[2].weight.data + 0.25


def _replace(net: SpikingMLP) -> None:
    net.layers[2].weight = nn.Parameter(net.layers[2].weight.detach() + 0.25)
    net.layers[0].bias = nn.Parameter(net.layers[0].bias.detach() + 0.25)


def _transposed(net: SpikingMLP) -> None:
    turned = (net.layers[2].weight.data + 0.25).t().contiguous().t()
    net.layers[2].weight.data = turned  # the same values in another order in memory


def _decays(net: SpikingMLP) -> None:
    net.layers[1].decay_logit.data -= 2.0


def _decoder(net: SpikingMLP) -> None:
    net.decoder.weights.data[0] += 1.0


@pytest.mark.parametrize(
    "change", [_optimiser, _load, _assign, _data, _new_data, _replace, _transposed, _decays, _decoder]
)
def test_acts_with_the_present_weights(change: Callable[[SpikingMLP], None]) -> None:
    net = make(neuron=NeuronConfig("plif", **LIVELY), readout="weighted")
    x = observations(64)
    before = acts(net, x)
    torch.testing.assert_close(before, net(x).detach())
    change(net)
    after = acts(net, x)
    torch.testing.assert_close(after, net(x).detach())
    assert not torch.allclose(before, after)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_a_copy_acts_with_weights_of_its_own(duplicate: Callable[[SpikingMLP], SpikingMLP]) -> None:
    net, x = make(), observations(64)
    before = acts(net, x)
    other = duplicate(net)
    assert torch.equal(acts(other, x), before)
    _load(other)
    assert torch.equal(acts(net, x), before)
    torch.testing.assert_close(acts(other, x), other(x).detach())
    assert not torch.allclose(acts(other, x), before)


def test_a_copy_that_is_given_the_first_one_s_weights_again() -> None:
    """Addresses are then those at which the first one's weights were seen."""
    net, x = make(), observations(64)
    before = acts(net, x)
    other = copy.deepcopy(net)
    for linear, same in zip(other.layers[::2], net.layers[::2], strict=True):
        linear.weight, linear.bias = same.weight, same.bias
    _load(net)
    assert torch.equal(acts(other, x), acts(net, x))
    assert not torch.equal(acts(other, x), before)


# When it acts


@pytest.fixture
def decisions(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Batch sizes that the engine was asked for."""
    asked: list[int] = []
    act = EventDriven.__call__

    def counted(self: EventDriven, signal: Any, *arguments: Any, **more: Any) -> Any:
        asked.append(signal.shape[1])
        return act(self, signal, *arguments, **more)

    monkeypatch.setattr(EventDriven, "__call__", counted)
    return asked


def test_acts_where_nothing_is_learned(decisions: list[int]) -> None:
    net = make()
    with torch.no_grad():
        net(observations(EVENT_DRIVEN_BATCH))
        net(observations(1))
    with torch.inference_mode():
        net(observations(2))
    assert decisions == [EVENT_DRIVEN_BATCH, 1, 2]
    assert net.decide(observations(3).numpy()) is not None
    assert decisions[-1] == 3


def test_hooks_see_gradients() -> None:
    net, seen = make(), list[Any]()
    net.layers[0].register_full_backward_hook(lambda *_: seen.append(1))
    net(observations(2)).sum().backward()
    assert seen == [1]


def test_leaves_the_rest_to_torch(decisions: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    net, x = make(), observations(2)
    net(x)
    with torch.no_grad():
        net(observations(EVENT_DRIVEN_BATCH + 1))
        make(readout="first_spike")(x)
        for module in (net.layers[1], net.layers[2]):
            for register in (module.register_forward_hook, module.register_forward_pre_hook):
                seen: list[Any] = []
                handle = register(lambda *_, seen=seen: seen.append(1))
                net(x)
                assert net.decide(x.numpy()) is None
                assert seen == [1]
                handle.remove()
        handle = nn.modules.module.register_module_forward_hook(lambda *_: None)
        net(x)
        handle.remove()
        copy.deepcopy(net).double()(x.double())
        assert decisions == []
        monkeypatch.setattr(event_driven, "is_fused", lambda: False)
        net(x)
        assert net.decide(x.numpy()) is None
    assert decisions == []


@pytest.mark.parametrize("backend", ["snntorch", "norse"])
def test_leaves_neurons_of_libraries_to_them(decisions: list[int], backend: str) -> None:
    pytest.importorskip(backend)
    with torch.no_grad():
        make(backend=backend)(observations(2))
    assert decisions == []


# Strange inputs


@pytest.mark.parametrize("reset", ["soft", "hard"])
def test_values_that_are_not_finite_act_as_in_torch(reset: Any) -> None:
    x = observations(40)
    for row, value in enumerate((float("nan"), float("inf"), -float("inf"), 1e38)):
        x[row, 1] = value
    x[5, :2] = torch.tensor([float("inf"), -float("inf")])
    assert_same_spikes(make(neuron=NeuronConfig(reset=reset, **LIVELY), T=3), x)


def test_threads_decide_at_the_same_time() -> None:
    """First decisions, where all is made, and those after weights have changed."""
    net, x = make(), observations(8)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool, torch.no_grad():
            for _ in range(20):
                net.layers[0].weight.mul_(-1)
                fresh, other = copy.deepcopy(net), copy.deepcopy(net)
                expected = other(x)
                for one in (net, fresh):
                    assert all(torch.equal(y, expected) for y in pool.map(acts, [one] * 16, [x] * 16))
    finally:
        sys.setswitchinterval(interval)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_fork_decides_while_a_thread_of_its_parent_does() -> None:
    net, x, over = make(), observations(8), threading.Event()
    expected = acts(net, x)

    def decide() -> None:
        while not over.is_set():
            acts(net, x)

    thread = threading.Thread(target=decide)
    thread.start()
    try:
        for _ in range(5):
            child = os.fork()
            if child == 0:
                signal.alarm(20)  # a child that hangs is told by its status
                os._exit(0 if torch.equal(acts(net, x), expected) else 1)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        over.set()
        thread.join()


def test_no_samples() -> None:
    assert acts(make(), observations(0)).shape == (0, 16)


@pytest.mark.parametrize("shape", [(2, 4), (2, 6), (5,), (2, 3, 5)])
def test_wrong_shapes_are_refused_whether_it_learns_or_acts(shape: tuple[int, ...]) -> None:
    net = make()
    for learns in (True, False):
        with torch.set_grad_enabled(learns), pytest.raises(ValueError, match=r"^x: got shape .*allowed is \(B, 5\)"):
            net(torch.zeros(shape))


@pytest.mark.parametrize(
    ("signal", "said"),
    [
        (np.zeros((1, 2, 6), np.float32), r"signal: got shape \(1, 2, 6\) of float32, allowed is \(1 or 4, B, 5\)"),
        (np.zeros((2, 2, 5), np.float32), r"signal: got shape \(2, 2, 5\) of float32"),
        (np.zeros((1, 2, 5)), "signal: got shape .* of float64"),
    ],
)
def test_compiled_code_sees_no_wrong_shapes(signal: Any, said: str) -> None:
    engine = engine_of(make())
    with pytest.raises(ValueError, match=said):
        engine(signal)
    with pytest.raises(ValueError, match=r"states\[1\]: got shape \(1, 2, 24\) of float32, allowed is \(1, 2, 16\)"):
        engine(np.zeros((1, 2, 5), np.float32), [engine.rest(2)[0]] * 2)


def test_layout_of_the_input_does_not_matter() -> None:
    net, x = make(), observations(8)
    wide = torch.zeros(8, 10)
    wide[:, ::2] = x
    assert torch.equal(acts(net, wide[:, ::2]), acts(net, x))


def test_can_be_built_where_tensors_are_not_in_memory() -> None:
    with torch.device("meta"):
        net = SpikingMLP(5, (24, 16), neuron=NeuronConfig("plif"))
    assert all(parameter.is_meta for parameter in net.parameters())


@torch.no_grad()
def test_leaves_the_field_to_compilers(monkeypatch: pytest.MonkeyPatch) -> None:
    # torch.compile switches the checks of all distributions off, in whatever this process does afterwards.
    monkeypatch.setattr(Distribution, "_validate_args", Distribution._validate_args)
    net, x = make(), observations(2, seed=5)
    exported = torch.export.export(net, (observations(2),)).module()
    torch.testing.assert_close(exported(x), net(x))
    torch.testing.assert_close(torch.compile(net, backend="eager")(x), net(x))
