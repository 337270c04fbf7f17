"""Costs against the meter itself, and timings against the clock."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch
from torch import Tensor

from snn4.agent.evaluation.accuracy import Recognizer
from snn4.agent.evaluation.indicators import WARM_UP, Indicators, meter, spread, time_decisions
from snn4.policies.metering.cost import Cost, LayerCost
from snn4.policies.metering.energy import ENERGY_MODELS
from snn4.policies.metering.meter import Meter
from snn4.policies.networks.ann import twin
from snn4.policies.networks.convnet import ConvNetConfig, SpikingConvNet
from snn4.policies.neurons import NeuronConfig


def make() -> SpikingConvNet:
    torch.manual_seed(0)
    neuron = NeuronConfig(v_threshold=0.5)
    return SpikingConvNet(ConvNetConfig(channels=(6, 8), in_channels=2, n_classes=3, T=3, neuron=neuron)).eval()


def images(n: int = 9) -> Tensor:
    return torch.randn(n, 2, 8, 8, generator=torch.Generator().manual_seed(1)).relu()


@pytest.mark.parametrize("network", [make(), twin(make().config).eval()], ids=["SNN", "ANN"])
def test_costs_are_the_meters(network: Any) -> None:
    with torch.no_grad(), Meter(network) as counting:
        network(images())
    assert meter(Recognizer(network), images().split(4)) == counting.cost()


def test_a_flip_costs_both_images() -> None:
    net, x = make(), images()
    both = meter(Recognizer(net, flip=True), [x])
    plain, mirrored = meter(Recognizer(net), [x]), meter(Recognizer(net), [x.flip(-1)])
    for name in ("spikes_per_decision", "effective_acs", "effective_macs", "dense_macs"):
        assert getattr(both, name) == pytest.approx(getattr(plain, name) + getattr(mirrored, name))
    for model in ENERGY_MODELS:
        assert both.energy_joules[model] == pytest.approx(plain.energy_joules[model] + mirrored.energy_joules[model])
    assert both.parameters == plain.parameters


def test_fewer_steps_cost_what_a_shorter_run_does() -> None:
    net, x = make(), images()
    with torch.no_grad(), Meter(net) as counting:
        net(x, steps=2)
    assert meter(Recognizer(net, steps=2), [x]) == counting.cost()


@pytest.mark.parametrize("events", [False, True])
@pytest.mark.parametrize(("number", "expected"), [(1, [0]), (3, [0, 4, 9]), (10, range(10)), (99, range(10))])
def test_samples_are_evenly_spread_over_batches(events: bool, number: int, expected: Any) -> None:
    x = torch.arange(10.0).view(10, 1, 1, 1).expand(10, 2, 4, 4)
    parts = (x.unsqueeze(0).expand(3, *x.shape) if events else x).split(3, dim=-4)
    samples = list(spread([(part, torch.zeros(part.shape[-4])) for part in parts], 10, number))
    assert torch.cat(samples, dim=-4)[..., 0, 0, 0].reshape(-1, min(number, 10))[0].tolist() == list(expected)
    assert all(part.dim() == 4 + events for part in samples)


def test_timings_are_of_both_engines_and_leave_threads_as_they_were() -> None:
    recognizer, threads = Recognizer(make()), torch.get_num_threads()
    started = time.perf_counter()
    torch.set_num_threads(2)
    try:
        timings = time_decisions(recognizer, images(2).split(1), 7)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    whole = (time.perf_counter() - started) * 1e3
    assert {(timing.engine, timing.threads) for timing in timings} == {
        ("torch", 1), ("compiled", 1), ("torch", 2), ("compiled", 2),
    }  # fmt: skip
    assert all(0 < timing.median_milliseconds <= timing.p95_milliseconds for timing in timings)
    assert sum(timing.median_milliseconds * 3 for timing in timings) < whole


def test_a_slow_network_is_found_slow_and_every_decision_counts() -> None:
    net, calls = make(), []

    def wait(*_: Any) -> None:
        calls.append(None)
        time.sleep(0.02 if len(calls) == WARM_UP + 2 else 0.004)

    net.register_forward_pre_hook(wait)
    recognizer = Recognizer(net)
    recognizer.register_forward_pre_hook(wait)
    recognizer.double()  # which is not compiled
    (timing,) = time_decisions(recognizer, images(1).double().split(1), 3)
    assert timing.engine == "torch"
    assert len(calls) == WARM_UP + 3
    assert 4 <= timing.median_milliseconds < 15 < timing.p95_milliseconds


def test_energies_are_those_of_the_precision() -> None:
    layer = LayerCost("1", "Linear", 0.0, None, 1.0, 1.0, 0.0, 0.0, 0.0, memory_bytes=7.0, parameters=10, bytes=40)
    cost = Cost(1.0, 2.0, 3.0, dict.fromkeys(ENERGY_MODELS, 1e-9), 10, 40, layers=[layer])
    whole = Indicators("SNN", "fp32", 4, None, cost, 40)
    small = Indicators("SNN", "int8", 4, None, cost, 10)
    assert set(whole.energy_joules) == {"45nm_fp32", "45nm_fp32_memory", "loihi1"}
    assert set(small.energy_joules) == {"45nm_int8", "45nm_int8_memory", "loihi1"}

    assert whole.to_json()["top1_accuracy"] is None
    assert (whole.to_json()["bytes"], small.to_json()["bytes"]) == (40, 10)
    for row in (small.to_json(), *small.to_json()["layers"]):
        assert row["memory_bytes"] is None, "tensors have the bytes of fp32"
    assert whole.to_json()["layers"][0]["memory_bytes"] == 7.0
