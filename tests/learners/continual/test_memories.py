from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor


def lived(learner: Any, until: int = 3) -> Any:
    for k in range(learner.learned, until):
        list(learner.learn(learner.stream.train[k]))
    return learner


def noted(images: Callable[[Tensor], Tensor], requests: list[Tensor]) -> Callable[[Tensor], Tensor]:
    """``images`` that notes all requested numbers in ``requests``."""

    def look(numbers: Tensor) -> Tensor:
        requests.append(numbers)
        return images(numbers)

    return look


def rows(memory: Any) -> Tensor:
    parts = memory.get("groups") or memory.get("experiences") or memory.get("exemplars")
    return torch.cat([part["rows"] for part in parts])


@pytest.mark.parametrize("name", ["replay", "der", "er-ace", "er-aml", "mir", "gdumb", "icarl", "gem", "agem"])
def test_memories_are_full_balanced_and_without_doubles(name: str, make_learner: Any) -> None:
    learner = lived(make_learner(name))
    numbers = rows(learner.state()["memory"])
    samples = learner._making.samples
    assert len(numbers) == len(set(numbers.tolist())) == 60
    counts = samples.labels[numbers].bincount(minlength=6)
    assert counts.reshape(3, 2).sum(1).tolist() == [20, 20, 20]
    if name not in ("replay", "gem", "agem"):  # balanced over experiences, not classes
        assert counts.tolist() == [10] * 6


def test_a_memory_of_classes(make_learner: Any) -> None:
    learner = lived(make_learner("replay", options={"balance": "class"}))
    numbers = rows(learner.state()["memory"])
    assert learner._making.samples.labels[numbers].bincount().tolist() == [10] * 6


@pytest.mark.parametrize("name", ["replay", "der", "mir", "agem", "spike-replay"])
def test_what_updates_see(name: str, make_learner: Any) -> None:
    """New samples of the experience, and old ones from the memory as it was when the experience began."""
    learner = lived(make_learner(name, memory_batch_size=7, options={"sample_size": 7} if name == "agem" else {}), 1)
    model, samples = learner._model, learner._making.samples
    batch_sizes: list[int] = []
    requests: list[Tensor] = []
    memory = learner.state()["memory"]
    handle = model.network.network[0].register_forward_hook(lambda layer, x, y: batch_sizes.append(len(x[0])))
    images = samples.images
    samples.images = noted(images, requests)
    list(learner.learn(learner.stream.train[1], stop=lambda: True))
    handle.remove()
    numbers = torch.cat(requests)
    new = samples.labels[numbers] >= 2
    assert int(new.sum()) == 10
    if name == "spike-replay":
        assert batch_sizes == [10]  # old samples join behind the front
        assert len(numbers) == 10
    else:
        assert set(numbers[~new].tolist()) <= set(rows(memory).tolist())


def test_mir_replays_all_of_a_memory_smaller_than_its_batch(make_learner: Any) -> None:
    learner = lived(make_learner("mir", memory=20, memory_batch_size=32), 1)
    samples, requests = learner._making.samples, []
    samples.images = noted(samples.images, requests)
    list(learner.learn(learner.stream.train[1], stop=lambda: True))
    assert max(len(x) for x in requests if (samples.labels[x] < 2).all()) == 20
    assert all(len(x) == 20 for x in requests if (samples.labels[x] < 2).all())


def test_passes_draw_anew_from_the_memory(make_learner: Any) -> None:
    learner = lived(make_learner("replay", passes=3, memory_batch_size=5), 1)
    samples, updates = learner._making.samples, iter(range(3))
    images = samples.images
    requests: list[Tensor] = []
    samples.images = noted(images, requests)
    list(learner.learn(learner.stream.train[1], stop=lambda: next(updates) == 2))
    new, old = zip(*((x[:10].tolist(), x[10:].tolist()) for x in requests), strict=True)
    assert new[0] == new[1] == new[2]
    assert len({tuple(x) for x in old}) == 3


def test_gem_projects_as_the_quadratic_program_says() -> None:
    from snn4.learners.continual.memories import Gem

    random = np.random.default_rng(0)
    for n in (1, 3, 6):
        plugin = Gem(1, memory_strength=0.5)
        memories, gradient = random.normal(size=(n, 12)), random.normal(size=12)
        plugin.G = torch.from_numpy(memories)
        projected = plugin.solve_quadprog(torch.from_numpy(gradient)).double().numpy()
        products = memories @ memories.T + 1e-3 * np.eye(n)
        solution = minimize(  # the dual problem, equation 11 of the paper
            lambda v, p=products, m=memories, g=gradient: 0.5 * v @ p @ v + v @ (m @ g),
            np.ones(n), jac=lambda v, p=products, m=memories, g=gradient: p @ v + m @ g,
            bounds=[(0.5, None)] * n, method="L-BFGS-B", options={"ftol": 1e-15, "gtol": 1e-10},
        )  # fmt: skip
        assert projected == pytest.approx(solution.x @ memories + gradient, abs=1e-4)


def test_gem_harms_no_memory() -> None:
    from snn4.learners.continual.memories import Gem

    plugin = Gem(1, memory_strength=0.0)
    plugin.G = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    assert plugin.solve_quadprog(torch.tensor([-1.0, 2.0, 3.0])) == pytest.approx([0.0, 2.0, 3.0], abs=2e-3)


def test_gdumb_begins_again_each_time(make_learner: Any) -> None:
    learner = make_learner("gdumb", options={"epochs": 2})
    first = {name: x.clone() for name, x in learner.network.state_dict().items()}
    lessons = list(learner.learn(learner.stream.train[0]))
    assert [x.epoch for x in lessons] == [0, 1]
    (stopped,) = learner.learn(learner.stream.train[1], stop=lambda: True)
    assert stopped.total == 2 * 60  # the memory, twice
    initial = learner.state()["memory"]["initial"]
    assert all(torch.equal(initial[f"network.{name}"], x) for name, x in first.items())
