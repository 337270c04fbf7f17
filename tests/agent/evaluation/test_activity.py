from __future__ import annotations

import pytest
import torch
from torch import nn

from snn4.agent.evaluation.accuracy import Recognizer
from snn4.agent.evaluation.activity import watch
from snn4.policies.networks.convnet import ConvNetConfig, SpikingConvNet
from snn4.policies.neurons import Neuron, NeuronConfig


def make() -> SpikingConvNet:
    torch.manual_seed(0)
    return SpikingConvNet(ConvNetConfig(channels=(4, 6), n_classes=7, neuron=NeuronConfig(v_threshold=0.3), T=3))


def test_activity_is_what_the_neurons_gave() -> None:
    net, x = make().eval(), torch.rand(1, 3, 8, 8)
    outputs: list[torch.Tensor] = []
    neurons = [module for module in net.modules() if isinstance(module, Neuron)]
    handles = [layer.register_forward_hook(lambda _, __, out: outputs.append(out[0])) for layer in neurons]
    with torch.no_grad():
        scores = net(x)
    for handle in handles:
        handle.remove()
    activity = watch(Recognizer(net), x, 3, neurons=10)
    assert torch.equal(activity.scores.mean(0, keepdim=True), scores)
    assert torch.allclose(activity.picture, x[0].mean(0))
    names = [name for name, module in net.named_modules() if isinstance(module, Neuron)]
    assert [layer.name for layer in activity.layers] == names
    for layer, spikes in zip(activity.layers, outputs, strict=True):
        assert layer.n_neurons == spikes[0].numel()
        assert layer.rate == pytest.approx(spikes.mean().item())
        assert layer.map is not None
        assert torch.allclose(layer.map, spikes[:, 0].mean((0, 1)))
        flat = spikes.flatten(1)
        assert torch.equal(layer.spikes[:, [0, -1]], flat[:, [0, -1]])
        assert layer.spikes.shape == (3, 10)
    assert sum(layer.spikes.sum() for layer in activity.layers) > 0
    assert not any(module._forward_hooks for module in net.modules() if isinstance(module, nn.Module))


def test_activity_of_events_has_their_steps() -> None:
    activity = watch(Recognizer(make(), steps=2), torch.rand(5, 1, 3, 8, 8), 0)
    assert activity.picture.shape == (8, 8)
    assert [len(layer.spikes) for layer in activity.layers] == [2, 2]


def test_layers_smaller_than_what_is_asked_for_are_shown_whole_and_once() -> None:
    net = make()
    activity = watch(Recognizer(net), torch.rand(1, 3, 8, 8), 0, neurons=10**6)
    assert [layer.spikes.shape[1] for layer in activity.layers] == [layer.n_neurons for layer in activity.layers]


def test_a_layer_that_is_no_image_has_no_map() -> None:
    net = make()
    net.network.insert(len(net.network) - 1, Neuron(NeuronConfig(v_threshold=0.01)))
    *_, last = watch(Recognizer(net), torch.rand(1, 3, 8, 8), 0).layers
    assert last.map is None
    assert last.n_neurons == 6


def test_watching_leaves_the_network_in_its_mode() -> None:
    net = make().train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    watch(Recognizer(net), torch.rand(1, 3, 8, 8), 0)
    assert net.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
