"""The card counts neurons, synapses and operations as a loop over all of them would, and names what is too much."""

from __future__ import annotations

import numpy as np
import pytest

from snn4.policies.export.card import card, limits
from snn4.policies.export.chip import drive, on_chip
from snn4.policies.export.chip_cost import chip_cost
from snn4.policies.export.description import INPUT, Dense, Layer
from snn4.policies.export.host import Host
from snn4.policies.export.integer import IntegerConv, IntegerDense, IntegerLayer, IntegerNeurons
from snn4.policies.export.integer_network import IntegerNetwork, Readout
from snn4.policies.export.placement import exceeded, placed

ABOUT = {"name": "net", "run": "runs/net", "commit_hash": None}


def network(n: int = 2000) -> IntegerNetwork:
    """A host with 3 inputs, n driven neurons, and 5 neurons of which one synapse is missing."""
    rng = np.random.default_rng(0)
    host = Layer("h", Dense(rng.normal(size=(n, 3)).astype(np.float32), np.zeros(n, np.float32)), (INPUT,), (n,))
    weight = 2 * rng.integers(1, 100, (5, n))
    weight[0, 0] = 0
    layers = (
        IntegerLayer("a", None, IntegerNeurons((n,), 300, dv=300, bias_exp=5)),
        IntegerLayer("b", IntegerDense(weight), IntegerNeurons((5,), 131071)),
    )
    return IntegerNetwork(layers, Readout(1e-6), (1.0, 1.0), 4, Host((host,), 200.0, 5), (3,), bits=8)


def test_places() -> None:
    first, second = placed(network())
    assert (first.neurons, first.synapses, first.cores, first.neurons_per_core, first.axons) == (2000, 0, 2, 1000, 0)
    assert (second.synapses, second.bytes, second.cores, second.axons) == (9999, int(np.ceil(9999 * 18 / 8)), 1, 2000)


def test_a_convolution_stores_every_synapse() -> None:
    conv = IntegerConv(np.ones((4, 2, 3, 3), int), padding=(1, 1))
    layers = (IntegerLayer("c", conv, IntegerNeurons((4, 8, 8), 10)),)
    net = IntegerNetwork(layers, Readout(1.0), (1.0,), 4, None, (2, 8, 8), bits=8)
    inside = (3 * 8 - 2) ** 2  # of 9 * 64, without those over the border
    assert placed(net)[0].synapses == 4 * 2 * inside


def test_operations_of_a_decision() -> None:
    net = network(40)
    x = np.random.default_rng(1).normal(size=(6, 3)).astype(np.float32)
    spikes = on_chip(net, drive(net, x[None]))[0].spikes
    cost = chip_cost(net, x[None])
    assert cost.synaptic_events == (5 * spikes.sum() - spikes[:, :, 0].sum()) / 6
    assert cost.spikes == spikes.sum() / 6
    assert cost.updates == 45 * 5
    assert 40 * 5 <= cost.active_updates <= cost.updates
    assert cost.host_macs == 120
    dynamic = 23.6e-12 * cost.synaptic_events + 52e-12 * cost.updates
    assert dynamic < cost.joules < dynamic + 29e-12 * cost.updates + 120 * 5e-12


def test_what_is_too_much_is_named() -> None:
    assert exceeded(network(), placed(network())) == []
    large = network(5000)
    assert exceeded(large, placed(large)) == ["b: 5,000 axons come in, a core has 4,096"]
    many = network(140_000)
    assert exceeded(many, placed(many))[0] == "cores: 150, a chip has 128"
    loud = np.full((2, 3), 1e3, np.float32)
    over = limits(network(40), loud[None], network(40).run(loud))
    assert any("cut to 13 bits" in line for line in over)


@pytest.mark.parametrize("joules", [{"45nm_fp32": 1e-9, "45nm_int8_memory": None}])
def test_the_card_has_no_joules_without_a_source(joules: dict[str, float | None]) -> None:
    x = np.random.default_rng(1).normal(size=(6, 3)).astype(np.float32)
    text = card(network(200), x[None], ABOUT, joules)
    assert "| all | 205 | 999 | 2 |" in text
    assert "A decision takes 5 steps" in text
    assert "| 45nm fp32, trained network | 1 nJ |" in text
    assert "Davies et al. 2018" in text
    assert text.rstrip().endswith("Nothing.")
