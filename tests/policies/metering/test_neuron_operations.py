from __future__ import annotations

from typing import Any

import pytest
import torch

from snn4.policies.dynamics import Dynamics
from snn4.policies.metering.neuron_operations import spike_arithmetic, update_arithmetic
from snn4.policies.neurons import Neuron, NeuronConfig, dynamics


class ByHand:
    """One neuron with folded constants that counts its operations, as `neuron_operations` documents them."""

    def __init__(self, d: Dynamics, v_leak: float) -> None:
        is_single = len(d.decay) == 1
        scale = d.gain[0] * (1.0 if d.syn_decay is None else d.syn_gain) if is_single else 1.0
        self.gains = [1.0] if is_single else d.gain
        self.d = d
        self.macs, self.acs = 0, 0
        self.threshold, self.raise_ = (d.v_threshold - v_leak) / scale, (d.adaptation or 0) / scale
        self.drop, self.v_reset = d.v_threshold / scale, (d.v_reset - v_leak) / scale
        self.i, self.a = 0.0, 0.0
        self.v = [0.0] * len(d.decay)

    def mac(self, a: float, b: float, c: float = 0.0) -> float:
        self.macs += 1
        return a * b + c

    def add(self, a: float, b: float) -> float:
        self.acs += 1
        return a + b

    def step(self, current: float) -> int:
        d = self.d
        self.i = current if d.syn_decay is None else self.mac(d.syn_decay, self.i, current)
        inputs = [self.i if gain == 1 else self.mac(gain, self.i) for gain in self.gains]
        parts = zip(d.decay, self.v, inputs, strict=True)
        u = [self.add(v, i) if decay == 1 else self.mac(decay, v, i) for decay, v, i in parts]
        together = u[0]
        for part in u[1:]:
            together = self.add(together, part)
        if d.reset == "none":
            self.v = u
            return 0
        bound = len(u) * self.threshold
        if d.adaptation is not None:
            bound = self.add(bound, self.a)
        spike = int(self.add(together, -bound) >= 0)
        if d.adaptation is not None:
            self.a = self.mac(d.adapt_decay, self.a, self.raise_ * spike)
        soft = spike and d.reset == "soft"
        self.v = [self.add(part, -self.drop) if soft else self.v_reset if spike else part for part in u]
        return spike


@pytest.mark.parametrize("reset", ["soft", "hard"])
@pytest.mark.parametrize("r", [None, 3.0])
@pytest.mark.parametrize(
    ("kind", "update", "with_r"),
    [
        ("lif", (1, 1), (1, 1)), ("plif", (1, 1), (1, 1)), ("cuba", (2, 1), (2, 1)), ("alif", (2, 2), (2, 2)),
        ("if", (0, 2), (0, 2)), ("multi", (3, 3), (6, 3)), ("li", (1, 0), (1, 0)),
    ],
)  # fmt: skip
def test_folded_equations_take_these_operations_for_the_same_spikes(
    kind: Any, update: tuple[int, int], with_r: tuple[int, int], r: float | None, reset: Any
) -> None:
    config = NeuronConfig(
        kind=kind, tau_more=(5e-3, 50e-3), tau_mem=4e-3, r=r, v_leak=0.1, v_reset=-0.2, reset=reset, adaptation=0.5
    )
    random = torch.rand(2, 50, 1, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    currents = 2 * random[0] * (random[1] < 0.3)
    with torch.no_grad():
        spikes = Neuron(config).double()(currents)[0].flatten().tolist()
    hand = ByHand(dynamics(config), config.v_leak)
    hand_spikes = [hand.step(current) for current in currents.flatten().tolist()]
    number = sum(hand_spikes)
    if config.spikes:
        assert hand_spikes == spikes
        assert 0 < number < 50
    assert update_arithmetic(dynamics(config)) == (update if r is None else with_r)
    macs, acs = update_arithmetic(dynamics(config))
    resets = spike_arithmetic(dynamics(config))
    assert (hand.macs, hand.acs) == (50 * macs + number * resets.macs, 50 * acs + number * resets.acs)


def test_a_neuron_without_leak_adds() -> None:
    assert update_arithmetic(Dynamics(decay=(1.0,))) == (0, 2)


@pytest.mark.parametrize("r", [None, 3.0])
def test_operations_of_a_signed_neuron(r: float | None) -> None:
    """It starts from v_leak, so that its membrane is compared with 0, whose result is a sign."""
    config = NeuronConfig("signed_if", v_leak=0.5, r=r)
    random = torch.randn(60, 1, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    currents = 0.7 * random + 0.3
    spikes = Neuron(config)(currents)[0].flatten().tolist()
    v, number, acs, hand = 0.5 / (r or 1), 0, 0, []
    for current in currents.flatten().tolist():
        u, acs = v + current, acs + 2  # and u - 1 / r
        spike = int(u - 1 / (r or 1) >= 0) - int(u < 0 and number > 0)
        if spike:
            u, number, acs = u - spike / (r or 1), number + spike, acs + 2
        v = u
        hand.append(spike)
    assert hand == spikes
    assert {-1, 0, 1} == set(spikes)
    updates, resets = update_arithmetic(dynamics(config)), spike_arithmetic(dynamics(config))
    assert (updates.macs, resets.macs) == (0, 0)
    assert acs == 60 * updates.acs + sum(map(abs, spikes)) * resets.acs
