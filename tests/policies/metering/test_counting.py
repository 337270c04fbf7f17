from __future__ import annotations

import re

import pytest
import torch
from costs import count, metered, pruned
from torch import Tensor, nn

from snn4.policies.decoding import FirstSpikeDecoder, WeightedDecoder
from snn4.policies.metering.meter import Meter
from snn4.policies.network import SpikingResidual, SpikingSequential
from snn4.policies.networks.ann import twin
from snn4.policies.networks.convnet import ConvNetConfig, SpikingConvNet
from snn4.policies.networks.graph import GraphConfig, GraphNet, SpikingGraph
from snn4.policies.neurons import Neuron, NeuronConfig
from snn4.policies.normalization import StepNorm2d


def test_memory_traffic_of_a_spiking_network() -> None:
    torch.manual_seed(0)
    network = pruned(SpikingSequential(nn.Linear(6, 5), Neuron(NeuronConfig(kind="cuba")), nn.Linear(5, 2)), 0.0)
    x = (torch.rand(7, 3, 6) < 0.3).float()
    spikes, _ = network[1](network[0](x))
    first = count(x) * 5 + 7 * 3 * 5 + count(x) + 7 * 3 * 5  # weights, biases, inputs, outputs
    neurons = 7 * 3 * 5 * (1 + 2 * 2) + count(spikes)  # current, membrane and synapse, in and out; spikes
    second = count(spikes) * 2 + 7 * 3 * 2 + count(spikes) + 7 * 3 * 2
    assert count(spikes) > 0
    assert metered(network, x).memory_bytes == pytest.approx(4 * (first + neurons + second) / 3)


def test_half_precision_counts_as_well() -> None:
    network = SpikingSequential(nn.Linear(40, 301), Neuron(NeuronConfig(v_threshold=0.1)), nn.Linear(301, 7))
    x = (torch.rand(4, 3, 40) < 0.5).float()
    with torch.autocast("cpu", torch.bfloat16):
        cost = metered(network, x)
    assert cost.effective_acs == pytest.approx(count(x) * 301 / 3 + cost.spikes_per_decision * 7, rel=1e-12)
    assert cost.effective_macs == 0 < cost.spikes_per_decision


def test_a_kernel_is_read_once_per_image() -> None:
    conv = nn.Conv2d(1, 2, 3, bias=False)
    x = torch.zeros(4, 1, 8, 8)
    x[0] = 1
    x[1, 0, 0, 0] = 1  # a corner meets one weight of each kernel
    outputs = 4 * 2 * 6 * 6
    assert metered(conv, x).memory_bytes == 4 * (2 * 9 + 2 + 64 + 1 + outputs) / 4


def test_states_of_half_precision_neurons_are_whole_numbers_of_32_bits() -> None:
    current = torch.rand(4, 3, 5).bfloat16()
    cost = metered(SpikingSequential(Neuron(NeuronConfig(kind="cuba"))), current)
    current_and_states = 4 * 5 * (2 + 2 * 2 * 4)
    assert cost.memory_bytes == pytest.approx(current_and_states + 2 * cost.spikes_per_decision)


@pytest.mark.parametrize("norm", [False, True])
def test_updates_are_active_where_something_arrives(norm: bool) -> None:
    torch.manual_seed(0)
    conv, neuron = pruned(nn.Conv2d(2, 3, 3, padding=1), 0.7), Neuron(NeuronConfig(v_threshold=0.5))
    between = [nn.BatchNorm2d(3)] if norm else []
    network = SpikingSequential(conv, *between, neuron).eval()
    x = (torch.rand(4, 2, 2, 5, 5) < 0.05).float()
    with torch.no_grad():
        spikes, _ = network(x)
        difference = (conv(x.flatten(0, 1)) - conv(torch.zeros(1, 2, 5, 5))).unflatten(0, (4, 2))
        active = (difference.abs() > 1e-6) | (spikes > 0)
    cost = metered(network, x)
    assert 0 < count(active) < active.numel()
    assert (cost.active_neuron_updates, cost.neuron_updates) == (count(active) / 2, active.numel() / 2)


def test_a_constant_image_reaches_neurons_through_norms_of_each_step() -> None:
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 3, 3, padding=1), StepNorm2d(3, 4), Neuron(NeuronConfig(v_threshold=9))
    image = torch.zeros(1, 1, 1, 9, 9)
    image[..., 4, 4] = 1
    network = SpikingSequential(*layers).eval()
    nn.init.constant_(layers[1].bias, 0.1)
    with Meter(network) as meter, torch.no_grad():
        network(image, steps=4)
    assert meter.cost().active_neuron_updates == 4 * 3 * 9


