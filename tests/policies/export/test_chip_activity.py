"""Counts of what a chip does."""

import numpy as np
import pytest

from snn4.policies.export.chip_activity import ChipActivity
from snn4.policies.export.chip_cost import chip_cost
from snn4.policies.export.description import INPUT, Actions, Dense, Layer
from snn4.policies.export.host import Host
from snn4.policies.export.integer import IntegerDense, IntegerLayer, IntegerNeurons
from snn4.policies.export.integer_network import IntegerNetwork, Readout


def test_means_per_decision():
    host = Host((Layer("d", Dense(np.eye(2, dtype=np.float32), np.zeros(2, np.float32)), (INPUT,), (2,)),), 100.0, 0)
    layers = (
        IntegerLayer("n", None, IntegerNeurons((2,), vth=50)),
        IntegerLayer("out", IntegerDense(np.array([[2, 4], [6, 0]])), IntegerNeurons((2,), vth=131071)),
    )
    network = IntegerNetwork(layers, Readout(1 / 64), (1.0, 1.0), 2, host, (2,), 8)
    activity = ChipActivity(network)
    run = network.run(np.array([[0.6, 0.1], [0.6, 0.6]]))
    assert run.scores.tolist() == [[4, 12], [12, 12]]
    activity.add(run, [np.ones((2, 2, 2))], np.array([1.0, 0.5]))
    costs, agreement = activity.costs(), activity.agreement()
    assert (costs["spikes_per_decision"], costs["effective_acs"], costs["effective_macs"]) == (3, 5, 2)
    assert costs["energy_joules"] == {"loihi1": chip_cost(network, run.signal[:, :1]).joules}
    assert agreement == {"compared": 2, "decisions": 0.75, "spikes": {"n": 0.75}}
    assert network.parameters == 4 + 2 + 1 + 4 + 1


@pytest.mark.parametrize("weight", [200, -200])
def test_a_readout_at_the_end_of_its_range_is_counted(weight):
    layers = (
        IntegerLayer("n", None, IntegerNeurons((600,), vth=50)),
        IntegerLayer("out", IntegerDense(np.full((1, 600), weight)), IntegerNeurons((1,), vth=131071)),
    )
    network = IntegerNetwork(layers, Readout(1.0), (1.0, 1.0), 2, Host((), 60.0, 0), (600,), 8)
    run = network.run(np.ones((3, 600)) * [[1], [0], [1]])
    assert run.saturated.tolist() == [True, False, True]


def test_how_much_actions_agree():
    discrete = Actions("discrete")
    assert discrete.agreement(np.array([0, 1, 2]), np.array([0, 2, 2])).tolist() == [1, 0, 1]
    box = Actions("continuous", (-2.0, 0.0), (2.0, float("inf")), (2,))
    a, b = np.array([[1.0, 0.0], [0.0, 0.0]]), np.array([[0.0, 0.0], [0.0, 1.0]])
    assert box.agreement(a, b).tolist() == [1 - 0.125, 1 - 0.25]
