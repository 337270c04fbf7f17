from __future__ import annotations

from typing import Any

import pytest
import torch
from ann_modules import SMALL, images, seasoned
from torch import Tensor, nn

from snn4.learners.conversion.conversion import Conversion, ConversionConfig, convert, converting, graph_of
from snn4.learners.conversion.networks import spiking
from snn4.learners.conversion.progress import Progress
from snn4.learners.conversion.sizes import activations
from snn4.policies.networks.graph import GraphNet


def conversion_of(name: str, **fields: Any) -> Conversion:
    config = ConversionConfig(**{"T": 4, "neuron": "if", "images": 40, **fields})
    return convert(seasoned(SMALL[name]), images(40), config)


def bias_errors(conversion: Conversion, network: GraphNet) -> dict[str, float]:
    """By layer: mean absolute difference of a channel's mean rate and its mean activation, on calibration images."""
    names, x, means = conversion.graph.neurons, images(40), dict[str, dict[str, Tensor]]()
    burn_in: int = network.config.burn_in  # type: ignore[attr-defined]

    def mean(y: Tensor) -> Tensor:
        return y.transpose(0, 1).flatten(1).mean(1)

    def keep(key: str) -> Any:
        def kept(name: str, output: Any) -> None:
            y = output if isinstance(output, Tensor) else output[0][burn_in:].mean(0)
            means.setdefault(name, {})[key] = mean(y)

        return kept

    with activations(conversion.ann, names, keep("ann")), activations(network, names, keep("snn")), torch.no_grad():
        conversion.ann(x)
        network(x)
    return {name: float((pair["ann"] - pair["snn"]).abs().mean()) for name, pair in means.items()}


@pytest.mark.parametrize("burn_in", [0, 2])
@pytest.mark.parametrize("name", ["plain", "dense", "option-a"])
def test_mean_rates_become_mean_activations_in_every_layer(name: str, burn_in: int) -> None:
    """The same weights without the correction are further away in each layer. What saturates cannot be corrected."""
    conversion = conversion_of(name, T=8, burn_in=burn_in)
    after = bias_errors(conversion, conversion.network)
    before = bias_errors(conversion, spiking(conversion.graph, conversion.network.config))  # type: ignore[arg-type]
    assert all(after[layer] < before[layer] for layer in after)
    assert min(after[layer] / before[layer] for layer in after) < 0.3


def test_only_biases_are_corrected() -> None:
    conversion = conversion_of("option-a")
    plain = spiking(conversion.graph, conversion.network.config).state_dict()  # type: ignore[arg-type]
    changed = [name for name, x in conversion.network.state_dict().items() if not torch.equal(x, plain[name])]
    assert changed
    assert all(name.endswith("bias") for name in changed)


def test_one_bias_for_each_layer_of_neurons() -> None:
    """Of a sum, one of its layers takes the whole correction; one that feeds others, too, takes none."""

    class Fork(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.head = nn.Conv2d(3, 4, 1), nn.Linear(256, 5)

        def forward(self, x: Tensor) -> Tensor:
            y = self.first(x)
            return self.head(torch.flatten(y.relu() + y, 1))  # type: ignore[no-any-return]

    torch.manual_seed(0)
    conversion = convert(Fork(), images(20), ConversionConfig(T=3, neuron="if"))
    x = images(5)
    with torch.no_grad():
        # What does not spike is as before: the correction is a part of the neurons' current alone.
        graph: Any = conversion.network.network[0]
        ann: Any = conversion.ann.network[0]  # type: ignore[index]
        torch.testing.assert_close(graph.layers["first"](x), ann.layers["first"](x))


def test_threshold_balance_corrects_nothing() -> None:
    conversion = conversion_of("plain", method="threshold-balance")
    plain = spiking(conversion.graph, conversion.network.config).state_dict()  # type: ignore[arg-type]
    assert all(torch.equal(x, plain[name]) for name, x in conversion.network.state_dict().items())


def test_reports_by_layer() -> None:
    module, config = seasoned(SMALL["plain"]), ConversionConfig(T=4, images=40)
    reports = list(converting(graph_of(module, images(40)), images(40), config))
    layers = [report for report in reports if report.stage == "correct biases"]
    assert layers == [Progress("correct biases", number + 1, 3) for number in range(3)]


def test_hooks_are_gone() -> None:
    conversion = conversion_of("plain")
    for network in (conversion.network, conversion.ann):
        assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in network.modules())
