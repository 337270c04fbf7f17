from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from snn4.policies.networks.classifier import Classifier, ClassifierConfig, SpikingClassifier
from snn4.policies.neurons import Neuron, NeuronConfig

NEURON = NeuronConfig(tau_mem=3e-3, v_threshold=0.4)


@dataclasses.dataclass(frozen=True)
class Halving(ClassifierConfig):
    """The fields that a family of networks adds."""

    pooling: str = "avg"
    choices: ClassVar[dict[str, tuple[str, ...]]] = {"pooling": ("avg", "max")}

    @property
    def smallest_side(self) -> int:
        return 2


CONFIG = Halving(in_channels=2, n_classes=3, T=4, neuron=NEURON)


def draw(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def layers() -> list[Any]:
    torch.manual_seed(0)
    return [nn.Conv2d(2, 5, 3), Neuron(NEURON), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3)]


def by_hand(x: Tensor) -> Tensor:
    """Scores of each step (T, B, 3) for input (T, B, C, H, W)."""
    conv, neuron, *_, linear = layers()
    spikes, _ = neuron(conv(x.flatten(0, 1)).unflatten(0, x.shape[:2]))
    return linear(spikes.mean((3, 4)))  # type: ignore[no-any-return]


def test_scores_are_the_mean_over_steps() -> None:
    net = SpikingClassifier(CONFIG, layers())
    images, events = draw(6, 2, 8, 7), draw(5, 6, 2, 8, 7)
    torch.testing.assert_close(net(images), by_hand(images.expand(4, -1, -1, -1, -1)).mean(0))
    torch.testing.assert_close(net(images, steps=2), by_hand(images.expand(2, -1, -1, -1, -1)).mean(0))
    scores, _ = net.run(events)
    torch.testing.assert_close(scores, by_hand(events))
    torch.testing.assert_close(net(events), scores.mean(0))
    assert scores.std(0).sum() > 0


def test_it_continues_from_a_state() -> None:
    net, events = SpikingClassifier(CONFIG, layers()), draw(5, 6, 2, 8, 7)
    whole, last = net.run(events)
    first, state = net.run(events[:2])
    rest, state = net.run(events[2:], state)
    torch.testing.assert_close((torch.cat([first, rest]), state), (whole, last))


def test_a_constant_image_passes_the_first_synapses_once() -> None:
    net = SpikingClassifier(CONFIG, layers())
    sizes: list[int] = []
    for layer in net.network:
        layer.register_forward_hook(lambda layer, inputs, _: sizes.append(len(inputs[0])))
    net(draw(6, 2, 8, 7))
    assert sizes == [6, 1, 24, 24, 24], "convolution, neurons (one current for all steps), then 4 steps of 6"


def test_without_time() -> None:
    conv, _, *rest = layers()
    twin, x = Classifier(CONFIG, nn.Sequential(conv, nn.ReLU(), *rest)), draw(6, 2, 8, 7)
    torch.testing.assert_close(twin(x), rest[-1](conv(x).relu().mean((2, 3))))


def test_inputs_that_do_not_fit() -> None:
    spiking, twin = SpikingClassifier(CONFIG, layers()), Classifier(CONFIG, nn.Sequential(*layers()[::2]))
    sized = SpikingClassifier(dataclasses.replace(CONFIG, image_size=(8, 8)), layers())
    allowed = r"allowed is \(B, C, H, W\) or \(T, B, C, H, W\), each >= 1"
    cases: list[tuple[nn.Module, Tensor, str]] = [
        (spiking, draw(2, 8, 8), rf"x: got shape \(2, 8, 8\), {allowed}"),
        (spiking, draw(0, 2, 8, 8), rf"x: got shape \(0, 2, 8, 8\), {allowed}"),
        (twin, draw(4, 1, 2, 8, 8), r"x: got shape \(4, 1, 2, 8, 8\), allowed is \(B, C, H, W\), each >= 1"),
        (spiking, draw(1, 2, 8, 8).byte(), r"x: got dtype torch.uint8, .*; convert with .float\(\)"),
        (spiking, draw(1, 3, 8, 8), r"x: got 3 channels, allowed is in_channels \(2\)"),
        (twin, draw(1, 3, 8, 8), r"x: got 3 channels, allowed is in_channels \(2\)"),
        (spiking, draw(1, 2, 8, 1), r"x: got images of \(8, 1\), allowed are sides >= 2"),
        (sized, draw(1, 2, 8, 7), r"x: got images of \(8, 7\), allowed is image_size \(\(8, 8\)\)"),
    ]
    for network, x, message in cases:
        with pytest.raises(ValueError, match="^" + message):
            network(x)
    with pytest.raises(ValueError, match=r"^steps: got 3 for an input of 4 steps"):
        spiking(draw(4, 1, 2, 8, 8), steps=3)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"pooling": "sum"}, "pooling: got 'sum', allowed are avg, max"),
        ({"in_channels": 0}, "in_channels: got 0, allowed is a whole number >= 1"),
        ({"n_classes": -1}, "n_classes: got -1, allowed is a whole number >= 1"),
        ({"T": 0}, "T: got 0, allowed is a whole number >= 1"),
        ({"neuron": NeuronConfig("li")}, "neuron.kind: got 'li', which does not spike"),
    ],
)
def test_errors_name_field_value_and_what_is_allowed(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match="^" + message):
        Halving(**fields)
