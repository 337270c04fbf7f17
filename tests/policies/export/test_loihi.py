"""Networks in Loihi's integers spike as the networks in float do."""

import dataclasses

import numpy as np
import pytest
import torch
from stable_baselines3 import PPO

from snn4.policies.coding import CodingConfig
from snn4.policies.export.describing import describe_classifier
from snn4.policies.export.description import INPUT, Dense, Description, Layer, Neurons, NotExportable
from snn4.policies.export.loihi import integer_network, rounded
from snn4.policies.export.policies import describe_policy
from snn4.policies.networks.config import NetworkConfig
from snn4.policies.networks.perception import make_network
from snn4.policies.neurons import Neuron, NeuronConfig, neuron_config
from snn4.policies.sb3 import SpikingActorCriticPolicy

LOIHI = {"profile": "loihi", "v_threshold": 0.5}


def trained(name, **options):
    """A classifier whose norms know their statistics, and images."""
    torch.manual_seed(0)
    config = NetworkConfig(name, T=4, neuron=neuron_config(LOIHI), options=options)
    network = make_network(config.resolve(1, (8, 8), 10)).train()
    images = torch.rand(100, 1, 8, 8)
    for _ in range(3):
        network(images)
    return network.eval(), images


@torch.no_grad()
def spikes_of(network, run):
    """Trains (T, B, …) of each layer of neurons, and what ``run`` returns."""
    trains = []
    neurons = [module for module in network.modules() if isinstance(module, Neuron)]
    hooks = [neuron.register_forward_hook(lambda _, __, y: trains.append(y[0].numpy())) for neuron in neurons]
    result = run()
    for hook in hooks:
        hook.remove()
    return trains, result


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("vgg-small", {"channels": [6, 8]}),
        ("vgg-small", {"channels": [6, 8], "pooled": "currents", "head": "flatten", "stem": "whitening"}),
        ("dense-small", {"hidden": [20, 12]}),
    ],
)
def test_a_classifier_spikes_as_in_float(name, options):
    network, images = trained(name, **options)
    trains, scores = spikes_of(network, lambda: network(images))
    integer = integer_network(describe_classifier(network), images[:50].numpy())
    run = integer.run(images.numpy())
    assert not run.saturated.any()
    assert len(run.traces) == len(trains) + 1
    for train, trace in zip(trains, run.traces, strict=False):
        assert 0.005 < train.mean() < 0.5
        assert (train == trace.spikes).mean() > 0.98
    assert np.corrcoef(run.scores.ravel(), scores.numpy().ravel())[0, 1] > 0.98


def test_every_value_fits_into_the_chip():
    network, images = trained("vgg-small", channels=[6, 8])
    for bits, step in ((8, 2), (6, 8), (4, 32)):
        integer = integer_network(describe_classifier(network), images.numpy(), bits)
        for layer in integer.layers:
            assert 1 <= layer.neurons.vth <= 131071
            assert abs(layer.neurons.bias_mant).max() <= 4096
            assert 0 <= layer.neurons.bias_exp <= 7
        weight = integer.layers[1].synapses.weight
        assert abs(weight).max() <= 254
        assert not (weight % step).any()
        assert len(np.unique(weight)) <= 2**bits
        assert abs(integer.host.biases(images.numpy()[None])).max() <= 4095


@pytest.mark.parametrize(
    "settings", [{}, {"coding": "population", "readout": "membrane"}, {"coding": "latency", "T": 8}]
)
def test_a_policy_acts_as_in_float(settings):
    model = PPO(
        SpikingActorCriticPolicy,
        "CartPole-v1",
        seed=0,
        policy_kwargs={"net_arch": [24, 16], "neuron": LOIHI, **settings},
    )
    observations = np.random.default_rng(0).normal(0, 1, (400, 4)).astype(np.float32)
    description = describe_policy(model.policy)
    integer = integer_network(description, observations[:200])
    run = integer.run(observations)
    body = model.policy.mlp_extractor.policy_net
    trains = [train.detach().numpy() for train in body.spikes(torch.from_numpy(observations))]
    for train, trace in zip(trains, run.traces, strict=False):
        assert (train == trace.spikes).mean() > 0.98
    actions, _ = model.predict(observations, deterministic=True)
    assert (description.actions.chosen(run.scores) == actions).mean() > 0.97
    assert (integer.host is None) == ("coding" in settings)


def by_hand(neuron=None, weight=None, readout=(0.5, 0.5), conv=None):
    """Two layers of neurons with weights that tests choose."""
    neuron = neuron or neuron_config("loihi")
    eye, zeros = np.eye(2, dtype=np.float32), np.zeros(2, np.float32)
    neurons = Neurons(neuron, np.array([neuron.decay], np.float32))
    layers = (
        Layer("in", Dense(eye, zeros), (INPUT,), (2,)),
        Layer("n0", neurons, ("in",), (2,)),
        Layer("synapses", Dense(eye if weight is None else weight, zeros), ("n0",), (2,)),
        Layer("n1", neurons, ("synapses",), (2,)),
        Layer("out", Dense(eye, zeros), ("n1",), (2,)),
    )
    return Description(layers, (2,), len(readout), np.array(readout, np.float32), CodingConfig(), lambda x: x[None])


CALIBRATION = np.full((1, 2), 2.0, np.float32)


