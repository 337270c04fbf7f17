from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from digits import losses_on_digits
from torch import Tensor, nn
from torch.nn import functional as F

from snn4.policies.network import SpikingResidual, detach
from snn4.policies.networks.convnet import CONVNETS, ConvNetConfig, SpikingConvNet, named_convnet
from snn4.policies.neurons import Neuron, NeuronConfig

NEURON = NeuronConfig(tau_mem=3e-3, v_threshold=0.6)
SMALL: dict[str, Any] = {"channels": (6, 8), "in_channels": 2, "n_classes": 3, "T": 3, "neuron": NEURON}


def net(seed: int = 0, checkpoint_steps: int | None = None, **fields: Any) -> SpikingConvNet:
    torch.manual_seed(seed)
    return SpikingConvNet(ConvNetConfig(**{**SMALL, **fields}), checkpoint_steps=checkpoint_steps)


def images(*shape: int) -> Tensor:
    return torch.randn(*shape or (2, 2, 9, 8), generator=torch.Generator().manual_seed(1))


def over_steps(layers: Any, x: Tensor) -> Tensor:
    return nn.Sequential(*layers)(x.flatten(0, 1)).unflatten(0, x.shape[:2])


def test_vgg_is_convolution_norm_neuron_pooling_in_turn() -> None:
    vgg, x = net(blocks=(2, 1), pooling="max", pools=(2, 1)).double(), images().double()
    signal = x.expand(3, *x.shape)
    for kernel, (conv, norm) in enumerate(itertools.pairwise(vgg.network)):
        if isinstance(conv, nn.Conv2d):
            current = over_steps([conv, norm], signal)
            signal, _ = Neuron(NEURON)(current)
            signal = over_steps([nn.MaxPool2d(2)], signal) if kernel == 3 else signal
    assert isinstance(vgg.network[-1], nn.Linear)
    assert 0.02 < signal.mean() < 0.9
    torch.testing.assert_close(vgg(x), vgg.network[-1](signal.mean((0, 3, 4))))


def test_sew_block_adds_spikes() -> None:
    resnet = net(kind="resnet", shortcut="sew", blocks=(1, 1)).double()
    block = next(layer for layer in reversed(resnet.network) if isinstance(layer, SpikingResidual))
    spikes = (images(3, 2, 6, 5, 5) > 0.3).double()
    first, second, third = (list(path) for path in (block.branch[:2], block.branch[3:5], block.shortcut[:2]))
    a, _ = Neuron(NEURON)(over_steps(first, spikes))
    b, _ = Neuron(NEURON)(over_steps(second, a))
    c, _ = Neuron(NEURON)(over_steps(third, spikes))
    y, _ = block(spikes)
    assert set(y.unique().tolist()) == {0, 1, 2}
    torch.testing.assert_close(y, b + c)


def test_ms_block_adds_currents() -> None:
    resnet = net(kind="resnet", shortcut="ms", blocks=(2, 1), norm="threshold").double()
    blocks = [layer for layer in resnet.network if isinstance(layer, SpikingResidual)]
    membrane = images(3, 2, 6, 5, 5).double()
    for block in blocks:
        assert not block.branch[5].weight.any(), "a block starts as its shortcut"
        torch.testing.assert_close(block(membrane)[0], over_steps(block.shortcut, membrane))
        nn.init.constant_(block.branch[5].weight, 0.4)
        a, _ = Neuron(NEURON)(membrane)
        b, _ = Neuron(NEURON)(over_steps(block.branch[1:3], a))
        expected = over_steps(block.branch[4:6], b) + over_steps(block.shortcut, membrane)
        y, _ = block(membrane)
        torch.testing.assert_close(y, expected)
        membrane = y
    assert [len(block.shortcut) for block in blocks] == [0, 0, 2]
    assert blocks[2].shortcut[1].weight[0].item() == pytest.approx(NEURON.v_threshold)
    # neurons everywhere but on the way of the currents: stem, blocks, then the last neuron
    assert [isinstance(layer, Neuron) for layer in resnet.network] == [False] * 5 + [True] + [False] * 3


