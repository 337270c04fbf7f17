from __future__ import annotations

from typing import Any

import pytest
import torch

from snn4.learners.continual.learner import n_outputs
from snn4.learners.continual.spike_replay import Code
from snn4.policies.networks.convnet import ConvNetConfig, SpikingConvNet
from snn4.policies.neurons import NeuronConfig


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (4, 7), (1, 1)])
def test_spikes_are_bits(shape: tuple[int, ...]) -> None:
    code = Code(shape, spiking=True)
    spikes = (torch.rand(shape[0], 6, *shape[1:]) < 0.3).float()
    packed = code.packed(spikes)
    assert packed.dtype == torch.uint8
    assert packed.shape == (6, code.sample_bytes)
    assert code.sample_bytes == (torch.Size(shape).numel() + 7) // 8
    assert torch.equal(code.unpacked(packed), spikes)


def test_activity_is_floats() -> None:
    code, x = Code((3, 4), spiking=False), torch.randn(6, 3, 4)
    assert torch.equal(code.unpacked(code.packed(x)), x)
    assert code.sample_bytes == 4 * 12


def test_what_is_kept_is_what_passes_the_layer(make_learner: Any) -> None:
    learner = make_learner("spike-replay")
    lower_layers = learner._model.split.lower_layers
    for k, experience in enumerate(learner.stream.train):
        list(learner.learn(experience))
        if k == 0:
            before = [x.clone() for layer in lower_layers for x in layer.state_dict().values()]
    after = [x for layer in lower_layers for x in layer.state_dict().values()]
    assert all(torch.equal(x, y) for x, y in zip(before, after, strict=True))  # norms too
    passed = {}
    for experience in learner.stream.train:
        for x, label, _ in experience.dataset:
            with torch.no_grad(), learner._model.evaluated():
                bits = learner._making.code.packed(learner._model.latent(x[None]))
            passed[tuple(bits[0].tolist())] = label
    groups = learner.state()["memory"]["groups"]
    assert [len(group["codes"]) for group in groups] == [20, 20, 20]
    for group in groups:
        for code, label in zip(group["codes"], group["labels"], strict=True):
            assert passed[tuple(code.tolist())] == int(label)


def test_bytes(make_learner: Any) -> None:
    """Behind the first neurons: 4 channels of 8 x 8 in 2 steps are 64 bytes of bits; an ANN keeps 4 x 8 x 8 floats."""
    for ann, size in ((False, 64), (True, 1024)):
        learner = make_learner("spike-replay", ann=ann, memory_bytes=30 * size + size - 1)
        list(learner.learn(learner.stream.train[0]))
        assert learner.replay_bytes == learner.memory_bytes == 30 * size
    early, late = (make_learner("spike-replay", options={"layer": layer}) for layer in (2, 6))
    assert [x._making.code.sample_bytes for x in (early, late)] == [64, 8 * 4 * 4 * 2 // 8]


def test_means_of_spikes_are_no_bits(make_learner: Any) -> None:
    with pytest.raises(ValueError, match="layer: got outputs other than 0 and 1"):
        Code((1, 2), spiking=True).packed(torch.tensor([[[0.0, 0.5]]]))
    stream = make_learner("naive").stream
    config = ConvNetConfig(
        channels=(4, 8), in_channels=1, image_size=(8, 8), n_classes=n_outputs(stream), neuron=NeuronConfig("multi")
    )  # fmt: skip
    network = SpikingConvNet(config)
    with pytest.raises(ValueError, match="got no layer of neurons with single spikes"):
        make_learner("spike-replay", network=network)


def test_it_forgets_less_than_naive(make_learner: Any) -> None:
    accuracies = {}
    for name in ("naive", "spike-replay"):
        learner = make_learner(name, epochs=15, batch_size=5)
        for experience in learner.stream.train:
            list(learner.learn(experience))
        accuracies[name] = [learner.scores(experience) for experience in learner.stream.test[:2]]
    assert min(accuracies["spike-replay"]) > max(accuracies["naive"]) + 0.2, accuracies


def test_a_learner_that_starts_again_learns_before_the_layer_too(make_learner: Any) -> None:
    learner = make_learner("spike-replay")
    start = learner.state()
    weights = []
    for _ in range(2):
        learner.load_state(start)
        list(learner.learn(learner.stream.train[0]))
        weights.append({name: x.clone() for name, x in learner.network.state_dict().items()})
        list(learner.learn(learner.stream.train[1]))
    assert all(torch.equal(x, weights[1][name]) for name, x in weights[0].items())
