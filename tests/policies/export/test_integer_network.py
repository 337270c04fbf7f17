"""Integer networks: decisions one after the other on a chip, and the way through files."""

import json
import subprocess
import sys

import numpy as np
import pytest

from snn4.policies.export.description import INPUT, Actions, Conv, Dense, Flatten, Layer, Pool, Rectify
from snn4.policies.export.host import Host, float_layers
from snn4.policies.export.integer import IntegerConv, IntegerDense, IntegerLayer, IntegerNeurons, simulate
from snn4.policies.export.integer_files import from_arrays, to_arrays
from snn4.policies.export.integer_network import IntegerNetwork, Readout


def network(rng, start=0):
    """Convolutions and dense layers behind a host with every part that a host may have."""
    floats = lambda *shape: rng.normal(0, 1, shape).astype(np.float32)  # noqa: E731
    host = (
        Layer("c", Conv(floats(2, 1, 3, 3), floats(2), (1, 1), (1, 1), (1, 1), 1), (INPUT,), (2, 8, 8)),
        Layer("r", Rectify(), ("c",), (2, 8, 8)),
        Layer("p", Pool("max", (2, 2), (2, 2), (0, 0)), ("r",), (2, 4, 4)),
    )
    conv = IntegerConv(2 * rng.integers(-127, 128, (3, 2, 3, 3)), padding=(1, 1))
    dense = IntegerDense(2 * rng.integers(-127, 128, (5, 48)))
    layers = (
        IntegerLayer("n1", None, IntegerNeurons((2, 4, 4), vth=400, dv=300, bias_exp=6)),
        IntegerLayer("n2", conv, IntegerNeurons((3, 4, 4), vth=300, dv=300, bias_mant=rng.integers(0, 300, (3, 1, 1)))),
        IntegerLayer("out", dense, IntegerNeurons((5,), vth=131071)),
    )
    actions = Actions("continuous", (-1.0,), (1.0,), (1,), True)
    return IntegerNetwork(
        layers, Readout(1e-3, start), (1.0, 2.0, 3.0), 6, Host(host, 300.0, 6), (1, 8, 8), 8, actions=actions,
        classes=("a", "b", "c", "d", "e"), mean=(0.5,), std=(0.2,),
    )  # fmt: skip


@pytest.mark.parametrize("start", [0, 2])
def test_decisions_one_after_the_other_on_the_chip_are_decisions_from_rest(start):
    rng = np.random.default_rng(0)
    net = network(rng, start)
    images = rng.random((7, 1, 8, 8))
    run = net.run(images)
    assert net.window == 8
    biases = np.repeat(net.host.biases(images[None])[0], net.window, 0)[:, None]
    traces = simulate(net.windowed(), len(biases), bias_mant=biases, delays=True)
    v = traces[-1].v[net.window - 1 :: net.window, 0]
    np.testing.assert_array_equal(net.readout.scores(v), run.scores)
    assert len(np.unique(run.scores)) > 10
    assert not run.saturated.any()


def test_steps_before_the_start_of_the_readout_do_not_count():
    rng = np.random.default_rng(1)
    late, early = network(rng, start=2), network(np.random.default_rng(1))
    run = early.run(images := rng.random((4, 1, 8, 8)))
    np.testing.assert_array_equal(late.run(images).scores, (run.traces[-1].v[-1] - run.traces[-1].v[1]) * 1e-3)


def test_files_give_the_network_back():
    net = network(rng := np.random.default_rng(2))
    arrays, about = to_arrays(net)
    again = from_arrays(arrays, json.loads(json.dumps(about)))
    images = rng.random((3, 1, 8, 8))
    np.testing.assert_array_equal(net.run(images).scores, again.run(images).scores)
    assert json.dumps(to_arrays(again)[1]) == json.dumps(about)
    assert again.actions == net.actions
    with pytest.raises(ValueError, match="format: got 0"):
        from_arrays(arrays, {**about, "format": 0})


def test_a_code_that_is_not_there_is_missed():
    net = network(np.random.default_rng(0))
    coded = IntegerNetwork(net.layers, net.readout, net.scales, 6, None, (3,), 8, coding="population")
    with pytest.raises(ValueError, match="encode: got None"):
        coded.run(np.zeros((1, 3)))


def test_a_host_computes_as_torch():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    weight, bias = rng.normal(size=(4, 2, 3, 2)).astype(np.float32), rng.normal(size=4).astype(np.float32)
    dense = Dense(rng.normal(size=(3, 4 * 2 * 3)).astype(np.float32), np.ones(3, np.float32))
    layers = (
        Layer("c", Conv(weight, bias, (2, 1), (1, 1), (1, 2), 1), (INPUT,), (4, 4, 6)),
        Layer("p", Pool("average", (3, 2), (2, 2), (1, 0)), ("c",), (4, 2, 3)),
        Layer("f", Flatten(), ("p",), (24,)),
        Layer("d", dense, ("f",), (3,)),
    )
    x = rng.normal(size=(5, 2, 7, 6)).astype(np.float32)
    f = torch.nn.functional
    y = f.conv2d(torch.from_numpy(x), torch.from_numpy(weight), torch.from_numpy(bias), (2, 1), (1, 1), (1, 2))
    y = f.linear(f.avg_pool2d(y, (3, 2), (2, 2), (1, 0)).flatten(1), *map(torch.from_numpy, dense))
    np.testing.assert_allclose(float_layers(layers, x[None])[0], y.numpy(), atol=1e-5)


def test_torch_is_not_needed():
    code = "import sys, snn4.policies.export.integer_files; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
