from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from snn4.learners.continual.icarl import herded, nearest_means, unit


def test_herding_takes_what_brings_the_mean_nearest() -> None:
    x = F.normalize(torch.randn(30, 5, generator=torch.Generator().manual_seed(0)), dim=1)
    chosen: list[int] = []
    for k in range(1, 9):  # algorithm 4 of the paper, word by word
        distance = {
            i: (x.mean(0) - (x[i] + sum(x[j] for j in chosen)) / k).norm().item() for i in range(30) if i not in chosen
        }
        chosen.append(min(distance, key=lambda i: distance[i]))
    assert herded(x, 8).tolist() == chosen
    assert sorted(herded(x, 99).tolist()) == list(range(30))


def test_the_nearest_mean_answers() -> None:
    means = F.normalize(torch.tensor([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0]]), dim=1)
    scores = nearest_means(torch.tensor([[5.0, 0.1], [2.0, 2.5], [-1.0, 9.0]]), means)
    assert scores.argmax(1).tolist() == [0, 2, 2]
    assert torch.isinf(scores[:, 1]).all()  # a class that was not met


def test_means_are_those_of_exemplars(make_learner: Any) -> None:
    learner = make_learner("icarl", epochs=8, batch_size=5)
    for experience in learner.stream.train:
        list(learner.learn(experience))
    kept, samples = learner.state()["memory"], learner._making.samples
    readout_sees: list[torch.Tensor] = []
    hook = learner.network.network[-1].register_forward_pre_hook(lambda layer, inputs: readout_sees.append(inputs[0]))
    for group in kept["exemplars"]:
        x = learner.stream.normalized(samples.images(group["rows"]))
        with torch.no_grad():
            learner.network.eval()(x)
        features = readout_sees.pop().view(2, len(x), -1).mean(0)  # (T * B, F): the mean over steps
        mean = unit(features).mean(0)
        assert torch.allclose(kept["means"][group["class"]], mean / mean.norm(), atol=1e-5)
    for experience in learner.stream.test:
        x, labels, _ = zip(*experience.dataset, strict=True)
        with torch.no_grad():
            learner.network.eval()(learner.stream.normalized(torch.stack(x)))
        features = readout_sees.pop().view(2, len(x), -1).mean(0)
        distances = (unit(features)[:, None] - kept["means"]).norm(dim=2)
        right = (distances.argmin(1) == torch.tensor(labels)).float().mean().item()
        assert learner.scores(experience) == pytest.approx(right, abs=1.5 / len(x)), "one may be between two means"
        readout_sees.clear()  # scores have run the network too
    hook.remove()
