from __future__ import annotations

from typing import Any

import pytest
import torch
from ann_modules import LARGE, SMALL, Plain, conv, images, seasoned
from torch import Tensor, nn

from snn4.learners.conversion.ann_graph import CannotConvert
from snn4.learners.conversion.conversion import METHODS, NEURONS, Conversion, ConversionConfig, convert
from snn4.learners.conversion.sizes import activations
from snn4.policies.networks.graph import BurnIn, SpikingGraph


def converted(name: str = "plain", **fields: Any) -> tuple[Conversion, nn.Module]:
    module = seasoned(SMALL[name])
    return convert(module, images(40), ConversionConfig(**{"T": 4, "images": 40, **fields})), module


def scores(network: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return network(x)  # type: ignore[no-any-return]


def distance(network: nn.Module, module: nn.Module) -> float:
    """Mean absolute difference of scores, as a fraction of their standard deviation."""
    x = images(30, seed=7)
    want = scores(module, x)
    return float((scores(network, x) - want).abs().mean() / want.std())


@pytest.mark.parametrize("neuron", NEURONS)
@pytest.mark.parametrize("name", SMALL)
def test_the_network_comes_near_its_ann_with_time(name: str, neuron: str) -> None:
    """Every activation is a rate, so that the error falls to that of the calibration."""
    whole: dict[str, Any] = {"neuron": neuron, "method": "threshold-balance", "percentile": 100.0, "scale": "layer"}
    errors = [distance(converted(name, T=T, **whole)[0].network, seasoned(SMALL[name])) for T in (2, 16, 256)]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.1


@pytest.mark.parametrize("method", ["threshold-balance", "calibrate"])
def test_the_ann_of_a_conversion_is_the_module(method: str) -> None:
    """Before its biases were corrected, and in units of its own."""
    conversion, module = converted(method=method)
    x = images(5, seed=3)
    torch.testing.assert_close(scores(conversion.ann, x), scores(module, x), rtol=1e-3, atol=1e-3)


def quantized(ann: nn.Module, T: int) -> nn.Module:
    """The ANN with rates of T steps in place of its activations."""
    for name, layer in list(ann.named_modules()):
        if type(layer) is nn.ReLU:
            parent, _, last = name.rpartition(".")
            setattr(ann.get_submodule(parent), last, Rates(T))
    return ann


class Rates(nn.Module):
    def __init__(self, T: int) -> None:
        super().__init__()
        self.T = T

    def forward(self, x: Tensor) -> Tensor:
        return (x * self.T + 0.5).floor().clamp(0, self.T) / self.T


def test_one_layer_of_neurons_has_the_quantized_rates() -> None:
    """Their current is constant, so that the number of spikes is the rounded activation, exactly."""
    torch.manual_seed(0)
    module = nn.Sequential(conv(3, 6), nn.ReLU(), nn.Flatten(), nn.Linear(384, 5))
    for neuron in NEURONS:
        conversion = convert(module, images(20), ConversionConfig("threshold-balance", 5, neuron))  # type: ignore[arg-type]
        x = images(6, seed=1)
        expected = scores(quantized(conversion.ann, 5), x)
        torch.testing.assert_close(scores(conversion.network, x), expected, rtol=1e-4, atol=1e-4)


def test_signed_neurons_end_with_the_activations() -> None:
    """In every layer, up to a few spikes of the last steps that were not taken back."""
    conversion, _ = converted("plain", T=256, method="threshold-balance", percentile=100.0)
    x, rates, wanted = images(10, seed=2), dict[str, Tensor](), dict[str, Tensor]()
    names = conversion.graph.neurons
    with activations(conversion.network, names, lambda name, output: rates.update({name: output[0].mean(0)})):
        scores(conversion.network, x)
    with activations(conversion.ann, names, wanted.__setitem__):
        scores(conversion.ann, x)
    for name in names:
        difference = (rates[name] - wanted[name].clamp(max=1)).abs()
        assert float(difference.mean()) < 3 / 256


def test_negative_spikes_lessen_the_error() -> None:
    """Of plain neurons, by far: that is what they are for."""
    errors = {
        neuron: distance(converted("option-a", T=16, neuron=neuron, method="threshold-balance")[0].network,
                         seasoned(SMALL["option-a"]))
        for neuron in NEURONS
    }  # fmt: skip
    assert errors["signed_if"] < errors["if"]


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "squeezenet1_1"])
def test_networks_of_torchvision(name: str) -> None:
    module, x = seasoned(LARGE[name]), images(4, 32)
    conversion = convert(module, x, ConversionConfig("threshold-balance", 32, percentile=100.0))
    want = scores(module, x)
    got = scores(conversion.network, x)
    assert torch.isfinite(got).all()
    assert float((got - want).abs().mean()) < float(want.abs().mean())
    for layer in conversion.network.modules():
        assert not isinstance(layer, nn.modules.batchnorm._BatchNorm)


