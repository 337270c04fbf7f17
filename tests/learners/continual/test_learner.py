from __future__ import annotations

import itertools
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from run_folders import through_disk
from torch import Tensor

from snn4.envs.stream import Stream
from snn4.learners.continual.learner import STRATEGIES, ContinualLearner, Lesson, n_outputs
from snn4.learners.not_finite import NotFinite
from snn4.policies.metering.meter import Meter
from snn4.policies.networks.ann import twin
from snn4.policies.networks.dense import Dense, DenseConfig

ONCE_EACH = [(name, strategy.scenarios[0]) for name, strategy in STRATEGIES.items()]
WITH_HEADS = [(name, "task") for name, strategy in STRATEGIES.items() if "task" in strategy.scenarios]


def live(learner: ContinualLearner, until: int = 3, every: float = 1e9) -> list[Lesson]:
    return [x for k in range(learner.learned, until) for x in learner.learn(learner.stream.train[k], every=every)]


def weights(learner: ContinualLearner) -> dict[str, Tensor]:
    return {name: x.clone() for name, x in learner.network.state_dict().items()}


def equal(one: Any, other: Any) -> bool:
    """Plain data with tensors, bit by bit."""
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)


def answers(learner: Any) -> list[float]:
    return [learner.scores(experience) for experience in learner.stream.test]


# Interruptions, of every strategy


@pytest.mark.parametrize(("name", "scenario"), dict.fromkeys([*ONCE_EACH, *WITH_HEADS]))
def test_resumed_is_never_interrupted(name: str, scenario: str, make_learner: Any, tmp_path: Path) -> None:
    ann = scenario == "task"
    whole, broken, resumed = (make_learner(name, scenario, ann) for _ in range(3))
    live(whole)
    live(broken, 1)
    state = through_disk(broken.state(), tmp_path)
    torch.save(broken.state(), tmp_path / "state.pt")
    assert equal(state, torch.load(tmp_path / "state.pt", weights_only=True))
    torch.rand(7), np.random.rand(3), random.random()  # noqa: NPY002  # the resumed process has other random numbers
    resumed.load_state(state)
    live(resumed)
    assert equal(weights(resumed), weights(whole))
    assert equal(resumed.state(), whole.state())
    assert answers(resumed) == answers(whole)
    assert (resumed.memory_bytes, resumed.replay_bytes) == (whole.memory_bytes, whole.replay_bytes)


@pytest.mark.parametrize(
    ("name", "options"),
    [*((name, {}) for name in STRATEGIES), ("replay", {"logit_adjustment": 1.0, "distillation": 1.0})],
)
def test_what_a_strategy_keeps_is_all_that_it_needs(name: str, options: Any, make_learner: Any) -> None:
    """One strategy that lives on, as Avalanche's do, does what a new one for each experience does."""
    scenario = STRATEGIES[name].scenarios[0]
    renewed, lasting = (make_learner(name, scenario, options=options) for _ in range(2))
    make = lasting._make
    made: list[Any] = []

    def same(making: Any, optimizer: Any, number: int, kept: Any) -> Any:
        made.append(made[0] if made else make(making, optimizer, number, kept))
        made[0].optimizer = optimizer
        return made[0]

    lasting._make = same
    live(renewed)
    live(lasting)
    assert equal(weights(renewed), weights(lasting))
    assert equal(renewed.state(), lasting.state())
    assert len(made) == (1 if name == "joint" else 3)


@pytest.mark.parametrize("name", ["replay", "gdumb", "spike-replay", "icarl", "si"])
def test_a_stopped_experience_leaves_no_trace(name: str, make_learner: Any) -> None:
    whole, stopped = make_learner(name), make_learner(name)
    live(whole)
    live(stopped, 1)
    before, asked = weights(stopped), itertools.count(1)
    (lesson,) = stopped.learn(stopped.stream.train[1], stop=lambda: next(asked) == 3)
    assert (stopped.stopped, stopped.learned) == (True, 1)
    assert 0 < lesson.images < lesson.total
    assert equal(weights(stopped), before)
    for _ in stopped.learn(stopped.stream.train[1], every=0.0):
        break  # whoever watches may also go away
    live(stopped)
    assert not stopped.stopped
    assert equal(weights(stopped), weights(whole))


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_nor_in_moments_that_go_on(optimizer: str, make_learner: Any) -> None:
    whole, stopped = (make_learner("naive", fresh_optimizer=False, optimizer=optimizer) for _ in range(2))
    live(whole)
    live(stopped, 1)
    asked = itertools.count(1)
    list(stopped.learn(stopped.stream.train[1], stop=lambda: next(asked) == 3))
    live(stopped)
    assert equal(weights(stopped), weights(whole))


