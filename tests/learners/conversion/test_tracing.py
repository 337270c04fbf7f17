from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from ann_modules import LARGE, SMALL, Plain, conv, images, seasoned
from torch import Tensor, nn
from torch.nn import functional as F

from snn4.learners.conversion.networks import artificial
from snn4.learners.conversion.tracing import CannotConvert, trace
from snn4.policies.networks.ann import twin
from snn4.policies.networks.convnet import CONVNETS, ConvNetConfig
from snn4.policies.networks.graph import GraphConfig


def graph_config(size: int = 8) -> GraphConfig:
    return GraphConfig(in_channels=3, image_size=(size, size), n_classes=5)


def rebuilt(module: nn.Module, x: Tensor) -> Tensor:
    """The scores of the ANN of the traced graph."""
    with torch.no_grad():
        return artificial(trace(module, x[:1]), graph_config(x.shape[-1]))(x)  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", [*SMALL, *LARGE])
def test_the_graph_computes_what_the_module_does(name: str) -> None:
    module, x = seasoned({**SMALL, **LARGE}[name]), images(3, 8 if name in SMALL else 32)
    with torch.no_grad():
        expected = module(x)
    assert expected.std(0).max() > 0
    scale = float(expected.abs().max())
    torch.testing.assert_close(rebuilt(module, x), expected, rtol=1e-4, atol=1e-4 * scale)


@pytest.mark.parametrize(
    "config",
    [
        ConvNetConfig(channels=(4, 8), n_classes=5, image_size=(8, 8), pooling="max"),
        ConvNetConfig(
            channels=(4, 8),
            n_classes=5,
            image_size=(9, 9),
            pooling="max",
            pooled="currents",
            stem="whitening",
            head="flatten",
        ),
        ConvNetConfig("resnet", (4, 8), n_classes=5, image_size=(8, 8), shortcut="sew"),
        ConvNetConfig("resnet", (4, 8), n_classes=5, image_size=(8, 8), shortcut="ms"),
    ],
    ids=["vgg", "whitening", "sew", "ms"],
)
def test_the_twins_of_this_project(config: ConvNetConfig) -> None:
    assert config.image_size is not None
    module, x = seasoned(lambda: twin(config)), images(3, config.image_size[0])
    with torch.no_grad():
        torch.testing.assert_close(rebuilt(module, x), module(x), rtol=1e-4, atol=1e-4)


def test_every_shipped_network_is_converted_or_refused() -> None:
    assert {type(config) for config in CONVNETS.values()} == {ConvNetConfig}


def test_norms_are_folded() -> None:
    graph = trace(seasoned(Plain), images(1))
    assert [node.kind for node in graph.nodes] == [
        "conv2d", "neuron", "max_pool", "conv2d", "neuron", "avg_pool", "flatten", "linear", "neuron", "linear",
    ]  # fmt: skip
    graph = trace(seasoned(SMALL["option-a"]), images(1))
    kinds = [node.kind for node in graph.nodes]
    assert kinds.count("conv2d") == 7 + 2, "a shortcut that subsamples and pads is one convolution"