def test_burn_in_and_first_membrane() -> None:
    conversion, _ = converted(T=6, burn_in=2, v_initial=0.25, neuron="if")
    network = conversion.network
    assert isinstance(network.network[-1], BurnIn)
    assert (network.config.neuron.kind, network.config.neuron.v_leak) == ("if", 0.25)
    with torch.no_grad():
        trains = network.run(images(2))[0]
    assert not trains[:2].any()
    assert trains[2:].any()


def test_settings_reach_the_network() -> None:
    conversion, _ = converted(T=7, scale="layer")
    assert conversion.network.config.T == 7
    assert isinstance(conversion.network.network[0], SpikingGraph)
    assert all(len(set(size.tolist())) == 1 for size in conversion.sizes.values())
    assert not conversion.network.training


def test_only_the_first_images_calibrate() -> None:
    module = seasoned(Plain)
    few = convert(module, images(10), ConversionConfig(T=4))
    more = convert(module, torch.cat([images(10), images(90, seed=5)]), ConversionConfig(T=4, images=10))
    for a, b in zip(few.network.state_dict().values(), more.network.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_modules_and_images_of_double_precision() -> None:
    module = seasoned(Plain)
    network = convert(module, images(10), ConversionConfig(T=4)).network
    same = convert(seasoned(Plain).double(), images(10).double(), ConversionConfig(T=4)).network
    for a, b in zip(network.state_dict().values(), same.state_dict().values(), strict=True):
        assert a.dtype == b.dtype
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)


# Wrong input

WRONG: dict[str, Tensor] = {
    r"calibration: got \(3, 8, 8\), torch.float32, allowed are images \(N, C, H, W\) in floating point": images(1)[0],
    r"calibration: got \(0, 3, 8, 8\), torch.float32, allowed are images": images(0),
    r"calibration: got \(2, 3, 8, 8\), torch.int64, allowed are images": images(2).long(),
    r"calibration: got NaN or infinity, allowed are finite images": images(2) / 0,
    r"calibration: got \(3, 8, 8\), torch.float64, which Plain does not take \(": images(2).double(),
    r"calibration: got \(1, 8, 8\), torch.float32, which Plain does not take \(": images(2)[:, :1],
}


@pytest.mark.parametrize("message", WRONG)
def test_wrong_calibration_images(message: str) -> None:
    with pytest.raises(CannotConvert, match=f"^{message}"):
        convert(seasoned(Plain), WRONG[message])


def test_a_network_without_activations() -> None:
    with pytest.raises(CannotConvert, match=r"^Sequential: got no ReLU, allowed are networks with one or more$"):
        convert(nn.Sequential(nn.Flatten(), nn.Linear(192, 5)), images(2))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"method": "magic"}, f"method: got 'magic', allowed are {', '.join(METHODS)}"),
        ({"neuron": "lif"}, "neuron: got 'lif', allowed are if, signed_if"),
        ({"scale": "net"}, "scale: got 'net', allowed are channel, layer"),
        ({"T": 0}, "T: got 0, allowed is a whole number >= 1"),
        ({"images": 0}, "images: got 0, allowed is a whole number >= 1"),
        ({"levels": 0}, "levels: got 0, allowed is a whole number >= 1"),
        ({"percentile": 0.999}, "percentile: got 0.999, allowed is a number from 50 to 100"),
        ({"percentile": float("nan")}, "percentile: got nan, allowed is a number from 50 to 100"),
        ({"v_initial": 1.0}, "v_initial: got 1.0, allowed is a number from 0 to below 1"),
        ({"burn_in": 8}, r"burn_in: got 8, allowed is a whole number >= 0 and < T \(8\)"),
    ],
)
def test_wrong_settings(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        ConversionConfig(**fields)
