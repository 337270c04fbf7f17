from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stable_baselines3.common.evaluation import evaluate_policy

from snn4.agent.config import RunConfig
from snn4.agent.evaluation import VALIDATION_SEED, Evaluator
from snn4.agent.events import Evaluated
from snn4.agent.life import Life, live
from snn4.agent.life_tables import retention_rows
from snn4.agent.returns import retention
from snn4.envs.world import TaskConfig

CHANCE, GIVEN = {"a": 20.0, "b": -200.0}, {"a": 500.0, "b": None}
ORDER = ["a", "b", "a"]
ROWS = [{"a": 500.0}, {"a": 260.0, "b": -100.0}, {"a": 476.0, "b": -150.0}]


def test_returns_on_one_scale() -> None:
    found = retention(ROWS, ORDER, CHANCE, GIVEN)
    assert found["tasks"] == ["a", "b"]
    assert found["reference"] == {"a": 500.0, "b": -100.0}, "the best that was reached on leaving b"
    assert found["returns"] == [[500.0, None], [260.0, -100.0], [476.0, -150.0]]
    assert found["normalized"] == [[1.0, None], [0.5, 1.0], [0.95, 0.5]]
    assert found["measures"]["average_accuracy"] == pytest.approx((0.95 + 0.5) / 2)
    assert found["measures"]["forgetting"] == pytest.approx(0.5), "of b, which alone is not the last"
    json.dumps(found, allow_nan=False)


def test_a_life_that_has_only_begun() -> None:
    begun: list[list[dict[str, float]]] = [[], ROWS[:1], [{}]]
    for rows in begun:
        found = retention(rows, ORDER, CHANCE, GIVEN)
        assert len(found["normalized"]) == len(found["order"]) == len(rows)
        json.dumps(found, allow_nan=False)
        assert len(retention_rows(found)) == 1 + len(rows) + 2


def test_a_task_in_which_chance_is_as_good_as_anything_has_no_scale() -> None:
    assert retention([{"a": 20.0}], ["a"], CHANCE, {"a": None})["normalized"] == [[None]]


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


def test_a_life_tells_what_it_retained(tiny: Callable[..., RunConfig], tmp_path: Path) -> None:
    life = Life(tiny(*STREAM, "world.2.reference=500"), tmp_path)
    events = list(live(life))
    summary = life.summary(None)
    for being in ("organism", "ann_twin"):
        found = summary["retention"][being]
        assert found["order"] == ["CartPole-v1", "Acrobot-v1", "CartPole-v1"]
        assert found["reference"]["CartPole-v1"] == 500
        # A row is the validation at the moment whose weights were kept.
        stays = [
            [e for e in events if isinstance(e, Evaluated) and e.being == being and not e.final][i] for i in range(3)
        ]
        for row, event in zip(found["returns"], stays, strict=True):
            assert [x for x in row if x is not None] == [s["return_mean"] for s in event.scores.values()]
    json.dumps(summary["retention"], allow_nan=False)
    again = Life(life.config, tmp_path)
    again.restore()
    assert again.summary(None)["retention"] == summary["retention"]


def test_one_task_has_nothing_to_retain(tiny: Callable[..., RunConfig], tmp_path: Path) -> None:
    assert "retention" not in Life(tiny(), tmp_path).summary(None)