def test_moments_that_go_on(make_learner: Any) -> None:
    fresh, whole, broken, resumed = (make_learner("naive", fresh_optimizer=k == 0) for k in range(4))
    live(fresh)
    live(whole)
    live(broken, 1)
    resumed.load_state(broken.state())
    live(resumed)
    assert equal(weights(resumed), weights(whole))
    assert not equal(weights(fresh), weights(whole))


def test_random_numbers_are_its_own(make_learner: Any) -> None:
    alone, watched = make_learner("replay"), make_learner("replay")
    live(alone)
    torch.manual_seed(5)
    wanted = torch.rand(4)
    torch.manual_seed(5)
    got = [torch.rand(1)]
    for experience in watched.stream.train:
        for number, _ in enumerate(watched.learn(experience, every=0.0)):
            if len(got) < 4:
                got.append(torch.rand(1))
            if number == 3:
                watched.scores(watched.stream.test[0])  # a look at the network does not change it
    assert torch.equal(torch.cat(got), wanted)
    assert equal(weights(watched), weights(alone))


def test_seeds_matter(make_learner: Any) -> None:
    one, other = make_learner("replay", seed=1), make_learner("replay", seed=2)
    live(one)
    live(other)
    assert not equal(weights(one), weights(other))


# What is learned


def test_replay_forgets_less_than_naive(make_learner: Any) -> None:
    recipe = {"epochs": 16, "batch_size": 5, "channels": (16, 32)}
    naive, replay = (make_learner(name, **recipe) for name in ("naive", "replay"))
    live(naive)
    lessons = live(replay)
    assert np.mean(answers(replay)) > np.mean(answers(naive)) + 0.3
    assert answers(replay)[0] > answers(naive)[0] + 0.3
    assert lessons[-1].accuracy > lessons[0].accuracy


def test_heads_of_other_tasks_are_not_asked(make_learner: Any) -> None:
    naive = make_learner("naive", "task", epochs=6, batch_size=5)
    live(naive)
    before = answers(naive)[-1]
    assert before > 0.7, "chance is a half"
    head = naive.network.network[-1]
    with torch.no_grad():
        head.weight[:4] = torch.nan  # of the first two tasks
    assert answers(naive)[-1] == before


@pytest.mark.slow
def test_a_bf16_life(make_learner: Any) -> None:
    one, full = make_learner("replay", precision="bf16"), make_learner("replay")
    live(one)
    live(full)
    assert {x.dtype for x in weights(one).values()} <= {torch.float32, torch.int64}
    assert not equal(weights(one), weights(full))


# Reports


@pytest.mark.parametrize(
    ("name", "memory", "options", "sizes", "ann"),
    [
        ("gem", 3, {}, {}, False), ("agem", 3, {}, {}, True), ("agem", 60, {"sample_size": 1}, {}, False),
        ("mir", 1, {}, {}, True), ("mir", 60, {"subsample": 1}, {}, False), ("gdumb", 1, {}, {}, True),
        ("der", 1, {}, {"batch_size": 1}, False), ("er-ace", 60, {}, {"batch_size": 1, "memory_batch_size": 20}, True),
        ("naive", 1, {}, {"batch_size": 1}, False),
    ],
)  # fmt: skip
def test_memories_and_mini_batches_of_a_single_sample(
    name: str, memory: int, options: Any, sizes: dict[str, int], ann: bool, make_learner: Any
) -> None:
    config = DenseConfig(in_channels=1, image_size=(8, 8), n_classes=6, T=2, hidden=(8, 8))
    network = twin(config) if ann else Dense(config)
    learner = make_learner(name, memory=memory, options=options, network=network, **sizes)
    live(learner)
    assert learner.learned == 3