def spiking_layers(*layers: nn.Module) -> nn.Module:
    torch.manual_seed(1)
    return SpikingSequential(nn.Conv2d(1, 2, 3, padding=1), Neuron(NeuronConfig()), *layers)


def loihi(network: nn.Module, x: Tensor) -> float:
    joules = metered(network, x).energy_joules["loihi1"]
    assert joules is not None
    return joules


def test_a_chip_folds_average_pooling_into_synapses() -> None:
    """Pooling and a 1 x 1 convolution equal one convolution of the pool's size, which sees the spikes themselves."""
    pooled = pruned(spiking_layers(nn.AvgPool2d(2), nn.Conv2d(2, 3, 1, bias=False), Neuron(NeuronConfig())), 0.3)
    folded = spiking_layers(nn.Conv2d(2, 3, 2, 2, bias=False), Neuron(NeuronConfig()))
    folded[0], folded[2].weight.data = pooled[0], pooled[3].weight.data.expand(3, 2, 2, 2) / 4
    x = torch.rand(4, 2, 1, 6, 6)
    pooled_cost, folded_cost = metered(pooled, x), metered(folded, x)
    assert pooled_cost.spike_rates == folded_cost.spike_rates
    assert folded_cost.effective_acs > 0 == pooled_cost.effective_acs
    assert pooled_cost.effective_macs > folded_cost.effective_macs, "NeuroBench takes pooled spikes for real values"
    assert pooled_cost.energy_joules["loihi1"] == pytest.approx(folded_cost.energy_joules["loihi1"])


def test_a_chip_sends_every_spike_of_a_sum() -> None:
    torch.manual_seed(0)
    block = SpikingResidual(SpikingSequential(nn.Linear(8, 8), Neuron(NeuronConfig())), SpikingSequential())
    network = pruned(SpikingSequential(nn.Linear(4, 8), Neuron(NeuronConfig()), block, nn.Linear(8, 3)), 0.0)
    x = 3 * torch.rand(5, 2, 4)
    cost = metered(network, x)
    a, _ = network[1](network[0](x))
    b, _ = block.branch[1](block.branch[0](a))
    assert count(a * b) > 0
    assert cost.effective_macs == (count(x) * 8 + count(a + b) * 3) / 2
    events, inactive = (count(a) * 8 + (count(a) + count(b)) * 3) / 2, cost.neuron_updates - cost.active_neuron_updates
    updates = cost.active_neuron_updates * 81e-12 + inactive * 52e-12
    assert cost.energy_joules["loihi1"] == pytest.approx(events * 23.6e-12 + updates + count(x) * 8 / 2 * 4.6e-12)


@pytest.mark.parametrize("T", [1, 3])
def test_branches_see_the_spikes_before_both(T: int) -> None:
    torch.manual_seed(0)
    branch, shortcut = SpikingSequential(nn.Linear(8, 6), Neuron(NeuronConfig())), SpikingSequential(nn.Linear(8, 6))
    block = SpikingResidual(branch, shortcut)
    network = pruned(SpikingSequential(nn.Linear(4, 8), Neuron(NeuronConfig()), block), 0.0)
    x = 3 * torch.rand(T, 5, 4)
    spikes = network[1](network[0](x))[0]
    acs = {layer.name: layer.effective_acs for layer in metered(network, x).layers}
    assert count(spikes) not in (0, count(block.branch(spikes)[0]))
    assert acs["2.branch.0"] == acs["2.shortcut.0"] == count(spikes) * 6 / 5


def test_branches_see_the_pooled_spikes_before_both() -> None:
    torch.manual_seed(0)
    branch, shortcut = (SpikingSequential(nn.Conv2d(2, 3, 1), Neuron(NeuronConfig())) for _ in range(2))
    network = pruned(spiking_layers(nn.AvgPool2d(2), SpikingResidual(branch, shortcut)), 0.0)
    x = torch.rand(4, 2, 1, 6, 6)
    cost, spikes = metered(network, x), network[1](network[0](x.flatten(0, 1)).unflatten(0, (4, 2)))[0]
    inactive, host = cost.neuron_updates - cost.active_neuron_updates, metered(network[0], x.flatten(0, 1))
    updates = cost.active_neuron_updates * 81e-12 + inactive * 52e-12
    events = 2 * count(spikes) * 3 / 2
    assert cost.energy_joules["loihi1"] == pytest.approx(
        events * 23.6e-12 + updates + 4 * host.effective_macs * 4.6e-12
    )