class Written:
    """MS-ResNet-18 or -34 one step at a time, from the paper and its authors' description of their network."""

    def __init__(self, weights: dict[str, Tensor], blocks: tuple[int, ...]) -> None:
        self.weights, self.blocks, self.membranes = list(weights.values()), blocks, dict[int, Tensor]()

    def begin_step(self) -> None:
        self.left, self.spikes = iter(self.weights), list[Tensor]()

    def synapses(self, x: Tensor, stride: int) -> Tensor:
        """Convolution without bias and norm; taken from the weights in the order in which they are listed."""
        kernel, weight, bias, mean, var, _ = (next(self.left) for _ in range(6))
        y = F.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2)
        mean, var, weight, bias = (values[:, None, None] for values in (mean, var, weight, bias))
        return (y - mean) / (var + 1e-5).sqrt() * weight + bias

    def neuron(self, x: Tensor) -> Tensor:
        number = len(self.spikes)
        u = 0.25 * self.membranes.get(number, 0.0) + x
        self.spikes.append((u > 0.5).to(x.dtype))
        self.membranes[number] = u * (1 - self.spikes[-1])
        return self.spikes[-1]

    def step(self, x: Tensor) -> Tensor:
        self.begin_step()
        x = self.synapses(x, 2)
        for stage, blocks in enumerate(self.blocks):
            for number in range(blocks):
                stride = 1 if number else 2
                branch = self.synapses(self.neuron(self.synapses(self.neuron(x), stride)), 1)
                x = branch + (x if number else self.synapses(x, 2))
            assert x.shape[-1] == 64 >> (stage + 2)
        weight, bias = self.left
        return F.linear(self.neuron(x).mean((2, 3)), weight, bias)


@torch.no_grad()
def test_ms_resnets_are_those_of_the_paper() -> None:
    torch.manual_seed(0)
    config = named_convnet("ms-resnet-18", channels=(4, 6, 8, 10), n_classes=3, T=2)
    network = SpikingConvNet(config).double().eval()
    spikes: list[Tensor] = []
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values, low, high in ((module.running_mean, -0.2, 0.2), (module.running_var, 0.1, 0.4)):
                values.uniform_(low, high)  # type: ignore[union-attr]
            module.weight.uniform_(0.4, 0.8)
            module.bias.uniform_(0, 0.3)
        elif isinstance(module, Neuron):
            module.register_forward_hook(lambda _, __, output: spikes.append(output[0]))
    x, written = images(2, 1, 3, 64, 64).double(), Written(network.state_dict(), (2, 2, 2, 2))
    got, _ = network.run(x)
    for t in range(2):
        torch.testing.assert_close(got[t], written.step(x[t]))
        assert all(torch.equal(ours[t], theirs) for ours, theirs in zip(spikes, written.spikes, strict=True))
    assert all(0 < layer.mean() < 1 for layer in spikes)


@pytest.mark.parametrize(("name", "millions"), [("ms-resnet-18", 11.69), ("ms-resnet-34", 21.80)])
def test_parameters_are_as_many_as_in_the_papers(name: str, millions: float) -> None:
    with torch.device("meta"):
        network = SpikingConvNet(CONVNETS[name])
    assert round(sum(p.numel() for p in network.parameters()) / 1e6, 2) == millions


@pytest.mark.parametrize(
    "fields",
    [
        {"norm": "step", "head": "flatten", "image_size": (9, 8)},
        {"kind": "resnet", "shortcut": "ms", "stem": "large", "neuron": NeuronConfig("plif", v_threshold=0.6)},
        {"kind": "resnet", "shortcut": "sew", "norm": "none", "head": "flatten", "image_size": (9, 8)},
    ],
)
def test_images_are_events_that_stay_and_steps_can_be_taken_alone(fields: dict[str, Any]) -> None:
    network, x = net(**fields).double(), images().double()
    events = network(x.expand(3, *x.shape))
    torch.testing.assert_close(network(x), events)
    network.eval()
    whole, last = network.run(x)
    assert whole.shape == (3, 2, 3)
    assert whole.std(0).sum() > 0
    outputs, state = [], None
    for _ in range(3):
        y, state = network.run(x, detach(state), steps=1)
        outputs.append(y)
    torch.testing.assert_close((torch.cat(outputs), state), (whole, last))
    torch.testing.assert_close(network(x), whole.mean(0))


def test_memory_format_and_precision_change_nothing_but_the_last_digits() -> None:
    network, x = net(kind="resnet").double().eval(), images().double()  # of float32, sums could round to other spikes
    expected, _ = network.run(x)
    last, x = network.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    got, state = last.run(x)
    torch.testing.assert_close(got, expected)
    assert state[0].v.is_contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        half, state = last.float().run(x.float())
    assert half.dtype == torch.bfloat16
    assert state[0].v.dtype == torch.float32