def test_the_units_of_a_network_by_hand():
    network = integer_network(by_hand(), CALIBRATION)
    host, (first, second, _) = network.host, network.layers
    assert first.neurons.dv == second.neurons.dv == round(4096 * (1 - np.exp(-1 / 20)))
    assert second.neurons.vth == 254
    assert second.synapses.weight.tolist() == [[254, 0], [0, 254]]
    assert host.scale * 2 == pytest.approx(4095 * 2 / 1.5, rel=1e-3)
    assert host.scale == pytest.approx(first.neurons.vth, rel=1e-6)
    run = network.run(np.array([[2.0, 0.5]], np.float32))
    # A weight of the threshold does not reach above it: only the second spike does.
    np.testing.assert_allclose(run.scores, [[0.5, 0]], rtol=1e-6)
    louder = integer_network(by_hand(weight=np.float32([[1.5, 0], [0, 1.5]])), CALIBRATION)
    np.testing.assert_allclose(louder.run(np.array([[2.0, 0.5]])).scores, [[1, 0]], rtol=1e-6)


def test_a_leaky_readout_is_a_leaky_membrane():
    decay = 0.75 ** np.arange(3, -1, -1)
    description = by_hand(weight=np.float32([[1.5, 0.25], [0, 3]]), readout=decay / decay.sum())
    network = integer_network(description, CALIBRATION)
    assert network.layers[-1].neurons.dv == 1024
    run = network.run(inputs := np.float32([[1.2, 3], [0.3, 0.8]]))
    expected = np.tensordot(description.readout, run.traces[1].spikes.astype(float), 1)
    np.testing.assert_allclose(run.scores, expected, atol=1e-3)
    assert len(inputs) == len(run.scores)


def test_steps_without_weight_come_before_the_readout():
    network = integer_network(by_hand(weight=2 * np.eye(2, dtype=np.float32), readout=(0, 0.5, 0.5)), CALIBRATION)
    assert network.readout.start == 1
    np.testing.assert_allclose(network.run(np.float32([[2, 0.6]])).scores, [[1, 0.5]], atol=1e-6)


@pytest.mark.parametrize(
    ("description", "message"),
    [
        (by_hand(NeuronConfig()), "^n0: got neurons with reset soft, allowed is hard; train with neuron: loihi$"),
        (by_hand(NeuronConfig("alif", reset="hard")), "^n0: got neurons with kind alif, allowed is lif, plif, if"),
        (by_hand(NeuronConfig("cuba", reset="hard")), "^n0: got neurons with kind cuba, allowed is lif, plif, if"),
        (by_hand(NeuronConfig(reset="hard", v_reset=-0.5)), "^n0: got neurons with v_reset -0.5, allowed is 0"),
        (by_hand(NeuronConfig(reset="hard", v_leak=0.5)), "^n0: got neurons with v_leak 0.5, allowed is 0"),
        (by_hand(readout=(0.2, 0.5, 0.3)), "^readout: got learned weights of the steps, allowed are rate and membrane"),
        (by_hand(weight=np.full((2, 2), 3e6, np.float32)), "^n1: got currents of more than .* thresholds in one step"),
    ],
)
def test_what_the_chip_does_not_have_is_named(description, message):
    with pytest.raises(NotExportable, match=message):
        integer_network(description, CALIBRATION)


def test_values_out_of_range_are_named():
    base = by_hand()
    wide = Layer("wide", Dense(np.ones((2000, 2), np.float32), np.zeros(2000, np.float32)), (INPUT,), (2000,))
    neurons = base.layers[1]._replace(inputs=("wide",), shape=(2000,))
    many = base.layers[2]._replace(part=Dense(np.ones((2, 2000), np.float32), np.zeros(2, np.float32)))
    with pytest.raises(
        NotExportable, match=r"^n1: got weights that sum to 508000 units in one neuron, allowed are 131072"
    ):
        integer_network(dataclasses.replace(base, layers=(wide, neurons, many, *base.layers[3:])), CALIBRATION)
    biased = base.layers[2]._replace(part=Dense(np.eye(2, dtype=np.float32), np.full(2, 1e5, np.float32)))
    with pytest.raises(NotExportable, match=r"^n1: got a bias of .*, allowed is 524160"):
        integer_network(dataclasses.replace(base, layers=(*base.layers[:2], biased, *base.layers[3:])), CALIBRATION)
    with pytest.raises(NotExportable, match=r"^bits: got 7, allowed are 8, 6, 4, 2"):
        integer_network(base, CALIBRATION, 7)


def test_a_residual_network_is_refused():
    config = NetworkConfig("resnet-20", T=2, neuron=neuron_config(LOIHI), options={"channels": [4], "blocks": [1]})
    network = make_network(config.resolve(1, (8, 8), 10)).eval()
    with pytest.raises(
        NotExportable, match=r"\.add: got inputs from .*, allowed is a chain; take a network without res"
    ):
        integer_network(describe_classifier(network), np.zeros((2, 1, 8, 8)))


def test_rounding_takes_the_finest_step_that_the_bits_allow():
    weight = np.linspace(-1, 1, 401, dtype=np.float32)
    assert set(np.abs(np.diff(np.unique(rounded(weight, 254, 8))))) == {2}
    assert set(np.diff(np.unique(rounded(weight, 224, 4)))) == {32}
    assert set(np.diff(np.unique(rounded(weight, 28, 4)))) == {4}
    assert np.abs(rounded(weight, 254, 8) - weight * 254).max() <= 1
