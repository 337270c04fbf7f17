from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor


def weights(learner: Any) -> dict[str, Tensor]:
    return {name: x.detach().clone() for name, x in learner.network.named_parameters() if x.dim() > 1}


@pytest.mark.parametrize(
    ("name", "options"),
    [("ewc", {"ewc_lambda": 1e5}), ("ewc", {"ewc_lambda": 1e5, "mode": "online", "decay_factor": 0.9}),
     ("si", {"si_lambda": 1e7}), ("mas", {"lambda_reg": 1e5}), ("active-synapses", {"strength": 1e5})],
    ids=str,
)  # fmt: skip
def test_penalties_hold_weights_where_they_were(name: str, options: dict[str, Any], make_learner: Any) -> None:
    free, held = make_learner("naive", epochs=3), make_learner(name, options=options, epochs=3)
    moved = {}
    for learner in (free, held):
        list(learner.learn(learner.stream.train[0]))
        before = weights(learner)
        list(learner.learn(learner.stream.train[1]))
        after = weights(learner)
        moved[learner] = torch.stack([(after[name] - before[name]).abs().mean() for name in before])
        list(learner.learn(learner.stream.train[2]))
    assert (moved[held][:-1] < 0.8 * moved[free][:-1]).all()


def test_a_penalty_is_zero_in_the_first_experience(make_learner: Any) -> None:
    free = make_learner("naive")
    list(free.learn(free.stream.train[0]))
    for name in ("ewc", "si", "mas", "lwf", "active-synapses"):
        learner = make_learner(name)
        list(learner.learn(learner.stream.train[0]))
        assert all(torch.equal(x, y) for x, y in zip(weights(learner).values(), weights(free).values(), strict=True))


@pytest.mark.parametrize("scenario", ["class", "task"])
def test_lwf_is_avalanches(scenario: str, make_learner: Any) -> None:
    """Avalanche's plugin lasts through all experiences and has its teacher in training mode."""
    from avalanche.training.plugins import LwFPlugin

    renewed, lasting = (make_learner("lwf", scenario, options={"alpha": 10.0}) for _ in range(2))
    make, strategies = lasting._make, []

    def with_plugin(*parts: Any) -> Any:
        strategy = make(*parts)
        strategy.plugins[1] = strategies[0].plugins[1] if strategies else LwFPlugin(alpha=10.0)
        strategy.remembering = None
        strategies.append(strategy)
        return strategy

    lasting._make = with_plugin
    for learner in (renewed, lasting):
        for experience in learner.stream.train:
            list(learner.learn(experience))
    assert isinstance(strategies[-1].plugins[1], LwFPlugin)
    for name, x in renewed.network.state_dict().items():
        torch.testing.assert_close(x, lasting.network.state_dict()[name])


def test_importances_of_si_add_up(make_learner: Any) -> None:
    """Without a force the second experience is the same, whatever the first one left in memory."""
    learner, forgetful = (make_learner("si", options={"si_lambda": 0.0}) for _ in range(2))
    list(learner.learn(learner.stream.train[0]))
    memory = learner.state()["memory"]
    nothing = {name: {key: torch.zeros_like(x) for key, x in tensors.items()} for name, tensors in memory.items()}
    forgetful.load_state({**learner.state(), "memory": nothing})
    for trained in (learner, forgetful):
        list(trained.learn(trained.stream.train[1]))
    total, second = (x.state()["memory"]["trajectory"] for x in (learner, forgetful))
    for name, first in memory["trajectory"].items():
        assert first.abs().sum() > 0
        assert torch.allclose(total[name], first + second[name])


def test_importances_of_si_tell_weights_apart(make_learner: Any) -> None:
    """Zenke et al. 2017, eq. 5: the loss saved on each weight's path, divided by the square of its distance."""
    learner = make_learner("si", options={"eps": 0.1})
    before = weights(learner)
    list(learner.learn(learner.stream.train[0]))
    memory, after = learner.state()["memory"], weights(learner)
    for name, x in memory["importances"].items():
        assert (x >= 0).all()
        saved = -memory["trajectory"][name]  # the first experience: the sum of one quotient
        assert torch.equal(x, saved.clamp(min=0))
        assert saved.max() > 0.0011  # Avalanche's limit
    assert all((after[name] != before[name]).any() for name in before)


def test_measuring_importances_changes_nothing(make_learner: Any, sorted_stream: Any) -> None:
    """The statistics of norms stay, too, whatever the order in which samples are stored."""
    states = []
    for name in ("naive", "ewc", "mas", "active-synapses"):
        learner = make_learner(name, stream=sorted_stream)
        list(learner.learn(sorted_stream.train[0]))
        states.append(learner.network.state_dict())
    for state in states[1:]:
        assert all(torch.equal(x, y) for x, y in zip(state.values(), states[0].values(), strict=True))


def test_importances_of_mas_are_gradients_of_the_squared_length(make_learner: Any) -> None:
    learner = make_learner("mas", batch_size=1000, options={"alpha": 0.0})  # one mini-batch, no older importances
    list(learner.learn(learner.stream.train[0]))
    importances = learner.state()["memory"]["importances"]
    network = learner.network.eval()
    network.zero_grad()
    x = torch.stack([sample[0] for sample in learner.stream.train[0].dataset])
    (network(learner.stream.normalized(x)) ** 2).sum(1).mean().backward()
    for name, parameter in network.named_parameters():
        assert torch.allclose(importances[f"network.{name}"], parameter.grad.abs(), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", ["ewc", "mas", "active-synapses"])
def test_memories_go_where_the_weights_are(name: str, make_learner: Any) -> None:
    learner = make_learner(name)
    list(learner.learn(learner.stream.train[0]))
    memory = learner.state()["memory"]
    learner._model.device = torch.device("meta")
    optimizer = torch.optim.SGD(learner.network.parameters(), 0.1)
    restored = learner._make(learner._making, optimizer, 1, memory).remembering.kept()
    kinds = list(devices(restored))
    assert kinds
    assert set(kinds) == {"meta"}


def devices(value: Any) -> Iterator[str]:
    for item in value.values():
        yield from devices(item) if isinstance(item, dict) else [item.device.type]