def test_lessons_say_where_an_experience_stands(make_learner: Any) -> None:
    pieces = live(make_learner("replay", epochs=2, passes=2), 2, every=0.0)
    whole = live(make_learner("replay", epochs=2, passes=2), 2)
    assert [(x.experience, x.epoch) for x in whole] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert [x.images / x.total for x in whole] == [0.5, 1.0, 0.5, 1.0]
    totals = [2 * len(x.dataset) for x in make_learner("naive").stream.train]
    assert [x.total for x in whole] == [totals[0], totals[0], totals[1], totals[1]]
    updates = 2 * -(-totals[0] // 20)  # two passes over batches of 10, in one of two epochs
    assert len([x for x in pieces if (x.experience, x.epoch) == (0, 0)]) == updates
    assert all(0 <= x.accuracy <= 1 and x.loss > 0 for x in pieces)


def test_joint_learns_all_in_the_first(make_learner: Any) -> None:
    joint = make_learner("joint")
    first = live(joint, 1)
    before = weights(joint)
    assert first[-1].total == sum(len(x.dataset) for x in joint.stream.train)
    assert live(joint) == []
    assert joint.learned == 3
    assert equal(weights(joint), before)


def test_bytes_of_a_memory(make_learner: Any) -> None:
    """A digit has 64 bytes, six classes have 24 bytes of scores."""
    replay, naive, lwf, der = (make_learner(name) for name in ("replay", "naive", "lwf", "der"))
    for learner in (replay, naive, lwf, der):
        live(learner)
    network = sum(x.nbytes for x in naive.network.state_dict().values())
    weights_of_buffers = 4 * 60
    assert (replay.replay_bytes, replay.memory_bytes) == (64 * 60, 64 * 60 + weights_of_buffers)
    assert (naive.replay_bytes, naive.memory_bytes) == (0, 0)
    assert (lwf.replay_bytes, lwf.memory_bytes) == (0, network)
    assert der.memory_bytes == (64 + 24) * 60 + weights_of_buffers
    by_bytes = make_learner("replay", memory_bytes=64 * 33 + 5)
    live(by_bytes)
    assert by_bytes.replay_bytes == 64 * 33


def test_states_hold_no_images(make_learner: Any) -> None:
    replay = make_learner("replay")
    live(replay)
    groups = replay.state()["memory"]["groups"]
    assert sum(len(group["rows"]) for group in groups) == 60
    assert all(group["rows"].dim() == 1 for group in groups)


def test_cost(make_learner: Any) -> None:
    spiking, ann = make_learner("replay"), make_learner("replay", ann=True)
    assert spiking.cost(spiking.stream.test[0]).spikes_per_decision > 0
    assert ann.cost(ann.stream.test[0]).spikes_per_decision == 0


def test_cost_is_measured_on_all_classes(make_learner: Any, sorted_stream: Any) -> None:
    learner = make_learner("replay", stream=sorted_stream)
    every, few = (learner.cost(sorted_stream.train[0], n).spikes_per_decision for n in (1000, 9))
    x = torch.stack([sample[0] for sample in sorted_stream.train[0].dataset])
    with torch.no_grad(), Meter(learner.network.eval()) as meter:
        learner.network(sorted_stream.normalized(x))
    assert every == pytest.approx(meter.cost().spikes_per_decision)
    assert few == pytest.approx(every, rel=0.1)


# What cannot work is refused before anything is learned


@pytest.mark.parametrize(
    ("name", "scenario", "changes", "message"),
    [
        (
            "task-gates",
            "class",
            {},
            "task-gates is not allowed with scenario: class, since it needs task labels; set scenario: task",
        ),
        ("icarl", "domain", {}, "icarl is not allowed with scenario: domain; set scenario: class"),
        ("der", "class", {"memory": 9}, "memory: got 9 samples, allowed for der here are 10 or more"),
        ("er-aml", "class", {"memory": 59}, "er-aml here are 60 or more"),
        ("er-aml", "class", {"memory": 200, "batch_size": 33}, "batch_size: got 33, allowed for er-aml here is "),
        ("agem", "class", {"memory": 2}, "agem here are 3 or more"),
        ("replay", "class", {"memory_bytes": 63}, "memory_bytes: got room for 0 samples"),
        ("spike-replay", "class", {"options": {"layer": 1}}, "layer: got 1, allowed are layers of neurons: 2, 6"),
    ],
)
def test_refusals(name: str, scenario: str, changes: Any, message: str, make_learner: Any) -> None:
    with pytest.raises(ValueError, match=message):
        make_learner(name, scenario, **changes)


def test_a_network_for_another_stream(make_learner: Any, streams: dict[str, Stream]) -> None:
    network = make_learner("naive").network
    assert n_outputs(streams["class"]) == n_outputs(streams["task"]) == 6
    assert n_outputs(streams["domain"]) == 2
    with pytest.raises(ValueError, match="n_classes: got a network with 6 outputs, allowed are 2"):
        make_learner("naive", "domain", network=network)


def test_experiences_come_in_their_order(make_learner: Any) -> None:
    learner = make_learner("naive")
    with pytest.raises(ValueError, match="experience: got number 1, allowed is 0"):
        list(learner.learn(learner.stream.train[1]))


def test_a_loss_that_is_not_finite(make_learner: Any) -> None:
    learner = make_learner("naive", ann=True, optimizer="sgd", learning_rate=1e30)
    before = weights(learner)
    with pytest.raises(NotFinite, match="experience 0, epoch 0"):
        live(learner)
    assert equal(weights(learner), before)


def test_configs_do_not_import_avalanche() -> None:
    code = "import sys, snn4.learners.continual.learner; sys.exit('avalanche' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
