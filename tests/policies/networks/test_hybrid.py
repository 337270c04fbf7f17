from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from digits import losses_on_digits
from torch import Tensor, nn
from torch.nn import functional as F

from snn4.policies.engine import event_conv
from snn4.policies.engine.event_conv import event_driven
from snn4.policies.metering.meter import Meter
from snn4.policies.network import detach
from snn4.policies.networks.ann import twin
from snn4.policies.networks.front_end import FrontEnd
from snn4.policies.networks.hybrid import HYBRIDS, Hybrid, HybridConfig, RunningMean
from snn4.policies.neurons import Neuron, NeuronConfig

NEURON = NeuronConfig(tau_mem=3e-3, v_threshold=0.4)
SMALL: dict[str, Any] = {"in_channels": 2, "n_classes": 3, "T": 3, "neuron": NEURON, "front_channels": (4,)}
SMALL |= {"channels": (6, 8), "hidden": (7, 5)}
KINDS: dict[str, dict[str, Any]] = {
    "front": {"kind": "ann-front"},
    "front, flat": {"kind": "ann-front", "norm": "none", "pooling": "max", "head": "flatten", "image_size": (10, 9)},
    "head, rates": {"kind": "ann-head"},
    "head, membranes": {"kind": "ann-head", "readout": "membrane", "pools": (2, 1)},
}


def make(seed: int = 0, checkpoint_steps: int | None = None, **fields: Any) -> Any:
    torch.manual_seed(seed)
    return Hybrid(HybridConfig(**{**SMALL, **fields}), checkpoint_steps=checkpoint_steps)


def images(*shape: int) -> Tensor:
    return torch.randn(*shape or (5, 2, 10, 9), generator=torch.Generator().manual_seed(1))


def over_steps(layer: nn.Module, x: Tensor) -> Tensor:
    return layer(x.flatten(0, 1)).unflatten(0, x.shape[:2])  # type: ignore[no-any-return]


def of(kind: type[Any], network: nn.Module) -> list[Any]:
    return [module for module in network.modules() if isinstance(module, kind)]


@pytest.mark.parametrize("kind", ["front", "front, flat"])
def test_ordinary_layers_then_spiking_ones(kind: str) -> None:
    net, x = make(**KINDS[kind]).double(), images().double()
    flat = kind == "front, flat"
    first, second, third = of(nn.Conv2d, net)
    norms = [nn.Identity()] * 3 if flat else of(nn.BatchNorm2d, net)
    pool = nn.MaxPool2d(2) if flat else nn.AvgPool2d(2)
    maps = pool(norms[0](first(x)).relu())
    a, _ = Neuron(NEURON)(over_steps(norms[1], over_steps(second, maps.expand(3, *maps.shape))))
    b, _ = Neuron(NEURON)(over_steps(norms[2], over_steps(third, over_steps(pool, a))))
    assert 0.02 < b.mean() < 0.9
    features = over_steps(pool, b)
    features = features.flatten(2) if flat else features.mean((3, 4))
    torch.testing.assert_close(net(x), net.network[-1](features).mean(0))


@pytest.mark.parametrize("readout", ["rate", "membrane"])
def test_spiking_layers_then_ordinary_ones(readout: str) -> None:
    net, x = make(kind="ann-head", readout=readout).double(), images().double()
    (conv1, conv2), (norm1, norm2), linears = of(nn.Conv2d, net), of(nn.BatchNorm2d, net), of(nn.Linear, net)
    assert [linear.out_features for linear in linears] == [7, 5, 3]
    pool = nn.AvgPool2d(2)
    a, _ = Neuron(NEURON)(over_steps(norm1, over_steps(conv1, x.expand(3, *x.shape))))
    b, _ = Neuron(NEURON)(over_steps(norm2, over_steps(conv2, over_steps(pool, a))))
    features, seen, scores = over_steps(pool, b).mean((3, 4)), [], []
    trace = torch.zeros_like(features[0])
    for t, now in enumerate(features):
        trace = NEURON.decay * trace + now
        seen.append(features[: t + 1].mean(0) if readout == "rate" else trace)
        scores.append(linears[2](linears[1](linears[0](seen[-1]).relu()).relu()))
    assert torch.stack(seen).std(0).sum() > 0, "something changes over time"
    got, _ = net.run(x)
    torch.testing.assert_close(got, torch.stack(scores))
    torch.testing.assert_close(net(x), torch.stack(scores).mean(0))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("checkpoint_steps", [None, 2])
def test_step_by_step_is_all_at_once(kind: str, checkpoint_steps: int | None) -> None:
    net, x = make(**KINDS[kind]).double().eval(), images().double()
    whole, last = net.run(x)
    outputs, state = [], None
    for steps in (1, 2):
        y, state = net.run(x, detach(state), steps=steps)
        outputs.append(y)
    torch.testing.assert_close((torch.cat(outputs), state), (whole, last))
    events, _ = net.run(x.expand(3, *x.shape))
    torch.testing.assert_close(events, whole)
    again = make(checkpoint_steps=checkpoint_steps, **KINDS[kind]).double().eval()
    torch.testing.assert_close(again(x), whole.mean(0))


