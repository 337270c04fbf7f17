from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest
import torch
from costs import count, metered, pruned
from torch import Tensor, nn

from snn4.policies.acting.mlp import SpikingMLP
from snn4.policies.coding import CodingConfig
from snn4.policies.compression.quantization import int8_bytes
from snn4.policies.metering.meter import acting_network
from snn4.policies.metering.traffic import INT8_WIDTHS, Values, parameter_values
from snn4.policies.network import SpikingSequential
from snn4.policies.networks.ann import twin, without_time
from snn4.policies.networks.attention import Mask, SpikeDrivenAttention, SpikeProduct
from snn4.policies.networks.convnet import ConvNetConfig, SpikingConvNet
from snn4.policies.neurons import Neuron, NeuronConfig

PICOJOULES_A_BYTE = 10 / 8  # in 8 KB


def small() -> SpikingSequential:
    """Of the two neurons, the first spikes if the first input does; the second never spikes."""
    first, second = nn.Linear(2, 2), nn.Linear(2, 1)
    for layer, weight in ((first, [[5.0, 3.0], [-5.0, -3.0]]), (second, [[1.0, 1.0]])):
        layer.weight.data = torch.tensor(weight)
        nn.init.zeros_(layer.bias)
    return SpikingSequential(first, Neuron(NeuronConfig()), second)


def test_a_small_network_by_hand() -> None:
    cost = metered(small(), torch.tensor([[[1.0, 0.0]], [[1.0, 1.0]]]))  # two steps, three spikes
    assert cost.spikes_per_decision == 2
    weights, biases = 3 * 2 + 2 * 1, 2 * (2 + 1)
    spikes = 2 * 2 + 2 * 2 + 2 * 2  # inputs, and those of the neurons written and read
    sums, states, scores = 2 * 2 + 2 * 2, 2 * (2 + 2), 2
    assert cost.traffic == Values(weights, biases, scores, spikes, sums, states)
    memory = weights + 4 * biases + scores + spikes / 8 + 4 * (sums + states)
    updates, additions = 4, 4 + 2  # thresholds and resets
    arithmetic = 0.1 * weights + 0.9 * updates + 0.1 * additions
    assert cost.energy_joules["45nm_int8_memory"] == pytest.approx(1e-12 * (PICOJOULES_A_BYTE * memory + arithmetic))


def test_its_twin_by_hand() -> None:
    cost = metered(without_time(small()), torch.tensor([[0.5, 0.0]]))
    activations = 1 + 2 + 1 + 1  # input, hidden units written, that above 0 read, score
    assert cost.traffic == Values(weights=2 + 1, biases=2 + 1, activations=activations)
    memory, arithmetic = 3 + 4 * 3 + activations, 3 * 0.3 + 2 * 0.1
    assert cost.energy_joules["45nm_int8_memory"] == pytest.approx(1e-12 * (PICOJOULES_A_BYTE * memory + arithmetic))


RESIDUAL = ConvNetConfig("resnet", (4, 8), in_channels=2)
CASES = ("policy", "population", "convolutional", "attention", "twin", "lstm")


def make(name: str) -> tuple[nn.Module, Tensor]:
    """A network and its input, for three decisions."""
    torch.manual_seed(0)
    images, numbers = torch.rand(3, 2, 8, 8), torch.rand(3, 6)
    match name:
        case "policy":
            return pruned(nn.Sequential(SpikingMLP(6, [16, 12], T=4), nn.Linear(12, 2))), numbers
        case "population":
            return pruned(SpikingMLP(6, [16], T=4, coding=CodingConfig(kind="population"))), numbers
        case "convolutional":
            return pruned(SpikingConvNet(RESIDUAL)), images
        case "attention":
            layers = nn.Conv2d(2, 12, 1), Neuron(NeuronConfig()), SpikeDrivenAttention(Neuron(NeuronConfig()))
            return pruned(SpikingSequential(*layers, nn.Flatten(), nn.Linear(256, 2))), images.expand(4, 3, 2, 8, 8)
        case "twin":
            return pruned(twin(RESIDUAL)), images
        case _:
            return nn.Sequential(nn.LSTM(6, 5)), numbers[None]


@pytest.mark.parametrize("name", CASES[1:])
def test_kinds_add_up_to_the_bytes_in_fp32(name: str) -> None:
    """Two ways: numbers by kind, and bytes of all. Only spikes differ, bits in one and addresses in the other."""
    network, x = make(name)
    read = 0

    def see(layer: nn.Module, inputs: tuple[Tensor, ...], output: Any) -> None:
        nonlocal read
        parts = inputs[0] if isinstance(layer, nn.RNNBase) else torch.cat([value.flatten() for value in inputs])
        if bool(((parts == 0) | (parts == 1)).all()):
            read += count(parts) + (output.numel() if isinstance(layer, Mask) else 0)  # written as values

    readers = (nn.Linear, nn.Conv2d, SpikeProduct)
    handles = [layer.register_forward_hook(see) for layer in acting_network(network) if isinstance(layer, readers)]
    cost = metered(network, x)
    for handle in handles:
        handle.remove()
    assert sum((row.traffic for row in cost.layers), Values()) == cost.traffic
    traffic = asdict(cost.traffic)
    assert (traffic.pop("spikes") > 0) == (cost.spikes_per_decision > 0) == (read > 0)
    addresses = cost.spikes_per_decision + read / 3
    assert sum(traffic.values()) + addresses == pytest.approx(cost.memory_bytes / 4)


def test_spikes_with_a_sign_take_two_bits() -> None:
    layers = nn.Linear(3, 4), Neuron(NeuronConfig(kind="signed_if")), nn.Linear(4, 2)
    network, x = SpikingSequential(*layers), torch.eye(3).repeat(5, 1, 1)
    nn.init.uniform_(layers[0].weight, 2, 3)
    assert metered(network, x).traffic.spikes == 5 * (3 + 2 * 4 + 4), "without a negative spike, a reader needs no sign"
    x[2:] *= -1
    assert metered(network, x).traffic.spikes == 5 * 2 * (3 + 4 + 4)


def test_what_a_neuron_takes_is_a_sum_and_what_leaves_is_an_activation() -> None:
    """In a residual block, a neuron takes the outputs of both branches; a second image begins anew."""
    network = SpikingConvNet(RESIDUAL).eval()
    rows = {row.name: row for row in metered(network, torch.rand(3, 2, 8, 8)).layers}
    convolutions = [row.traffic for row in rows.values() if row.kind == "Conv2d"]
    assert len(convolutions) > 3
    assert all(traffic.sums > 0 for traffic in convolutions)
    (head,) = (row.traffic for row in rows.values() if row.kind == "Linear")
    assert head.sums == 0


@pytest.mark.parametrize("name", CASES)
def test_eight_bits_cost_less(name: str) -> None:
    network, x = make(name)
    joules = metered(network, x).energy_joules
    assert joules["45nm_int8"] < joules["45nm_int8_memory"] < joules["45nm_fp32_memory"]


@pytest.mark.parametrize("name", ["policy", "convolutional", "twin"])
def test_parameters_have_the_bytes_of_the_simulation(name: str) -> None:
    network, _ = make(name)
    parameters = parameter_values(network.modules(), sum(p.numel() for p in network.parameters()))
    assert parameters.bytes(INT8_WIDTHS) == int8_bytes(network)


def test_weights_of_recurrent_layers_are_weights() -> None:
    assert parameter_values([nn.LSTM(3, 5)], 4 * (3 + 5 + 2) * 5) == Values(weights=4 * (3 + 5) * 5, biases=4 * 2 * 5)
