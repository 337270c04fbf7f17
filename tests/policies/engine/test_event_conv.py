"""A compiled convolutional network against the network itself."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from costs import metered
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from snn4.policies.engine import event_conv
from snn4.policies.engine.event_conv import DENSE, EventConv2d, EventLinear, event_driven
from snn4.policies.network import SpikingSequential
from snn4.policies.networks.convnet import ConvNetConfig, SpikingConvNet
from snn4.policies.neurons import Neuron, NeuronConfig

SMALL: dict[str, Any] = {
    "channels": (6, 8), "in_channels": 2, "n_classes": 3, "T": 4, "neuron": NeuronConfig(tau_mem=3e-3, v_threshold=0.6),
}  # fmt: skip
KINDS: dict[str, dict[str, Any]] = {
    "vgg, average pooling": {"pooling": "avg", "blocks": (2, 1)},
    "vgg, max pooling": {"pooling": "max", "neuron": NeuronConfig("plif", v_threshold=0.6)},
    "vgg, flat": {"head": "flatten", "image_size": (8, 8), "pools": (2, 1)},
    "vgg, averages of currents": {"pooled": "currents", "blocks": (2, 1)},
    "vgg, largest currents": {"pooled": "currents", "pooling": "max"},
    "whitened patches": {"stem": "whitening", "pooled": "currents", "image_size": (8, 8)},
    "sew": {"kind": "resnet", "shortcut": "sew", "blocks": (1, 2)},
    "ms": {"kind": "resnet", "shortcut": "ms", "blocks": (2, 1)},
    "large stem": {"kind": "resnet", "stem": "large", "neuron": NeuronConfig("cuba", v_threshold=0.6)},
}


def make(**fields: Any) -> SpikingConvNet:
    """A network as if it had learned: norms with statistics, weights in 1/128."""
    torch.manual_seed(0)
    net = SpikingConvNet(ConvNetConfig(**{**SMALL, **fields}))
    with torch.no_grad():
        for parameter in (p for name, p in net.named_parameters() if "decay" not in name):
            parameter.copy_((parameter * 2 * 128).round() / 128)
        for norm in (module for module in net.modules() if hasattr(module, "running_mean")):
            norm.running_mean.normal_(0, 0.1)
            norm.running_var.uniform_(0.5, 1.5)
            norm.weight.normal_(1, 0.2)
            norm.bias.normal_(0, 0.2)
    return net.eval()


def images() -> Tensor:
    return (torch.randn(3, 2, 8, 8, generator=torch.Generator().manual_seed(1)) * 16).round() / 16


def of(kind: type[Any], network: nn.Module) -> list[Any]:
    return [module for module in network.modules() if isinstance(module, kind)]


def trains(network: nn.Module, x: Tensor) -> list[Tensor]:
    """Spikes of all neurons, and the scores."""
    found: list[Tensor] = []
    handles = [neuron.register_forward_hook(lambda _, __, out: found.append(out[0])) for neuron in of(Neuron, network)]
    with torch.no_grad():
        scores = network(x)
    for handle in handles:
        handle.remove()
    return [*found, scores]


@pytest.mark.parametrize("kind", KINDS)
def test_spikes_are_equal_where_sums_are_exact(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    net, x = make(norm="none", **KINDS[kind]), images()
    expected = trains(net, x)
    compiled = event_driven(net)
    monkeypatch.setattr(event_conv, "DENSE", 2.0)  # events everywhere
    kernels, run = list[Any](), event_conv.run_in_threads
    monkeypatch.setattr(event_conv, "run_in_threads", lambda *call: (kernels.append(call[0]), run(*call)))
    got = trains(compiled, x)
    assert len(got) == len(of(Neuron, net)) + 1
    assert len(kernels) == len(of(EventConv2d, compiled)) + len(of(EventLinear, compiled)) > 1
    for a, b in zip(got[:-1], expected[:-1], strict=True):
        assert torch.equal(a, b)
    assert expected[-2].mean() > 0.01
    torch.testing.assert_close(got[-1], expected[-1])


@pytest.mark.parametrize("norm", ["batch", "threshold", "step"])
@pytest.mark.parametrize("kind", KINDS)
def test_norms_are_folded(kind: str, norm: str) -> None:
    net, x = make(norm=norm, **KINDS[kind]), images()
    compiled = event_driven(net)
    assert of(nn.BatchNorm2d, compiled) == []
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), net(x))
        events = torch.stack([x, 2 * x, -x, x])
        torch.testing.assert_close(compiled(events), net(events))


def test_a_norm_that_turns_the_largest_current_into_the_smallest_is_kept() -> None:
    net, x = make(pooled="currents", pooling="max"), images()
    with torch.no_grad():
        of(nn.BatchNorm2d, net)[1].weight[0] *= -1
        compiled = event_driven(net)
        assert len(of(nn.BatchNorm2d, compiled)) == 1
        torch.testing.assert_close(compiled(x), net(x))


def test_synapses_behind_neurons_are_compiled() -> None:
    net = make(blocks=(2, 1))
    first, *others = of(nn.Conv2d, event_driven(net))
    compiled = event_driven(net)
    assert [layer.conv.out_channels for layer in of(EventConv2d, compiled)] == [6, 8]
    assert len(of(EventLinear, compiled)) == 1
    assert isinstance(compiled.network[0], nn.Conv2d), "the first synapses see real values"
    assert len(others) == 2
    assert first.out_channels == 6
    plain = SpikingSequential(nn.Linear(4, 4), Neuron(NeuronConfig()), nn.Conv1d(2, 2, 1), nn.Linear(4, 2))
    assert [type(layer).__name__ for layer in event_driven(plain)] == ["Linear", "Neuron", "Conv1d", "EventLinear"]


def test_the_network_itself_goes_on_learning() -> None:
    net = make().train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    compiled = event_driven(net)
    assert not any(parameter.requires_grad for parameter in compiled.parameters())
    assert not compiled.training
    with torch.no_grad():
        compiled(images())
    assert net.training
    assert all(parameter.requires_grad for parameter in net.parameters())
    assert net.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    with torch.no_grad():
        scores = compiled(images())
        for parameter in net.parameters():
            parameter.add_(1)
        assert torch.equal(compiled(images()), scores)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions_are_refused(dtype: torch.dtype) -> None:
    with pytest.raises(ValueError, match=rf"^network\.0\.weight: got {dtype} on cpu, allowed is float32 on the CPU"):
        event_driven(make().to(dtype))


SHAPES: list[dict[str, Any]] = [
    {"kernel_size": 3, "padding": 1},
    {"kernel_size": 3, "padding": 1, "stride": 2},
    {"kernel_size": 1, "stride": 2},
    {"kernel_size": (1, 4), "padding": (0, 3)},
    {"kernel_size": (4, 2), "padding": 2, "stride": (3, 1)},
    {"kernel_size": (2, 5), "padding": (0, 1), "stride": (1, 3), "bias": False},
    {"kernel_size": 7, "padding": 3},
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@torch.no_grad()
def test_convolution(shape: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 4, **shape)
    spikes = (torch.rand(5, 3, 7, 6) < 0.1).float()
    inputs = [spikes, spikes.to(memory_format=torch.channels_last), 0.25 * spikes, -spikes, torch.zeros(1, 3, 7, 6)]
    expected = [conv(x) for x in inputs]
    events = EventConv2d(conv)
    monkeypatch.setattr(conv, "forward", None)  # which would raise
    for x, y in zip(inputs, expected, strict=True):
        torch.testing.assert_close(events(x), y)
        assert events(x).is_contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def test_product(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    for bias in (True, False):
        linear = nn.Linear(40, 7, bias=bias)
        x = (torch.rand(9, 40) < 0.2).float()
        expected, events = linear(x), EventLinear(linear)
        with monkeypatch.context() as patch:
            patch.setattr(linear, "forward", None)  # which would raise
            torch.testing.assert_close(events(x), expected)
            torch.testing.assert_close(events(x.t().contiguous().t()), expected)


@torch.no_grad()
def test_samples_are_shared_among_threads() -> None:
    conv, x = nn.Conv2d(3, 4, 3), (torch.rand(7, 3, 6, 6) < 0.1).float()
    expected, threads = EventConv2d(conv)(x), torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert torch.equal(EventConv2d(conv)(x), expected)
    finally:
        torch.set_num_threads(threads)


def test_dense_where_events_are_many_or_nobody_can_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    conv = nn.Conv2d(2, 3, 3, padding=1).requires_grad_(False)
    dense, sparse = torch.ones(1, 2, 10, 10), torch.zeros(1, 2, 10, 10)
    sparse.view(-1)[: int(200 * DENSE) - 1] = 1
    called: list[Tensor] = []
    plain = conv.forward
    monkeypatch.setattr(conv, "forward", lambda x: called.append(plain(x)) or called[-1])
    events = EventConv2d(conv)
    with torch.no_grad():
        events(sparse)
        assert called == []
        assert torch.equal(events(dense), called[0])
    events(sparse)
    assert len(called) == 2, "gradients pass through the convolution"
    monkeypatch.setattr(event_conv, "is_fused", lambda: False)
    with torch.no_grad():
        events(sparse)
    assert len(called) == 3


@pytest.mark.parametrize("kind", ["vgg, average pooling", "sew", "vgg, flat"])
def test_a_meter_sees_the_same_work(kind: str) -> None:
    net, x = make(norm="none", **KINDS[kind]), images()
    plain, compiled = metered(net, x), metered(event_driven(net), x)
    assert compiled.effective_acs > 0
    for name in ("effective_acs", "effective_macs", "dense_macs", "spikes_per_decision", "memory_bytes"):
        assert getattr(compiled, name) == pytest.approx(getattr(plain, name)), name
    assert compiled.energy_joules == pytest.approx(plain.energy_joules)


@torch.no_grad()
def test_norms_that_cannot_be_folded_are_kept() -> None:
    x, spikes = torch.rand(4, 3, 8, 8), Neuron(NeuronConfig())
    twice = nn.AvgPool2d(2, divisor_override=2)
    for pooling, norm, kept in (
        (twice, nn.BatchNorm2d(5), 1),
        (nn.MaxPool2d(2), nn.BatchNorm2d(5, affine=False), 0),
        (nn.MaxPool2d(2), nn.BatchNorm2d(5, track_running_stats=False), 1),
    ):
        net = SpikingSequential(nn.Conv2d(3, 5, 3), pooling, norm, spikes)
        net(x[None])  # statistics
        compiled = event_driven(net.eval())
        assert len(of(nn.BatchNorm2d, compiled)) == kept
        torch.testing.assert_close(compiled[:-1](x[None])[0], net[:-1](x[None])[0])


@torch.no_grad()
def test_convolutions_of_other_kinds_stay_as_they_are() -> None:
    torch.manual_seed(0)
    others = [
        nn.Conv2d(4, 4, 3, padding=1, groups=2), nn.Conv2d(4, 4, 3, padding=2, dilation=2),
        nn.Conv2d(4, 4, 3, padding="same"), nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"),
    ]  # fmt: skip
    net = SpikingSequential(Neuron(NeuronConfig(v_threshold=0.3)), *others).eval()
    compiled, x = event_driven(net), torch.rand(2, 1, 4, 6, 6)
    assert of(EventConv2d, compiled) == []
    torch.testing.assert_close(compiled(x)[0], net(x)[0])


class Masked(nn.Linear):
    """Synapses of someone's own."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).relu() - 1