def test_running_mean() -> None:
    mean, x = RunningMean(), images(5, 2, 3, 4)
    y, (total, n) = mean(x)
    for t in range(5):
        torch.testing.assert_close(y[t], x[: t + 1].mean(0))
    assert n == 5
    torch.testing.assert_close(total, x.sum(0))
    first, state = mean(x[:2])
    rest, state = mean(x[2:], state)
    torch.testing.assert_close((torch.cat([first, rest]), state), (y, (total, n)))
    constant, (total, n) = mean(x[:1], steps=4)
    torch.testing.assert_close(constant, x[:1].expand(4, -1, -1, -1))
    assert n == 4
    half, _ = mean(torch.ones(300, 1, 1, dtype=torch.bfloat16))
    assert half.dtype == torch.bfloat16
    assert (half == 1).all(), "bfloat16 cannot count to 300"
    with pytest.raises(ValueError, match=r"^state: got shape \(2, 3, 4\), allowed is \(1, 3, 4\)"):
        mean(x[:, :1], state)
    with pytest.raises(ValueError, match=r"^steps: got 3 for an input of 5 steps"):
        mean(x, steps=3)


def test_memory_format_and_precision_change_nothing_but_the_last_digits() -> None:
    for kind in KINDS.values():
        net, x = make(**kind).double().eval(), images().double()  # of float32, sums could round to other spikes
        expected, _ = net.run(x)
        got, _ = net.run(x.contiguous(memory_format=torch.channels_last))
        torch.testing.assert_close(got, expected)
        with torch.autocast("cpu", torch.bfloat16):
            half = net.float()(x.float())
        torch.testing.assert_close(half.float(), expected.mean(0).float(), rtol=0.1, atol=0.1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_twin_has_as_many_parameters_and_no_spikes(kind: str) -> None:
    spiking, ann = make(**KINDS[kind]), twin(HybridConfig(**{**SMALL, **KINDS[kind]}))
    assert [p.shape for p in ann.parameters()] == [p.shape for p in spiking.parameters()]
    assert not of(Neuron, ann)
    assert not of(RunningMean, ann)
    names = zip(ann.state_dict(), spiking.state_dict(), strict=True)
    ann.load_state_dict({ours: spiking.state_dict()[theirs] for ours, theirs in names})
    x, signal = images(), images()
    for layer in spiking.eval().network:
        stateful = isinstance(layer, (Neuron, RunningMean))
        signal = signal.relu() if isinstance(layer, Neuron) else signal if stateful else layer(signal)
    torch.testing.assert_close(ann.eval()(x), signal)


def test_a_front_end_of_ones_own() -> None:
    own = nn.Sequential(nn.Conv2d(2, 5, 3, stride=2), nn.Tanh())
    expected = {name: x.clone() for name, x in own.state_dict().items()}
    net: Any = Hybrid(HybridConfig(**SMALL, frozen=True), front=own)
    front = net.network[0]
    assert isinstance(front, FrontEnd)
    assert front.layers is own
    assert front.learned, "SB3 must not draw it anew"
    assert net.network[1].in_channels == 5
    before = net(images())
    F.cross_entropy(before, torch.tensor([0, 1, 2, 0, 1])).backward()
    assert all(p.grad is None for p in own.parameters())
    assert net.network[1].weight.grad.abs().sum() > 0
    assert all(torch.equal(x, expected[name]) for name, x in own.state_dict().items())
    with pytest.raises(ValueError, match=r"^front: got a module, allowed is none with kind: ann-head"):
        Hybrid(HybridConfig("ann-head"), front=own)


@pytest.mark.parametrize("frozen", [False, True])
def test_training_with_a_front_end_of_torchvision(frozen: bool) -> None:
    net = make(front="resnet18", layer="layer1", channels=(6,), image_size=(24, 20), frozen=frozen)
    front: Any = net.network[0].layers
    assert [name for name, _ in front.named_children()] == ["conv1", "bn1", "relu", "maxpool", "layer1"]
    before = {name: x.clone() for name, x in front.state_dict().items()}
    optimizer = torch.optim.AdamW(net.parameters(), 1e-2, weight_decay=0.1)
    losses, x, y = [], images(6, 2, 24, 20), torch.tensor([0, 1, 2, 0, 1, 2])
    for _ in range(12):
        optimizer.zero_grad()
        loss = F.cross_entropy(net.train()(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    assert all(torch.equal(x, before[name]) for name, x in front.state_dict().items()) == frozen


@pytest.mark.parametrize("kind", ["ann-front", "ann-head"])
def test_hybrids_learn_digits(kind: str) -> None:
    sizes: dict[str, Any] = {"front_channels": (16,), "channels": (32,), "hidden": (32,), "in_channels": 1}
    net = make(kind=kind, n_classes=10, head="flatten", image_size=(8, 8), **sizes)
    losses = losses_on_digits(net, 1e-2, updates=25)
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("kind", KINDS)
def test_compiled_for_events_it_decides_the_same(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    net, x = make(**KINDS[kind]).double(), images().double()
    for _ in range(3):
        net(x)  # statistics of norms
    net = net.float().eval()
    with torch.no_grad():
        expected = net(x.float())
        monkeypatch.setattr(event_conv, "DENSE", 2.0)  # events everywhere
        compiled = event_driven(net)
        torch.testing.assert_close(compiled(x.float()), expected, rtol=1e-3, atol=1e-4)
    assert of(event_conv.EventConv2d, compiled) or of(event_conv.EventLinear, compiled)


def test_what_sees_values_multiplies_and_what_sees_spikes_adds() -> None:
    for kind, real in (("front", [True, True, False, False]), ("head, rates", [True, False, True, True, True])):
        net = make(pooling="max", **KINDS[kind]).eval()
        with torch.no_grad(), Meter(net) as meter:
            net(images())
        rows = [row for row in meter.cost().layers if row.kind in ("Conv2d", "Linear")]
        # Ordinary layers see real values, and so does the first spiking stage behind them; the readout behind spikes
        # sees each channel's mean.
        multiply = [row.effective_macs > 0 for row in rows]
        assert all(m != (row.effective_acs > 0) for m, row in zip(multiply, rows, strict=True))
        assert multiply[: len(real) - 1] == real[:-1]
        dense = 10 * 9 * 9 * 2 * (4 if kind == "front" else 6)
        assert 0.7 * dense < rows[0].effective_macs < dense, "once for an image, not once a step; borders see less"


def test_named_hybrids() -> None:
    for name in ("hybrid-small", "hybrid-ann-head"):
        config: Any = dataclasses.replace(HYBRIDS[name], T=2, n_classes=7)
        net: Any = Hybrid(config)
        assert net(torch.rand(2, 3, 32, 32)).shape == (2, 7)
    for name, channels in (("hybrid-resnet18", 128), ("hybrid-mobilenet", 24)):
        config = dataclasses.replace(HYBRIDS[name], T=2, image_size=(32, 32))
        net = Hybrid(config)
        assert net.network[1].in_channels == channels
        assert net(torch.rand(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "ann"}, "kind: got 'ann', allowed are ann-front, ann-head"),
        ({"norm": "step"}, "norm: got 'step', allowed are batch, none"),
        ({"readout": "last"}, "readout: got 'last', allowed are rate, membrane"),
        ({"front_channels": ()}, r"front_channels: got \(\), allowed are one or more whole numbers >= 1"),
        ({"channels": (4, 0)}, r"channels: got \(4, 0\)"),
        ({"hidden": ()}, r"hidden: got \(\)"),
        ({"pools": (2,)}, r"pools: got \(2,\), allowed is 2 whole numbers >= 1, one for each stage"),
        ({"T": 0}, "T: got 0, allowed is a whole number >= 1"),
        ({"head": "flatten"}, r"image_size: got None, allowed is \(height, width\) with head: flatten"),
        ({"image_size": (8, 7)}, r"image_size: got \(8, 7\), allowed are sides >= 8"),
        ({"weights": "DEFAULT"}, "weights: got 'DEFAULT', allowed is a file, or None, with front: small"),
        ({"kind": "ann-head", "frozen": True}, "frozen: got True, allowed is False with kind: ann-head"),
        ({"kind": "ann-head", "weights": "a.pt"}, "weights: got 'a.pt', allowed is None with kind: ann-head"),
        ({"kind": "ann-head", "front": "resnet18"}, "front: got 'resnet18', allowed is 'small' with kind: ann-head"),
    ],
)
def test_errors_name_field_value_and_what_is_allowed(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match="^" + message):
        HybridConfig(**{"channels": (4, 8), **fields})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"front": "resnet17"}, "front: got 'resnet17', did you mean resnet1"),
        (
            {"front": "resnet18", "layer": "fc"},
            r"image_size: got images \(2, 224, 224\), which the front end can",
        ),
        (
            {"front": "resnet18", "layer": "avgpool", "image_size": (32, 32)},
            "image_size: got .* of which the front",
        ),
        ({"weights": "lost.pt"}, "weights: lost.pt: no such file"),
    ],
)
def test_front_ends_that_cannot_be_made(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match="^" + message):
        make(**fields)


def test_inputs_that_do_not_fit() -> None:
    net = make()
    for x, message in [
        (images(2, 3, 9, 9), r"x: got 3 channels, allowed is in_channels \(2\)"),
        (images(2, 2, 9, 7), r"x: got images of \(9, 7\), allowed are sides >= 8"),
        (images(2, 9, 9), r"x: got shape \(2, 9, 9\)"),
    ]:
        with pytest.raises(ValueError, match="^" + message):
            net(x)
    with pytest.raises(ValueError, match=r"^x: got images of \(10, 9\), allowed is image_size \(\(9, 10\)\)"):
        make(image_size=(9, 10))(images())
