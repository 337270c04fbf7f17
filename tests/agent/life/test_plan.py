from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from snn4.agent.life.config import LifeConfig, load, load_continual
from snn4.agent.life.life import Life, live
from snn4.agent.life.plan import Place, places, plan, stream_plan
from snn4.agent.run.events import Recalled
from snn4.agent.run.journal import Journal

STREAM = [
    "world=[{environment: CartPole-v1, steps: 128}, {environment: Acrobot-v1, steps: 192}, "
    "{environment: CartPole-v1, steps: 64, name: CartPole-v1, variation: {physics: {gravity: 15}}}]",
    "world.1.learner={algorithm: DQN}",
]


def text(config: LifeConfig, found: dict[str, Place] | None = None) -> str:
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(plan(config, found or {}))
    return console.export_text()


def line(said: str, number: int) -> str:
    (found,) = (row for row in said.splitlines() if re.match(rf"│ +{number} │", row))
    return found


def test_tasks_in_order_and_what_they_come_back_to(tiny: Callable[..., LifeConfig]) -> None:
    said = text(tiny(*STREAM, "protection={kind: replay, samples: 300}", "ann_twin=true"))
    assert "tiny, seed 0: 384 steps" in said
    assert re.search(r"CartPole-v1 +│ +128 │ +0 │ PPO +│ +│", line(said, 0))
    assert re.search(r"Acrobot-v1 +│ +192 │ +128 │ DQN", line(said, 1))
    assert re.search(r"CartPole-v1, gravity 15 +│ +64 │ +320 │ PPO +│ task 0", line(said, 2))
    assert (
        "shared: the synapses between hidden layers (16 -> 16); own encoders and heads: CartPole-v1, Acrobot-v1" in said
    )
    assert "protection of what is shared: replay, strength 1, 300 observations a task" in said
    assert "ANN twin" in said


def test_names_are_no_markup(tiny: Callable[..., LifeConfig]) -> None:
    named = "{environment: CartPole-v1, steps: 64, name: '[/x]'}"
    assert "[/x]: CartPole-v1" in line(text(tiny(f"world=[{named}]")), 0)


def test_a_return_is_to_the_stay_with_the_same_physics() -> None:
    said = text(load("cartpole_drift"))
    back = [re.findall(r"task \d", line(said, number)) for number in range(6)]
    assert back == [[], ["task 0"], ["task 1"], ["task 0"], ["task 1"], ["task 2"]]


def test_a_return_is_to_the_stay_with_the_same_arguments(tiny: Callable[..., LifeConfig]) -> None:
    stay = "{environment: CartPole-v1, steps: 64, kwargs: {sutton_barto_reward: %s}, variation: %s}"
    told = [("true", "null"), ("false", "null"), ("true", "{}"), ("false", "null")]
    said = text(tiny(f"world=[{', '.join(stay % one for one in told)}]"))
    assert [re.findall(r"task \d", line(said, n)) for n in range(4)] == [[], ["task 0"], ["task 0"], ["task 1"]]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["protection={kind: freeze, fraction: 0.5}"], "freeze, 50% of it after the first task"),
        (["protection={kind: ewc, strength: 3}"], "ewc, strength 3, importance from 1,000 observations a task"),
        ([], "protection of what is shared: none"),
        (["policy.net_arch=[16]"], "shared: nothing; one layer"),
        (["world.1={environment: CartPole-v1, steps: 5}"], "one encoder, trunk"),
    ],
)
def test_what_is_shared(tiny: Callable[..., LifeConfig], overrides: list[str], said: str) -> None:
    assert said in text(tiny(*STREAM, *overrides))


def test_where_a_run_is(tiny: Callable[..., LifeConfig], tmp_path: Path) -> None:
    config = tiny(*STREAM, "world.1.learner=null", "ann_twin=true")
    with Journal.create(tmp_path, config) as journal:
        for event in live(Life(config, journal.folder)):
            journal.write(event)
            found = places(journal.folder)
            if found.get("ann_twin") == Place(1, 128):
                said = text(config, found)
                assert found["organism"].tested
                assert [line(said, n).count("lived") for n in range(3)] == [2, 1, 1]
                assert "128 (67%)" in line(said, 1)
    assert all(place.tested for place in places(journal.folder).values())
    assert all(line(text(config, places(journal.folder)), n).count("lived") == 2 for n in range(3))


def test_where_a_stream_is(tmp_path: Path) -> None:
    config = load_continual("split_mnist")
    with Journal.create(tmp_path, config) as journal:
        for event in (Recalled("organism", 0, []), Recalled("organism", 2, []), Recalled("ann_twin", 1, [])):
            journal.write(event)
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(stream_plan(config, places(journal.folder)))
    said = console.export_text()
    assert [line(said, n).count("learned") for n in range(5)] == [2, 1, 0, 0, 0]


def test_the_command(cli: Callable[..., Any], tiny: Callable[..., LifeConfig], tiny_yaml: Path, tmp_path: Path) -> None:
    assert "CartPole-v1" in cli("world", tiny_yaml).out
    assert "Acrobot-v1" in cli("world", "classic_stream").out
    with Journal.create(tmp_path, tiny()) as journal:
        pass
    assert "CartPole-v1" in cli("world", journal.folder).out
    split = cli("world", "split_mnist").out
    assert re.search(r"│ 4 │ 8 9", split)
    assert "class: new classes in each experience" in split
    said = cli("world", "digits")
    assert said.status == 2
    assert "describes a training" in said.err
    assert cli("world", "no_such_config").status == 2
