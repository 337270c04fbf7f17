from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from snn4.learners.recipe import learning_rate, make_optimizer


def strategy_of(learner: Any) -> Any:
    return learner._make(learner._making, make_optimizer(learner.training.recipe, learner.network), 0, None)


@pytest.mark.parametrize("name", ["naive", "replay", "ewc", "si", "mas", "gem", "der", "er-ace", "icarl", "gdumb"])
def test_pieces_are_avalanches_own_loop(name: str, make_learner: Any) -> None:
    """`train` is Avalanche's own loop, which knows no pieces."""
    options = {"ewc_lambda": 100.0} if name == "ewc" else {}
    whole, pieced = (make_learner(name, epochs=2, options=options) for _ in range(2))
    avalanche, pieces = strategy_of(whole), strategy_of(pieced)
    for k in (0, 1):
        torch.manual_seed(k)
        avalanche.train(whole._making.samples.experiences[k], eval_streams=[])
        torch.manual_seed(k)
        updates = list(pieces.learn(pieced._making.samples.experiences[k]))
        assert [x.ends_epoch for x in updates].count(True) == 2
    for x, y in zip(whole.network.state_dict().values(), pieced.network.state_dict().values(), strict=True):
        assert torch.equal(x, y)


def test_an_update_in_plain_torch(make_learner: Any) -> None:
    recipe = {"schedule": "one_cycle", "clip": 0.1, "optimizer": "sgd", "momentum": 0.0, "augment": False}
    learner = make_learner("naive", **recipe)
    strategy = strategy_of(learner)
    network, samples = copy.deepcopy(learner.network).train(), learner._making.samples
    torch.manual_seed(0)
    updates = strategy.learn(samples.experiences[0])
    for step in range(3):
        next(updates)
        numbers, labels, _ = strategy.mbatch
        network.zero_grad()
        scores = network(learner.stream.normalized(samples.images(numbers)))
        loss = torch.nn.functional.cross_entropy(scores, labels)
        assert loss.item() == pytest.approx(strategy.loss.item(), abs=1e-6)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 0.1)
        rate = learning_rate(learner.training.recipe, step, -(-len(samples.experiences[0].dataset) // 10))
        with torch.no_grad():
            for parameter in network.parameters():
                assert parameter.grad is not None
                parameter -= rate * parameter.grad
    for x, y in zip(network.parameters(), learner.network.parameters(), strict=True):
        assert torch.allclose(x, y, atol=1e-6)