@pytest.mark.parametrize("T", [1, 3])
def test_normalised_spikes_are_real_values(T: int) -> None:
    torch.manual_seed(0)
    layers = nn.Linear(4, 8), Neuron(NeuronConfig()), nn.LayerNorm(8), nn.Linear(8, 3)
    cost = metered(pruned(SpikingSequential(*layers), 0.0), 3 * torch.rand(T, 5, 4))
    last = {layer.name: layer for layer in cost.layers}["3"]
    assert last.effective_macs > 0 == last.effective_acs


@pytest.mark.parametrize(
    "network",
    [
        pytest.param(SpikingConvNet(ConvNetConfig(channels=(4, 8), in_channels=1, T=2, norm="step")), id="step norms"),
        pytest.param(SpikingConvNet(ConvNetConfig(channels=(4, 8), in_channels=1, T=2, pooling="max")), id="maxima"),
        pytest.param(twin(ConvNetConfig(channels=(4,), in_channels=1)), id="ann"),
        pytest.param(
            SpikingConvNet(ConvNetConfig("resnet", (4, 8), in_channels=1, T=2, shortcut="ms")), id="real values within"
        ),
    ],
)
def test_what_a_chip_cannot_run(network: nn.Module) -> None:
    assert metered(network.eval(), torch.rand(2, 1, 8, 8)).energy_joules["loihi1"] is None


@pytest.mark.parametrize("decoder", [FirstSpikeDecoder(4), WeightedDecoder(torch.rand(4))])
def test_only_a_linear_decoder_commutes_with_the_head(decoder: nn.Module) -> None:
    torch.manual_seed(0)

    class Policy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = pruned(SpikingSequential(nn.Linear(3, 8), Neuron(NeuronConfig())), 0.0)
            self.decoder, self.head = decoder, nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            self.trains = self.body(x)[0]
            return self.head(self.decoder(self.trains))  # type: ignore[no-any-return]

    policy, x = Policy(), (torch.rand(4, 5, 3) < 0.5).float()
    head = metered(policy, x).layers[-1]
    first = isinstance(decoder, FirstSpikeDecoder)
    decoded = count(decoder(policy.trains)) * 2 / 5
    spikes = count(policy.trains) * 2 / 5
    assert (head.effective_macs, head.effective_acs) == ((decoded, 0) if first else (0, spikes))


def test_a_trace_commutes_with_the_head_at_every_step() -> None:
    torch.manual_seed(0)
    body = SpikingSequential(nn.Linear(3, 8), Neuron(NeuronConfig()))
    network = pruned(SpikingSequential(*body, Neuron(NeuronConfig(kind="li")), nn.Linear(8, 2)), 0.0)
    x = (torch.rand(4, 5, 3) < 0.5).float()
    spikes, cost = count(body(x)[0]), metered(network, x)
    assert spikes > 0
    assert (cost.layers[-1].effective_acs, cost.effective_macs) == (spikes * 2 / 5, 0)
    assert cost.layers[-1].dense_macs == 4 * 8 * 2


def test_layers_that_cannot_be_counted() -> None:
    with pytest.raises(ValueError, match=r"^network: got a layer of type MultiheadAttention, .* allowed with synapses"):
        Meter(nn.Sequential(nn.Linear(4, 4), nn.MultiheadAttention(4, 2)))


@pytest.mark.parametrize(
    ("layer", "shape"), [(nn.Linear(4, 8), (4,)), (nn.Conv2d(1, 8, 3), (1, 5, 5)), (nn.GRU(4, 8), (3, 4))]
)
def test_an_input_without_a_batch_dimension_is_no_batch(layer: nn.Module, shape: tuple[int, ...]) -> None:
    message = f"x: got shape {shape} in layer 1, allowed is an input with a batch dimension"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        metered(nn.Sequential(nn.Identity(), layer), torch.rand(shape))


def test_an_output_without_samples() -> None:
    with pytest.raises(ValueError, match=r"^network: got an output of type Tensor, allowed is a Tensor \(B, …\)"):
        metered(nn.Sequential(nn.Linear(4, 4), nn.Flatten(0), Total()), torch.zeros(2, 4))


