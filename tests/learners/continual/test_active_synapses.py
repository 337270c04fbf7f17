from __future__ import annotations

from typing import Any

import pytest
import torch

from snn4.policies.networks.ann import twin
from snn4.policies.networks.config import NetworkConfig
from snn4.policies.networks.perception import make_network


def activity_of(learner: Any, n: int) -> dict[str, torch.Tensor]:
    from snn4.learners.continual.active_synapses import activity

    with learner._model.evaluated():
        return activity(learner._model, torch.arange(n).split(7))


@pytest.mark.parametrize("scenario", ["class", "task"])
@pytest.mark.parametrize("ann", [False, True])
def test_importance_is_the_product_of_both_rates(ann: bool, scenario: str, make_learner: Any) -> None:
    learner, n = make_learner("active-synapses", scenario, ann, epochs=8), 20
    list(learner.learn(learner.stream.train[0]))
    importance = activity_of(learner, n)
    _, _, neurons, pool, _, _, neurons2, *_, head = list(learner.network.network.children())
    seen: dict[Any, torch.Tensor] = {}

    def look(layer: Any, inputs: Any, output: Any) -> None:
        y = output[0].flatten(0, 1) if isinstance(output, tuple) else output
        seen[layer] = y.transpose(0, 1).flatten(1).mean(1)  # of each channel, over steps, samples and places

    handles = [layer.register_forward_hook(look) for layer in (neurons, pool, neurons2)]
    x, samples = learner._making.samples.images(torch.arange(n)), learner._making.samples
    with torch.no_grad(), learner._model.evaluated():
        features = []
        handles.append(head.register_forward_pre_hook(lambda layer, inputs: features.append(inputs[0])))
        scores = learner._model.answer(x, samples.tasks[:n])
    for handle in handles:
        handle.remove()
    wanted = seen[neurons2][:, None] * seen[pool]
    assert torch.allclose(importance["network.network.4.weight"][:, :, 1, 2], wanted / wanted.max(), atol=1e-5)
    for name in ("weight", "bias"):
        wanted = seen[neurons2] / seen[neurons2].max()
        assert torch.allclose(importance[f"network.network.5.{name}"], wanted, atol=1e-5)
    classes = scores.softmax(1).mean(0)
    if scenario == "task":
        classes = torch.cat([classes, torch.zeros(4)])
    wanted = classes[:, None] * features[0].mean(0)
    number = len(list(learner.network.network.children())) - 1
    assert torch.allclose(importance[f"network.network.{number}.weight"], wanted / wanted.max(), atol=1e-5)


def test_importance_adds_up_over_experiences(make_learner: Any) -> None:
    learner = make_learner("active-synapses", options={"samples": 1000})
    list(learner.learn(learner.stream.train[0]))
    first = learner.state()["memory"]["importances"]
    list(learner.learn(learner.stream.train[1]))
    both = learner.state()["memory"]["importances"]
    assert all((both[name] >= first[name]).all() for name in first)
    assert max(x.max() for x in both.values()) <= 2


def test_by_default_new_classes_are_learned(make_learner: Any) -> None:
    """A force of 100 leaves them no chance: accuracy is 0."""
    accuracies = []
    for options in ({"strength": 100.0}, {}):
        learner = make_learner("active-synapses", options=options, epochs=12)
        for experience in learner.stream.train[:2]:
            list(learner.learn(experience))
        accuracies.append(learner.scores(experience))
    assert accuracies[1] > accuracies[0] + 0.3


@pytest.mark.parametrize("ann", [False, True])
def test_currents_that_no_neuron_receives_before_the_readout(ann: bool, make_learner: Any) -> None:
    """A Spikingformer's last block adds to currents, which the readout takes the mean of."""
    options = {"width": 16, "heads": 2, "depth": 1, "channels": [8, 16]}
    config = NetworkConfig("spikingformer-tiny", T=2, options=options).resolve(1, (8, 8), 6)
    learner = make_learner("active-synapses", network=twin(config) if ann else make_network(config))
    importance, layers = activity_of(learner, 20), dict(learner._model.named_modules())
    assert set(importance) == {name for name, _ in learner._model.named_parameters()}
    *_, readout = learner.network.network.children()
    inputs: list[torch.Tensor] = []
    readout.register_forward_pre_hook(lambda layer, x: inputs.append(x[0]))
    with torch.no_grad(), learner._model.evaluated():
        learner._model.answer(learner._making.samples.images(torch.arange(20)), torch.zeros(20, dtype=torch.int64))
    wanted = inputs[0].abs().mean(0)
    last = [name for name, layer in layers.items() if isinstance(layer, torch.nn.BatchNorm2d)][-1]
    assert torch.allclose(importance[f"{last}.bias"], wanted / wanted.max(), atol=1e-5)