class Doubled(nn.Conv2d):
    """The same with a neighbourhood."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


@torch.no_grad()
def test_subclasses_and_parametrized_layers_stay_as_they_are() -> None:
    torch.manual_seed(0)
    spikes = Neuron(NeuronConfig(v_threshold=0.3))
    x, normed = torch.rand(2, 3, 4, 6, 6), spectral_norm(nn.Conv2d(4, 4, 3))
    for layers in ([Doubled(4, 4, 3)], [Doubled(4, 4, 3), nn.BatchNorm2d(4)], [normed, nn.BatchNorm2d(4)]):
        net = SpikingSequential(spikes, nn.Sequential(*layers)).eval()
        compiled = event_driven(net)
        assert of(EventConv2d, compiled) == []
        torch.testing.assert_close(compiled(x)[0], net(x)[0])
    net = SpikingSequential(nn.Linear(6, 6), spikes, Masked(6, 6)).eval()
    torch.testing.assert_close(event_driven(net)(x)[0], net(x)[0])
    seen = nn.Sequential(Neuron(NeuronConfig()), nn.MultiheadAttention(6, 2))
    assert of(EventLinear, event_driven(seen)) == []


@torch.no_grad()
def test_a_state_that_is_loaded_is_acted_on() -> None:
    nets = [make(**KINDS["vgg, flat"]) for _ in range(2)]
    for parameter in nets[1].parameters():
        parameter.mul_(1.5)
    compiled, other = (event_driven(net) for net in nets)
    x = images()
    expected = other(x)
    assert not torch.equal(compiled(x), expected)
    compiled.load_state_dict(other.state_dict())
    assert torch.equal(compiled(x), expected)


@torch.no_grad()
def test_products_along_the_last_of_many_dimensions() -> None:
    linear, x = nn.Linear(6, 4), (torch.rand(3, 5, 6) < 0.1).float()
    torch.testing.assert_close(EventLinear(linear)(x), linear(x))


@pytest.mark.parametrize("shape", [(6,), (1, 6)])
@torch.no_grad()
def test_one_row_leaves_the_bias_alone(shape: tuple[int, ...]) -> None:
    linear, x = nn.Linear(6, 4), torch.eye(6)[1].view(shape)
    events, expected = EventLinear(linear), linear(x)
    for _ in range(2):
        torch.testing.assert_close(events(x), expected)


@pytest.mark.parametrize("channels", [3, 5])
@torch.no_grad()
def test_wrong_shapes_are_refused_as_by_torch(channels: int) -> None:
    with pytest.raises((RuntimeError, ValueError)):
        EventLinear(nn.Linear(4, 3))(torch.zeros(2, channels))
    with pytest.raises((RuntimeError, ValueError)):
        EventConv2d(nn.Conv2d(4, 3, 3))(torch.zeros(2, channels, 5, 5))