class Total(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sum()


SIGNED = NeuronConfig("signed_if", v_leak=0.5)


def test_negative_spikes_cost_what_spikes_cost() -> None:
    torch.manual_seed(0)
    network = pruned(SpikingSequential(nn.Linear(6, 8), Neuron(SIGNED), nn.Linear(8, 3)), 0.0)
    x = torch.randn(9, 4, 6)
    spikes, _ = network[1](network[0](x))
    assert (spikes < 0).any()
    cost = metered(network, x)
    assert cost.spikes_per_decision == count(spikes) / 4
    assert cost.spike_rates == [count(spikes) / spikes.numel()]
    assert {layer.name: layer.effective_acs for layer in cost.layers}["2"] == count(spikes) * 3 / 4
    states = 9 * 4 * 8 * (1 + 2 * 2)  # current; membrane and sum of spikes, in and out
    assert {layer.name: layer.memory_bytes for layer in cost.layers}["1"] == 4 * (states + count(spikes)) / 4
    assert {layer.name: layer.neuron_acs for layer in cost.layers}["1"] == (2 * spikes.numel() + 2 * count(spikes)) / 4


def test_decoded_negative_spikes_are_counted_as_spikes() -> None:
    torch.manual_seed(0)
    layers = SpikingSequential(nn.Linear(6, 8), Neuron(SIGNED))
    network = pruned(Then(layers, WeightedDecoder(torch.full((9,), 1 / 9)), nn.Linear(8, 3)), 0.0)
    x = torch.randn(9, 4, 6)
    spikes, _ = layers(x)
    assert (spikes < 0).any()
    assert {layer.name: layer.effective_acs for layer in metered(network, x).layers}["2"] == count(spikes) * 3 / 4


class Then(nn.Sequential):
    """Layers after a spiking network, whose state is dropped."""

    def forward(self, x: Tensor) -> Tensor:
        return self[2](self[1](self[0](x)[0]))  # type: ignore[no-any-return]


def graph(*between: list[object], outputs: int) -> GraphNet:
    """Two layers of neurons that see the image, what joins them, a layer behind, and a readout."""
    conv = {"in_channels": 1, "out_channels": 2, "kernel_size": 3, "padding": 1}
    nodes = [
        ["a", "conv2d", ["input"], conv], ["b", "conv2d", ["input"], conv], ["x", "neuron", ["a"]],
        ["y", "neuron", ["b"]], *between, ["c", "conv2d", ["join"], {**conv, "in_channels": outputs}],
        ["z", "neuron", ["c"]], ["flat", "flatten", ["z"]],
        ["scores", "linear", ["flat"], {"in_features": 32, "out_features": 3}],
    ]  # fmt: skip
    torch.manual_seed(0)
    config = GraphConfig(in_channels=1, image_size=(4, 4), n_classes=3, T=5, neuron=SIGNED, nodes=tuple(nodes))  # type: ignore[arg-type]
    return pruned(GraphNet(config), 0.0)  # type: ignore[no-any-return]


def test_joined_spikes_are_spikes() -> None:
    """Concatenated: each an accumulate. Summed: on a chip, each of them crosses the synapses."""
    x = torch.rand(4, 1, 4, 4)
    for kind, channels in (("concat", 4), ("add", 2)):
        network = graph(["join", kind, ["x", "y"]], outputs=channels)
        cost = metered(network, x)
        parts: SpikingGraph = network.network[0]  # type: ignore[assignment]
        values = dict(parts.node_by_node(x.unsqueeze(0), None, 5, []))
        operations = (values["join"] != 0).float().flatten(0, 1)
        fans = torch.nn.functional.conv2d(operations, torch.ones(2, channels, 3, 3), padding=1).sum().item() / 4
        layer = {layer.name: layer for layer in cost.layers}["network.0.layers.c"]
        binary = bool((values["join"].abs() <= 1).all())
        assert (layer.effective_acs if binary else layer.effective_macs) == pytest.approx(fans)
        assert binary == (kind == "concat")
        assert cost.energy_joules["loihi1"] is not None


def test_max_pooling_of_spikes_is_not_for_a_chip() -> None:
    pool = ["join", "max_pool", ["x"], {"kernel_size": 3, "stride": 1, "padding": 1}]
    cost = metered(graph(pool, outputs=2), torch.rand(4, 1, 4, 4))
    assert cost.energy_joules["loihi1"] is None
    assert {layer.name: layer.effective_macs for layer in cost.layers}["network.0.layers.c"] == 0, "still spikes"
