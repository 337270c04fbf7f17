from __future__ import annotations

from typing import Any

import pytest
import torch
from ann_modules import SMALL, images, seasoned
from lightning_fabric import Fabric
from torch import Tensor, nn

from snn4.learners.conversion.conversion import Conversion, ConversionConfig, convert
from snn4.learners.conversion.tandem import Tandem
from snn4.learners.recipe import Recipe
from snn4.learners.supervised import SupervisedLearner
from snn4.policies.networks.convnet import ConvNetConfig, SpikingConvNet
from snn4.policies.networks.graph import GraphConfig, GraphNet, Node, by_name
from snn4.policies.neurons import NeuronConfig


def converted(kind: str, T: int = 4) -> Conversion:
    return convert(seasoned(SMALL[kind]), images(16), ConversionConfig(T=T))


@pytest.mark.parametrize("kind", SMALL)
def test_scores_are_those_of_the_spiking_network(kind: str) -> None:
    spiking = converted(kind).network
    tandem = Tandem(spiking)
    for steps in (None, 2):
        assert torch.equal(tandem(images(16), steps), spiking(images(16), steps))


class Slopes(torch.autograd.Function):
    """The rate of a current, with the gradient of a clipped ReLU: `_Rate` in a second way."""

    @staticmethod
    def forward(ctx: Any, current: Tensor, rate: Tensor) -> Tensor:
        ctx.save_for_backward(current)
        return rate

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (current,) = ctx.saved_tensors
        return grad * ((current >= 0) & (current <= 1)), None


@pytest.mark.parametrize(("r", "burn_in"), [(None, 0), (0.5, 0), (None, 1)])
def test_gradients_of_two_layers_written_out(r: float | None, burn_in: int) -> None:
    nodes = (
        Node("conv", "conv2d", ("input",), {"in_channels": 1, "out_channels": 3, "kernel_size": 3}),
        Node("n1", "neuron", ("conv",)), Node("flat", "flatten", ("n1",)),
        Node("hidden", "linear", ("flat",), {"in_features": 108, "out_features": 5}),
        Node("n2", "neuron", ("hidden",)),
        Node("out", "linear", ("n2",), {"in_features": 5, "out_features": 2}),
    )  # fmt: skip
    torch.manual_seed(0)
    net = GraphNet(GraphConfig(in_channels=1, n_classes=2, image_size=(8, 8), T=3, nodes=nodes, burn_in=burn_in,
                               neuron=NeuronConfig("signed_if", v_leak=0.5, r=r)))  # fmt: skip
    gain = 1.0 if r is None else r
    x = 2 * torch.rand(4, 1, 8, 8)
    weights = torch.randn(4, 2)
    (Tandem(net)(x) * weights).sum().backward()
    layers = by_name(net)
    wanted = {name: parameter.grad.clone() for name, parameter in net.named_parameters() if parameter.grad is not None}
    assert wanted.keys() == dict(net.named_parameters()).keys()
    net.zero_grad()

    current = layers["conv"](x)
    spikes = layers["n1"](current.unsqueeze(0), None, 3)[0].detach()
    rates = Slopes.apply(gain * current, spikes[burn_in:].mean(0))  # type: ignore[no-untyped-call]
    later = layers["hidden"](spikes.flatten(2))
    second = layers["n2"](later)[0].detach()[burn_in:].mean(0)
    scores = layers["out"](Slopes.apply(gain * layers["hidden"](rates.flatten(1)), second))  # type: ignore[no-untyped-call]
    (scores * weights).sum().backward()
    for name, parameter in net.named_parameters():
        torch.testing.assert_close(parameter.grad, wanted[name])


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_conversion_learns(precision: Any) -> None:
    spiking = converted("plain", T=2).network
    labels = torch.arange(len(images(16))) % spiking.config.n_classes
    fabric = Fabric(accelerator="cpu", precision=precision)
    fabric.launch()
    recipe = Recipe(epochs=60, batch_size=len(labels), learning_rate=0.01, gradient="rates")
    x = images(16) + labels.view(-1, 1, 1, 1)
    learner = SupervisedLearner(recipe, spiking, lambda *_: [(x, labels)], 1, 0, fabric)
    fits = [fit for _ in range(60) for fit in learner.learn()]
    assert fits[-1].loss < 0.7 * fits[0].loss
    assert learner.learned is spiking


def test_other_networks_and_neurons_are_refused() -> None:
    with pytest.raises(ValueError, match="gradient: got rates for a SpikingConvNet, allowed are converted networks"):
        Tandem(SpikingConvNet(ConvNetConfig(channels=(4,), in_channels=1, image_size=(8, 8))))
    nodes = (Node("flat", "flatten", ("input",)), Node("leaky", "neuron", ("flat",)),
             Node("out", "linear", ("leaky",), {"in_features": 64, "out_features": 10}))  # fmt: skip
    with pytest.raises(ValueError, match=r"for leaky \(lif with soft reset\), allowed are if and signed_if"):
        Tandem(GraphNet(GraphConfig(in_channels=1, image_size=(8, 8), nodes=nodes, neuron=NeuronConfig("lif"))))
    with pytest.raises(ValueError, match="loss: got tet, allowed is mean where the gradient is rates"):
        Recipe(gradient="rates", loss="tet")
    with pytest.raises(ValueError, match="checkpoint_steps: got 2, allowed is null where the gradient is rates"):
        Recipe(gradient="rates", checkpoint_steps=2)


def test_a_readout_of_neurons_is_refused() -> None:
    nodes = (Node("flat", "flatten", ("input",)),
             Node("out", "linear", ("flat",), {"in_features": 64, "out_features": 10}),
             Node("read", "neuron", ("out",)))  # fmt: skip
    with pytest.raises(ValueError, match="got rates for read, a readout of neurons, which has none"):
        Tandem(GraphNet(GraphConfig(in_channels=1, image_size=(8, 8), nodes=nodes, neuron=NeuronConfig("if"))))


def test_pooling_and_the_readout_have_no_rates_of_their_own() -> None:
    tandem = Tandem(converted("plain").network)
    assert not any(isinstance(module, nn.ReLU) for module in tandem.ann.modules())
