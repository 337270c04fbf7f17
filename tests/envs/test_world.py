from __future__ import annotations

import doctest

import pytest

from snn4.envs import world
from snn4.envs.data.datasets import DataConfig
from snn4.envs.variations import VariationConfig
from snn4.envs.world import TaskConfig, World

A = TaskConfig("A", 10)
B = TaskConfig("B", 20)
A_AGAIN = TaskConfig("A", 30)
C = TaskConfig("C", 40)
TASKS = [A, B, A_AGAIN, C]


def test_examples_of_the_docstrings() -> None:
    failed, tried = doctest.testmod(world)
    assert tried > 0
    assert failed == 0


def test_order_and_position() -> None:
    life = World(TASKS)
    visited = [(task, life.position) for task in life.remaining()]
    assert visited == [(A, 0), (B, 1), (A_AGAIN, 2), (C, 3)]
    assert life.position == 4
    assert list(life.remaining()) == []


def test_a_world_left_in_a_task_is_entered_at_that_task() -> None:
    life = World(TASKS)
    for task in life.remaining():
        if task is B:
            break
    assert life.position == 1
    resumed = World(TASKS, life.position)
    assert list(resumed.remaining()) == list(life.remaining()) == [B, A_AGAIN, C]


@pytest.mark.parametrize(
    ("position", "environments"),
    [(0, ["A"]), (1, ["A", "B"]), (2, ["A", "B"]), (3, ["A", "B", "C"]), (4, ["A", "B", "C"])],
)
def test_seen_names_every_environment_once(position: int, environments: list[str]) -> None:
    assert [task.environment for task in World(TASKS, position).seen] == environments


def test_seen_takes_the_latest_stay_in_an_environment() -> None:
    assert World(TASKS, 1).seen == [A, B]
    assert World(TASKS, 2).seen == [A_AGAIN, B]


@pytest.mark.parametrize("position", [-1, 5])
def test_position_outside_the_world(position: int) -> None:
    with pytest.raises(ValueError, match=f"^position: got {position}, allowed is 0 to 4"):
        World(TASKS, position)


@pytest.mark.parametrize("steps", [0, -3])
def test_a_stay_has_steps(steps: int) -> None:
    with pytest.raises(ValueError, match=f"^steps: got {steps}, allowed is a whole number >= 1"):
        TaskConfig("A", steps)


GRAVITY = VariationConfig({"gravity": 15.0})


def test_a_stay_with_images_has_no_epochs() -> None:
    with pytest.raises(ValueError, match=r"^data.alternate_flips: got true, allowed is false"):
        TaskConfig("cifar10", 1, data=DataConfig("cifar10", augmentation="flip", alternate_flips=True))


def test_tasks_differ_by_environment_and_variation() -> None:
    named = [
        TaskConfig("CartPole-v1", 1),
        TaskConfig("CartPole-v1", 1, variation=VariationConfig()),
        TaskConfig("CartPole-v1", 1, variation=GRAVITY),
        TaskConfig("CartPole-v1", 1, variation=GRAVITY, name="CartPole-v1"),
        TaskConfig("CartPole-v1", 1, {"sutton_barto_reward": True}, name="strict"),
    ]
    names = ["CartPole-v1", "CartPole-v1", "CartPole-v1 (gravity 15)", "CartPole-v1", "strict"]
    assert [task.name for task in named] == names
    assert World(named, 4).seen == named[1:], (
        "the latest stay in each task; the drifted one counts as a task of its own"
    )


def test_labels_tell_physics_apart_that_share_a_name() -> None:
    heavy = VariationConfig({"gravity": 15.0})
    assert TaskConfig("A", 1, variation=heavy).label == TaskConfig("A", 1, variation=heavy).name == "A (gravity 15)"
    drift = TaskConfig("A", 1, variation=heavy, name="A")
    assert (drift.name, drift.label, A.label) == ("A", "A, gravity 15", "A")
    assert World([A, drift, A_AGAIN], 2).seen == [A_AGAIN, drift]


def test_a_task_makes_its_varied_environment() -> None:
    for variation, gravity in ((None, 9.8), (GRAVITY, 15.0)):
        env = TaskConfig("CartPole-v1", 1, variation=variation).make(2)
        assert [inner.gravity for inner in env.get_attr("unwrapped")] == [gravity] * 2