def test_a_norm_that_others_do_not_follow_stays() -> None:
    """The convolution is also seen without its norm."""

    class Fork(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm, self.relu, self.head = conv(3, 4), nn.BatchNorm2d(4), nn.ReLU(), nn.Linear(256, 5)
            self.flat, self.norm1, self.last = nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Linear(6, 5)

        def forward(self, x: Tensor) -> Tensor:
            y = self.conv(x)
            y = self.flat(self.head(torch.flatten(self.relu(self.norm(y)) + y, 1)))
            return self.last(F.dropout(self.norm1(y) + y, 0.5, self.training))  # type: ignore[no-any-return]

    module, x = seasoned(Fork), images(3)
    with torch.no_grad():
        torch.testing.assert_close(rebuilt(module, x), module(x), rtol=1e-4, atol=1e-4)


class Calls(nn.Module):
    """A convolution, a function, and a readout behind it."""

    def __init__(self, function: Callable[[Any, Any], Any]) -> None:
        super().__init__()
        self.function, self.conv, self.readout = function, conv(3, 4), nn.LazyLinear(5)
        self.weight = nn.Parameter(torch.ones(4, 1, 1))

    def forward(self, x: Tensor) -> Any:
        return self.readout(torch.flatten(self.function(self, self.conv(x)), 1))


SAME_FUNCTIONS: dict[str, Callable[[Any, Any], Any]] = {
    "x plus x": lambda net, x: F.relu(x) + x + x,
    "method add": lambda net, x: x.relu().add(x),
    "keywords": lambda net, x: torch.cat(tensors=(F.relu(input=x), x), dim=-3),
    "max pooling": lambda net, x: F.max_pool2d(x.relu(), 3, 2, 1, 1, True),
    "average pooling": lambda net, x: F.avg_pool2d(x.relu(), 3, stride=2, padding=1, count_include_pad=False),
    "positions": lambda net, x: F.avg_pool2d(x.relu(), 3, 2, 1, True, False, 5),
    "mean that keeps": lambda net, x: torch.mean(F.relu6(x), (-1, -2), keepdim=True),
    "mean by keyword": lambda net, x: F.relu(x).mean(dim=[3, 2]),
    "subsampled": lambda net, x: F.pad(x.relu()[:, :, ::2, ::2], (0, 0, 0, 0, 1, 2), "constant", 0),
    "reshape": lambda net, x: F.relu(x.contiguous()).reshape(x.shape[0], -1),
}


@pytest.mark.parametrize("name", SAME_FUNCTIONS)
def test_functions(name: str) -> None:
    x = images(3)
    torch.manual_seed(0)
    module = Calls(SAME_FUNCTIONS[name])
    with torch.no_grad():
        expected = module(x)
        torch.testing.assert_close(rebuilt(module.eval(), x), expected, rtol=1e-4, atol=1e-5)


def test_only_what_leads_to_the_scores_is_kept() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(192, 5), nn.Linear(192, 7)

        def forward(self, x: Tensor) -> Tensor:
            scores = self.first(torch.flatten(x, 1).relu())
            self.second(torch.flatten(x, 1))
            return scores  # type: ignore[no-any-return]

    graph = trace(Two(), images(1))
    assert [node.name for node in graph.nodes][-1] == "first"
    assert "second" not in graph.weights


def test_training_and_frozen_parts_stay_as_they_are() -> None:
    module = seasoned(Plain).train()
    module[1].eval()  # type: ignore[index]
    before = {name: value.clone() for name, value in module.state_dict().items()}
    modes = [layer.training for layer in module.modules()]
    trace(module, images(1))
    assert [layer.training for layer in module.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert all(p.grad is None for p in module.parameters())


def test_half_precision_becomes_float32() -> None:
    module, x = seasoned(Plain).bfloat16(), images(1).bfloat16()
    graph = trace(module, x)
    assert {weight.dtype for pair in graph.weights.values() for weight in pair} == {torch.float32}


# What cannot be converted

NO_NEGATIVE, RELU = "spikes cannot be negative; train with nn.ReLU", "train with nn.ReLU"
NORM = "its statistics change with every input; train with nn.BatchNorm2d"
LAYERS: list[tuple[nn.Module, str]] = [
    (nn.LeakyReLU(), NO_NEGATIVE), (nn.PReLU(), NO_NEGATIVE), (nn.ELU(), NO_NEGATIVE), (nn.SELU(), NO_NEGATIVE),
    (nn.SiLU(), RELU), (nn.GELU(), RELU), (nn.Mish(), RELU), (nn.Softplus(), RELU),
    (nn.Sigmoid(), "train with nn.ReLU or nn.ReLU6"), (nn.Tanh(), "train with nn.ReLU or nn.ReLU6"),
    (nn.Hardtanh(), "train with nn.ReLU6"), (nn.Hardswish(), "train with nn.ReLU6"),
    (nn.Softmax(1), "leave it out: the largest score stays the largest"),
    (nn.GroupNorm(2, 4), NORM), (nn.LayerNorm([8, 8]), NORM), (nn.InstanceNorm2d(4), NORM),
    (nn.BatchNorm2d(4, track_running_stats=False), "it needs running statistics; set track_running_stats"),
    (nn.Conv2d(4, 4, 3, padding="same"), "set its padding in numbers, and padding_mode to zeros"),
    (nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), "set its padding in numbers, and padding_mode to zeros"),
    (nn.AdaptiveMaxPool2d(2), "use nn.MaxPool2d, or average"),
    (nn.Upsample(scale_factor=2), "distil it instead"),
    (nn.ConvTranspose2d(4, 4, 3), "distil it instead"),
]  # fmt: skip


@pytest.mark.parametrize(("layer", "hint"), LAYERS, ids=[repr(layer)[:40] for layer, _ in LAYERS])
def test_layers_that_cannot_be_converted(layer: nn.Module, hint: str) -> None:
    module = nn.Sequential(conv(3, 4), nn.Sequential(nn.ReLU(), layer), nn.Flatten(), nn.LazyLinear(5))
    module(images(2))
    with pytest.raises(CannotConvert) as error:
        trace(module, images(1))
    name = type(layer).__name__
    assert str(error.value).startswith(
        f"1.1: got {name}, which cannot be converted; {hint}. Allowed are Linear, Conv2d"
    )
    assert "\n" not in str(error.value)


FUNCTIONS: dict[str, tuple[Callable[[Any, Any], Any], str]] = {
    "gelu": (lambda net, x: F.gelu(x), "gelu: got the function gelu, which cannot be converted; train with nn.ReLU"),
    "leaky": (lambda net, x: F.leaky_relu(x), f"leaky_relu: got the function leaky_relu, .*; {NO_NEGATIVE}"),
    "sigmoid": (lambda net, x: x.sigmoid(), "sigmoid: got the function sigmoid, .*; train with nn.ReLU"),
    "product": (lambda net, x: x * x.mean((2, 3), True), "mul: got the function mul, .*; leave products of values out"),
    "difference": (lambda net, x: x - x.relu(), "sub: got the function sub, .*; move the sign into the weights"),
    "exp": (lambda net, x: x.exp(), "exp: got the function exp, .*; put a layer in its place, or distil the network"),
    "constant": (lambda net, x: x + 1, "add: got a sum with a constant or a factor, .*; make it a layer's bias"),
    "factor": (lambda net, x: torch.add(x, x, alpha=2), "add: got a sum with a constant or a factor, .*; make it"),
    "parameter": (lambda net, x: x + net.weight, "weight: got a constant tensor, .*; make it a layer's bias"),
    "broadcast": (
        lambda net, x: x + x.relu().mean((2, 3), True),
        r"add: got a sum of \(4, 8, 8\) and \(4, 1, 1\), .*; add values of the same shape",
    ),
    "rows": (lambda net, x: torch.cat([x, x], 2), "cat: got a concatenation along dimension 2, .*; concatenate chan"),
    "channels": (lambda net, x: x[:, :2], "getitem: got a slice of channels or of a part of the image, .*; subsample"),
    "part": (lambda net, x: x[:, :, 2:], "getitem: got a slice of channels or of a part of the image"),
    "turned": (lambda net, x: x.reshape(x.size(0), 8, -1), r"reshape: got a reshape to \(1, 8, 32\), .*; flatten all"),
    "mean of channels": (lambda net, x: x.mean(1), r"mean: got a mean from \(1, 4, 8, 8\) to \(1, 8, 8\), .*; average"),
    "mean of rows": (lambda net, x: x.mean((1, 2)), r"mean: got a mean from \(1, 4, 8, 8\) to \(1, 8\), .*; average"),
    "border": (lambda net, x: F.pad(x, (1, 1, 1, 1)), r"pad: got padding \(1, 1, 1, 1\), .*; pad in the convolution"),
    "ones": (lambda net, x: F.pad(x, (0, 0, 0, 0, 1, 1), value=1.0), r"pad: got padding .*; pad in the convolution"),
    "chunk": (lambda net, x: x.chunk(2, 1)[0], "chunk: got the function chunk, .*; put a layer in its place"),
    "functional": (
        lambda net, x: F.conv2d(x, net.conv.weight.transpose(0, 1)),
        "conv_weight: got a constant tensor, which cannot be converted",
    ),
    "branch": (lambda net, x: x if x.sum() > 0 else -x, "Calls: got code that torch.fx cannot follow .*; allowed is a"),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_that_cannot_be_converted(name: str) -> None:
    function, message = FUNCTIONS[name]
    module = Calls(function)
    module(images(1))
    with pytest.raises(CannotConvert, match=f"^{message}") as error:
        trace(module, images(1))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("head", [nn.Identity(), nn.Flatten(0)])
def test_outputs_that_are_no_scores(head: nn.Module) -> None:
    with pytest.raises(
        CannotConvert, match=r"^(output: got \(1, 4, 8, 8\), allowed are class scores|2: got a reshape)"
    ):
        trace(nn.Sequential(conv(3, 4), nn.ReLU(), head), images(1))


def test_several_outputs() -> None:
    class Pair(nn.Sequential):
        def forward(self, x: Tensor) -> Any:
            y = super().forward(x)
            return y, y

    with pytest.raises(CannotConvert, match=r"^output: got tuple, allowed are class scores \(B, n\) alone"):
        trace(Pair(nn.Flatten(), nn.Linear(192, 5)), images(1))


def test_weights_that_are_not_finite() -> None:
    for value in (torch.nan, torch.inf):
        module = seasoned(Plain)
        module[4].weight.data[0, 0, 0, 0] = value  # type: ignore[index, union-attr]
        with pytest.raises(
            CannotConvert, match=r"^4\.weight: got NaN or infinity, allowed are finite weights; take an"
        ):
            trace(module, images(1))
    module = seasoned(Plain)
    module[1].running_var[0] = torch.nan  # type: ignore[index]
    with pytest.raises(CannotConvert, match=r"^1\.running_var: got NaN or infinity"):
        trace(module, images(1))


@pytest.mark.parametrize("example", [images(1, 19), images(1)[:, :2], images(1).double()])
def test_images_that_the_module_does_not_take(example: Tensor) -> None:
    shape = re.escape(str(tuple(example.shape[1:])))
    message = rf"^calibration: got {shape}, {example.dtype}, which Plain does not take \(.*\); allowed is what it has"
    with pytest.raises(CannotConvert, match=message) as error:
        trace(seasoned(Plain), example)
    assert "\n" not in str(error.value)
