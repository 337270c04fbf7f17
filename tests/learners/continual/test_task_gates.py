from __future__ import annotations

from typing import Any

import pytest
import torch

from snn4.policies.networks.config import NetworkConfig
from snn4.policies.networks.perception import make_network


@pytest.mark.parametrize("ann", [False, True])
def test_channels_are_silent_in_other_tasks(ann: bool, make_learner: Any) -> None:
    learner = make_learner("task-gates", "task", ann, options={"gated": 0.5})
    model, layers = learner._model, list(learner.network.network.children())
    inputs_seen: list[torch.Tensor] = []
    layers[4].register_forward_pre_hook(lambda layer, inputs: inputs_seen.append(inputs[0]))  # the second convolution
    x = torch.cat([learner._making.samples.images(torch.arange(5))] * 3)
    tasks = torch.arange(3).repeat_interleave(5)
    with torch.no_grad(), model.evaluated():
        model.answer(x, tasks)
        learner.network(learner.stream.normalized(x))  # the network alone has no gates
    gated, free = (y.view(-1, 15, *y.shape[1:]).sum((0, 3, 4)) for y in inputs_seen)
    gates = model.gates(layers[2], 4)
    assert gates.sum(1).tolist() == [2, 2, 2]
    assert torch.allclose(gated, free * gates[tasks])
    assert not torch.equal(gates[0], gates[1]) or not torch.equal(gates[1], gates[2])


def test_gates_come_from_the_seed(make_learner: Any) -> None:
    learners = [make_learner("task-gates", "task", seed=seed) for seed in (1, 1, 2)]
    gates = [x._model.gates(list(x.network.network.children())[2], 64) for x in learners]
    assert torch.equal(gates[0], gates[1])
    assert not torch.equal(gates[0], gates[2])


def test_gates_behind_time(make_learner: Any) -> None:
    """ReLUs of an ANN head see all steps of all samples at once: each sample has the gates of its own task."""
    config = NetworkConfig("hybrid-ann-head", T=2).resolve(1, (8, 8), 6)
    learner = make_learner("task-gates", "task", network=make_network(config), options={"gated": 0.5})
    model = learner._model
    (relu, *_) = (layer for layer in learner.network.modules() if isinstance(layer, torch.nn.ReLU))
    outputs: list[torch.Tensor] = []
    relu.register_forward_hook(lambda layer, inputs, y: outputs.append(y))
    x = torch.cat([learner._making.samples.images(torch.arange(5))] * 3)
    tasks = torch.arange(3).repeat_interleave(5)
    with torch.no_grad(), model.evaluated():
        model.answer(x, tasks)
        alone = [model.answer(x[tasks == task], tasks[tasks == task]) for task in range(3)]
        together = model.answer(x, tasks)
    assert torch.allclose(together, torch.cat(alone), atol=1e-5)
    closed = model.gates(relu, outputs[0].shape[1])[tasks] == 0
    assert not outputs[0].unflatten(0, (-1, 15))[:, closed].any()
