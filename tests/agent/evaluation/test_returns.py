from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stable_baselines3.common.evaluation import evaluate_policy
from stories import Story, of

from snn4.agent.evaluation.episodes import VALIDATION_SEED, Evaluator, evaluate
from snn4.agent.evaluation.returns import retention
from snn4.agent.life.config import LifeConfig
from snn4.agent.life.life import Life
from snn4.agent.life.page import retention_rows
from snn4.agent.run.events import Evaluated
from snn4.envs.world import TaskConfig

Tiny = Callable[..., LifeConfig]

CHANCE, GIVEN = {"a": 20.0, "b": -200.0}, {"a": 500.0, "b": None}
ORDER = ["a", "b", "a"]
ROWS = [{"a": 500.0}, {"a": 260.0, "b": -100.0}, {"a": 476.0, "b": -150.0}]


def test_returns_on_one_scale() -> None:
    table = retention(ROWS, ORDER, CHANCE, GIVEN, {})
    assert table["tasks"] == ["a", "b"]
    assert table["reference"] == {"a": 500.0, "b": -100.0}, "the best that was reached on leaving b"
    assert table["returns"] == [[500.0, None], [260.0, -100.0], [476.0, -150.0]]
    assert table["normalized"] == [[1.0, None], [0.5, 1.0], [0.95, 0.5]]
    assert table["measures"]["average_accuracy"] == pytest.approx((0.95 + 0.5) / 2)
    assert table["measures"]["forgetting"] == pytest.approx(0.5), "of b, which alone is not the last"
    json.dumps(table, allow_nan=False)


def test_what_earlier_tasks_have_taught_for_the_next() -> None:
    """Chance in ``b`` is -200, its reference -100: a quarter of the way is known before it is lived, a newborn knows
    a tenth."""
    table = retention([{"a": 500.0, "b": -175.0}, *ROWS[1:]], ORDER, CHANCE, GIVEN, {"b": -190.0})
    assert table["measures"]["forward_transfer"] == pytest.approx(0.15)
    assert table["reference"]["b"] == -100.0, "not what was tested before it was lived"


def test_a_life_that_has_only_begun() -> None:
    begun: list[list[dict[str, float]]] = [[], ROWS[:1], [{}]]
    for rows in begun:
        table = retention(rows, ORDER, CHANCE, GIVEN, {})
        assert len(table["normalized"]) == len(table["order"]) == len(rows)
        json.dumps(table, allow_nan=False)
        assert len(retention_rows(table)) == 1 + len(rows) + 2


def test_a_task_in_which_chance_is_as_good_as_anything_has_no_scale() -> None:
    for reached in (20.0, 15.0):  # less than chance is no scale either: the worse, the higher would be the percents
        assert retention([{"a": reached}], ["a"], CHANCE, {"a": None}, {})["normalized"] == [[None]]
    assert retention([{"a": 400.0}], ["a"], CHANCE, {"a": 10.0}, {})["normalized"] == [[None]]


def test_chance_is_what_random_actions_get() -> None:
    evaluator, task = Evaluator(), TaskConfig("CartPole-v1", 1)
    got = evaluator.chance(task, 40)
    assert evaluator.chance(task, 40) == Evaluator().chance(task, 40) == got

    random = np.random.default_rng(0)

    class Random:
        def predict(self, observation: Any, **_: Any) -> tuple[Any, Any]:
            return random.integers(2, size=len(observation)), None

    env = task.make(40)
    env.seed(VALIDATION_SEED)
    others, _ = evaluate_policy(Random(), env, 200)  # type: ignore[arg-type]
    assert got == pytest.approx(others, abs=6)
    assert 15 < got < 32


STREAM = [
    "world=[{environment: CartPole-v1, steps: 128, reference: 500}, {environment: Acrobot-v1, steps: 128, "
    "kwargs: {max_episode_steps: 50}}, {environment: CartPole-v1, steps: 128}]",
    "ann_twin=true",
]


def test_a_life_tells_what_it_retained(tiny: Tiny, tmp_path: Path) -> None:
    life = Life(tiny(*STREAM))  # the reference of the first stay is that of the last one, too
    story = Story(life, tmp_path)
    events, summary = story.tell(), life.summary()
    for being in ("organism", "ann_twin"):
        table = summary["retention"][being]
        assert table["order"] == ["CartPole-v1", "Acrobot-v1", "CartPole-v1"]
        assert table["reference"]["CartPole-v1"] == 500
        # A row is the validation at the moment whose weights were kept; the next task is tested as it begins.
        stays = of(Evaluated, events, being=being, part="validation")
        first, *later = zip(table["returns"], stays, strict=True)
        assert first[0] == [first[1].scores["CartPole-v1"]["return_mean"], pytest.approx(-50)]
        for row, event in later:
            assert row == [s["return_mean"] for s in event.scores.values()]
        newborn = next(b for b in life.beings if b.name == being).newborn
        assert newborn == {"Acrobot-v1": pytest.approx(-50)}
        assert table["measures"]["forward_transfer"] is None or abs(table["measures"]["forward_transfer"]) < 1e-9
        assert (table["memory_bytes"], table["replay_bytes"]) == (0, 0)
    json.dumps(summary["retention"], allow_nan=False)
    again = Life(life.config)
    Story(again, tmp_path).restore()
    assert again.summary()["retention"] == summary["retention"]


def test_drift_is_told_by_its_physics(tiny: Tiny, tmp_path: Path) -> None:
    """Two physics under one name: one encoder and head, a column, chance and test for each."""
    stays = "{environment: CartPole-v1, name: pole, steps: 128", "variation: {physics: {length: 2.0}}}"
    world = f"world=[{stays[0]}}}, {stays[0]}, {stays[1]}, {stays[0]}}}]"
    life = Life(tiny(world, "protection={kind: replay, samples: 30}"))
    Story(life, tmp_path).tell()
    summary, longer = life.summary(), "pole, length 2"
    table = summary["retention"]["organism"]
    assert (table["tasks"], table["order"]) == (["pole", longer], ["pole", longer, "pole"])
    assert list(summary["tasks"]) == ["pole", longer]
    assert table["chance"]["pole"] != table["chance"][longer]
    assert list(life.beings[0].organism.tasks) == ["pole"]
    assert all(value is not None for row in table["returns"] for value in row)
    assert table["replay_bytes"] == table["memory_bytes"] > 30 * 4 * 4, "observations of one task, and what was decided"
    being = life.beings[0]
    for value, task in zip(table["returns"][-1], being.world.seen, strict=True):
        normalization = being.organism.tasks[task.name].normalization
        env = being.evaluator.environment(task, 3)
        assert evaluate(being.policy(task), env, 3, VALIDATION_SEED, normalization)["return_mean"] == value


def test_one_task_has_nothing_to_retain(tiny: Tiny) -> None:
    assert "retention" not in Life(tiny()).summary()
