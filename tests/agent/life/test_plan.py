from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console, RenderableType
from stories import Story, of

from snn4.agent import kinds
from snn4.agent.life.config import LifeConfig
from snn4.agent.life.life import Life
from snn4.agent.life.plan import plan
from snn4.agent.run.events import Evaluated, Event, Learned
from snn4.agent.run.place import Place, places

Tiny = Callable[..., LifeConfig]

STREAM = [
    "world=[{environment: CartPole-v1, steps: 128}, {environment: Acrobot-v1, steps: 192}, "
    "{environment: CartPole-v1, steps: 64, name: CartPole-v1, variation: {physics: {gravity: 15}}}]",
    "world.1.learner={algorithm: DQN}",
]


def text(config: LifeConfig, known: dict[str, Place] | None = None) -> str:
    return shown(plan(config, known or {}))


def shown(picture: RenderableType) -> str:
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(picture)
    return console.export_text()


def line(output: str, number: int) -> str:
    (row,) = (candidate for candidate in output.splitlines() if re.match(rf"│ +{number} │", candidate))
    return row


def test_tasks_in_order_and_what_they_come_back_to(tiny: Tiny) -> None:
    output = text(tiny(*STREAM, "protection={kind: replay, samples: 300}", "ann_twin=true"))
    assert "tiny, seed 0: 384 steps" in output
    assert re.search(r"CartPole-v1 +│ +128 │ +0 │ PPO +│ +│", line(output, 0))
    assert re.search(r"Acrobot-v1 +│ +192 │ +128 │ DQN", line(output, 1))
    assert re.search(r"CartPole-v1, gravity 15 +│ +64 │ +320 │ PPO +│ task 0", line(output, 2))
    assert (
        "shared: the synapses between hidden layers (16 -> 16); own encoders and heads: CartPole-v1, Acrobot-v1"
        in output
    )
    assert "protection of what is shared: replay, strength 1, 300 observations per task" in output
    assert "ANN twin" in output


def test_names_are_no_markup(tiny: Tiny) -> None:
    named = "{environment: CartPole-v1, steps: 64, name: '[/x]'}"
    assert "[/x]: CartPole-v1" in line(text(tiny(f"world=[{named}]")), 0)


def test_a_return_is_to_the_stay_with_the_same_physics() -> None:
    output = text(kinds.load("cartpole_drift")[1])
    back = [re.findall(r"task \d", line(output, number)) for number in range(6)]
    assert back == [[], ["task 0"], ["task 1"], ["task 0"], ["task 1"], ["task 2"]]


def test_a_return_is_to_the_stay_with_the_same_arguments(tiny: Tiny) -> None:
    stay = "{environment: CartPole-v1, steps: 64, kwargs: {sutton_barto_reward: %s}, variation: %s}"
    stays = [("true", "null"), ("false", "null"), ("true", "{}"), ("false", "null")]
    output = text(tiny(f"world=[{', '.join(stay % arguments for arguments in stays)}]"))
    assert [re.findall(r"task \d", line(output, n)) for n in range(4)] == [[], ["task 0"], ["task 0"], ["task 1"]]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["protection={kind: freeze, fraction: 0.5}"], "freeze, 50% of it after the first task"),
        (["protection={kind: ewc, strength: 3}"], "ewc, strength 3, importance from 1,000 observations per task"),
        ([], "protection of what is shared: none"), (["policy.net_arch=[16]"], "shared: nothing; one layer"),
        (["world.1={environment: CartPole-v1, steps: 5}"], "one encoder, trunk"),
    ],
)  # fmt: skip
def test_what_is_shared(tiny: Tiny, overrides: list[str], message: str) -> None:
    assert message in text(tiny(*STREAM, *overrides))


def test_where_a_life_is(tiny: Tiny, tmp_path: Path) -> None:
    config = tiny(*STREAM, "world.1.learner=null", "ann_twin=true")
    events: list[Event] = []
    for event in Story(Life(config), tmp_path).events():
        events.append(event)
        if (known := places(events)).get("ann_twin") == Place(1, 128):
            output = text(config, known)
            assert known["organism"].tested
            assert [line(output, n).count("done") for n in range(3)] == [2, 1, 1]
            assert "128 (67%)" in line(output, 1)
    assert of(Learned, events, being="ann_twin", number=1, step=128)
    assert all(line(text(config, places(events)), n).count("done") == 2 for n in range(3))


def test_where_a_training_is() -> None:
    def learned(being: str, images: int) -> Learned:
        return Learned(being, "digits", 0, images, 300, images, None, [], {})

    def evaluated(being: str, part: Any, epoch: int) -> Evaluated:
        return Evaluated(being, "digits", 0, {"digits": {"return_mean": 0.5}}, part=part, number=epoch)

    kind, config = kinds.load("digits")
    epoch = [learned("network", 150), evaluated("network", "validation", 1)]
    for events, cells in (
        (epoch, ["150 images"]),
        ([*epoch, learned("network", 300)], ["300 images"]),
        ([*epoch, learned("ann_twin", 20)], ["150 images", "20 images"]),
        ([*epoch, evaluated("network", "test", 1)], ["tested"]),
    ):
        assert re.findall(r"\d+ images|tested", shown(kind.plan(config, places(events)))) == cells


@pytest.mark.parametrize("part", ["validation", "test"])
def test_where_a_stream_is(part: Any) -> None:
    """Its beings are tested after each experience."""
    kind, config = kinds.load("split_mnist")
    tested = [
        Evaluated(name, "", 0, {}, part=part, number=n) for name, n in (("network", 0), ("network", 2), ("ann_twin", 1))
    ]
    output = shown(kind.plan(config, places(tested)))
    assert [line(output, n).count("learned") for n in range(5)] == [2, 1, 0, 0, 0]


def test_the_command(cli: Callable[..., Any]) -> None:
    assert "Acrobot-v1" in cli("world", "classic_stream").out
    split = cli("world", "split_mnist").out
    assert re.search(r"│ 4 │ 8 9", split)
    assert "class: new classes in each experience" in split
    assert cli("world", "no_such_config").status == 2