@pytest.mark.parametrize(
    "fields",
    [
        {"norm": "threshold", "checkpoint_steps": 2},
        {"kind": "resnet", "shortcut": "sew", "neuron": NeuronConfig("plif", v_threshold=0.6)},
        {"kind": "resnet", "shortcut": "ms", "norm": "step"},
    ],
)
def test_a_few_steps_of_training_learn_digits(fields: dict[str, Any]) -> None:
    network = net(channels=(16, 32), in_channels=1, n_classes=10, **fields)
    losses = losses_on_digits(network, 1e-2)
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("name", CONVNETS)
def test_named_networks(name: str) -> None:
    config = named_convnet(name, T=2, n_classes=7)
    assert CONVNETS[name].n_classes == (1000 if name.startswith("ms") else 10)
    narrow = named_convnet(name, T=2, n_classes=7, channels=tuple(c // 16 for c in config.channels))
    network = SpikingConvNet(narrow)
    assert network(torch.rand(2, 3, 32, 32)).shape == (2, 7)
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d) and m.kernel_size != (1, 1)]
    if name[-2:].isdigit():  # the number counts convolutions and the linear layer; VGG has two more linear layers
        assert len(convolutions) == int(name[-2:]) - (3 if "vgg" in name else 1)


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(ValueError, match=r"^name: got 'vgg-16', allowed are vgg-small, vgg-11"):
        named_convnet("vgg-16")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "mlp"}, "kind: got 'mlp', allowed are vgg, resnet"),
        ({"shortcut": "add"}, "shortcut: got 'add', allowed are sew, ms"),
        ({"norm": "layer"}, "norm: got 'layer', allowed are batch, threshold, step, none"),
        ({"pooling": "sum"}, "pooling: got 'sum', allowed are avg, max"),
        ({"T": 0}, "T: got 0, allowed is a whole number >= 1"),
        ({"n_classes": 0}, "n_classes: got 0"),
        ({"in_channels": 0}, "in_channels: got 0"),
        ({"channels": ()}, r"channels: got \(\), allowed is one stage or more"),
        ({"channels": (4, 0)}, r"channels: got \(4, 0\), allowed is 2 whole numbers >= 1"),
        ({"blocks": (1,)}, r"blocks: got \(1,\), allowed is 2 whole numbers >= 1, one for each stage"),
        ({"pools": (2, 0)}, r"pools: got \(2, 0\), allowed is 2 whole numbers"),
        ({"kind": "resnet", "pools": (2, 2)}, r"pools: got \(2, 2\), allowed is None with kind: resnet"),
        ({"head": "flatten"}, r"image_size: got None, allowed is \(height, width\) with head: flatten"),
        ({"image_size": (8, 3)}, r"image_size: got \(8, 3\), allowed are sides >= 4"),
    ],
)
def test_errors_name_field_value_and_what_is_allowed(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match="^" + message):
        ConvNetConfig(**{"channels": (4, 8), **fields})


def test_inputs_that_do_not_fit() -> None:
    network = net()
    for x, message in [
        (images(2, 3, 8, 8), r"x: got 3 channels, allowed is in_channels \(2\)"),
        (images(2, 2, 8, 3), r"x: got images of \(8, 3\), allowed are sides >= 4"),
        (images(2, 8, 8), r"x: got shape \(2, 8, 8\), allowed is \(B, C, H, W\) or \(T, B, C, H, W\)"),
        (images(0, 2, 2, 8, 8), r"x: got shape \(0, 2, 2, 8, 8\)"),
        (images(2, 2, 8, 8).byte(), r"x: got dtype torch.uint8"),
    ]:
        with pytest.raises(ValueError, match="^" + message):
            network(x)
    with pytest.raises(ValueError, match=r"^steps: got 0"):
        network.run(images(), steps=0)
    _, state = network.run(images())
    with pytest.raises(ValueError, match=r"^state.v: got shape \(2, 6, 9, 8\), allowed is \(1, 6, 9, 8\)"):
        network.run(images()[:1], state)
    with pytest.raises(ValueError, match=r"^x: got images of \(9, 8\), allowed is image_size \(\(8, 8\)\)"):
        net(image_size=(8, 8))(images())
    with pytest.raises(ValueError, match=r"^backend: got 'jax'"):
        SpikingConvNet(ConvNetConfig(), backend="jax")
