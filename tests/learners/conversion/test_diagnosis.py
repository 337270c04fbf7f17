from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from ann_modules import SMALL, conv, images, seasoned
from torch import Tensor, nn

from snn4.learners.conversion.conversion import Conversion, ConversionConfig, convert
from snn4.learners.conversion.diagnosis import Diagnosis, LayerDiagnosis, diagnosed
from snn4.learners.conversion.networks import by_name
from snn4.learners.conversion.progress import Progress


def diagnosis_of(conversion: Conversion, x: Tensor, labels: Tensor) -> tuple[Diagnosis, list[Progress]]:
    steps, reports = diagnosed(conversion, x, labels), []
    while True:
        try:
            reports.append(next(steps))
        except StopIteration as end:
            return end.value, reports


def conversion_of(name: str = "plain", **fields: Any) -> Conversion:
    config = ConversionConfig(**{"T": 32, "images": 40, "method": "threshold-balance", "percentile": 100.0, **fields})
    module = seasoned(SMALL[name])
    readouts = [layer for layer in module.modules() if isinstance(layer, nn.Linear)]
    with torch.no_grad():
        for readout in readouts[-1:]:  # no class is the largest for all images
            readout.bias -= module(images(40)).mean(0)
    return convert(module, images(40), config)


def labelled(conversion: Conversion, n: int = 60) -> tuple[Tensor, Tensor]:
    """Images, and what the ANN says of them: it is always right."""
    x = images(n, seed=9)
    with torch.no_grad():
        return x, conversion.ann(x).argmax(1)


def test_rates_that_are_the_activations() -> None:
    """Activations of 0 to 4 quarters are rates of 4 steps, exactly."""
    module = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), nn.Flatten(), nn.Linear(192, 5))
    nn.init.dirac_(module[0].weight)
    nn.init.zeros_(module[0].bias)
    draw = torch.Generator().manual_seed(0)
    x = torch.randint(-2, 5, (30, 3, 8, 8), generator=draw) / 4
    x[:, :, 0, 0] = 1.0  # the largest one, in every channel
    conversion = convert(module, x, ConversionConfig("threshold-balance", 4, percentile=100.0, images=30))
    result, _ = diagnosis_of(conversion, x, torch.zeros(30, dtype=torch.int64))
    (layer,) = result.layers
    assert (layer.correlation, layer.error) == (pytest.approx(1), pytest.approx(0, abs=1e-6))
    assert (layer.silent, layer.saturated) == (0, 0)
    assert layer.rate == pytest.approx(float(x.relu().mean()))
    assert layer.accuracy == result.ann_accuracy == result.accuracy_by_step[-1]
    assert result.spikes_by_step[-1] == pytest.approx(float(x.relu().mean()) * 4 * 192)
    assert result.reason == "no layer alone loses more than half a point; all together lose 0.0"


def test_a_destroyed_layer_is_named() -> None:
    """One in the middle: the layers before it have the activations of the ANN, those behind do not."""
    for broken in range(3):
        conversion = conversion_of()
        name = conversion.graph.neurons[broken]
        source = conversion.graph.node(name).inputs[0]
        x, labels = labelled(conversion)
        with torch.no_grad():
            by_name(conversion.network)[source].bias.fill_(-1e5)
        result, _ = diagnosis_of(conversion, x, labels)
        assert result.reason.startswith(f"{name} loses most, ")
        assert "of its channels never spike; choose a lower percentile" in result.reason
        layer = result.layers[broken]
        assert (layer.correlation, layer.error, layer.rate) == (None, pytest.approx(1), 0)
        assert all(before.correlation is not None and before.correlation > 0.95 for before in result.layers[:broken])


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("burn_in", [0, 4])
def test_the_last_layer_has_the_accuracy_of_the_network(name: str, burn_in: int) -> None:
    """A network whose every layer is converted is the spiking one; in between are hybrids of both."""
    conversion = conversion_of(name, T=8, burn_in=burn_in)
    x, labels = labelled(conversion, 40)
    result, reports = diagnosis_of(conversion, x, labels)
    assert result.ann_accuracy == 1
    with torch.no_grad():
        network = conversion.network
        assert result.accuracy_by_step[-1] == pytest.approx(float((network(x).argmax(1) == labels).double().mean()))
    assert result.layers[-1].accuracy == pytest.approx(result.accuracy_by_step[-1], abs=1 / 40)
    assert [layer.name for layer in result.layers] == conversion.graph.neurons
    assert [report.done for report in reports] == list(range(1, len(result.layers) + 1))
    assert (len(result.accuracy_by_step), len(result.spikes_by_step), result.images) == (8, 8, 40)
    assert list(result.spikes_by_step) == sorted(result.spikes_by_step)


def test_saturated_units_want_more_than_one_spike_a_step() -> None:
    conversion = conversion_of("option-a", percentile=50.0, scale="layer")
    x, labels = labelled(conversion)
    result, _ = diagnosis_of(conversion, x, labels)
    assert max(layer.saturated for layer in result.layers) > 0.3
    assert conversion_of("option-a").sizes.keys() == conversion.sizes.keys()


def test_negative_spikes_count_as_spikes() -> None:
    conversion = conversion_of("option-a", neuron="signed_if")
    x, labels = labelled(conversion)
    trains: list[Tensor] = []
    handles = [
        by_name(conversion.network)[name].register_forward_hook(lambda _, inputs, output: trains.append(output[0]))
        for name in conversion.graph.neurons
    ]
    with torch.no_grad():
        conversion.network(x)
    for handle in handles:
        handle.remove()
    assert any((train < 0).any() for train in trains)
    result, _ = diagnosis_of(conversion, x, labels)
    assert result.spikes_by_step[-1] == pytest.approx(sum(int(train.count_nonzero()) for train in trains) / len(x))


LAYER = LayerDiagnosis("relu", 0.99, 0.1, 0.0, 0.0, 0.5, 0.2)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"saturated": 0.4}, "40% of its active units want more than one spike per step; choose a higher percentile"),
        ({"silent": 0.3}, "30% of its channels never spike; choose a lower percentile, scale: channel, or more steps"),
        ({"correlation": 0.5}, r"its spikes arrive unevenly (correlation with the ANN 0.50); choose neuron: signed_if"),
        ({}, "its rates have too few levels; choose more steps, or method: qcfs"),
        ({"correlation": None}, "its rates have too few levels; choose more steps, or method: qcfs"),
    ],
)
def test_reasons(fields: dict[str, Any], why: str) -> None:
    layers = (LAYER, dataclasses.replace(LAYER, name="last", accuracy=0.2, **fields))
    reason = Diagnosis(layers, 0.51, (0.2,), (1.0,), 100).reason
    assert reason.startswith(f"last loses most, 30.0 of 31.0 points: {why}")


def test_it_is_plain_data() -> None:
    conversion = convert(nn.Sequential(conv(3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(128, 5)), images(5))
    result, _ = diagnosis_of(conversion, *labelled(conversion, 5))
    for value in dataclasses.asdict(result)["layers"][0].values():
        assert type(value) in (str, float, type(None))
