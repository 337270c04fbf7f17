"""Lives with a teacher: an agent that stable-baselines3 saved, or a being of another life."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pages import Page
from rich.console import Console
from run_folders import events_in, only, untimed
from stories import Story, of
from teachers import balancer, swinger

from snn4.agent import runner
from snn4.agent.config.file import ConfigError
from snn4.agent.config.file import read as read_file
from snn4.agent.evaluation.episodes import evaluate
from snn4.agent.life import kind
from snn4.agent.life.config import LifeConfig
from snn4.agent.life.life import Life
from snn4.agent.life.plan import plan
from snn4.agent.life.teachers import Teachers
from snn4.agent.run import checkpoint
from snn4.agent.run.events import Ended, Evaluated, Learned
from snn4.agent.run.work import OneProcess
from snn4.learners.reinforcement import ReinforcementLearner
from snn4.learners.taught import TaughtLearner

Tiny = Callable[..., LifeConfig]
Cli = Callable[..., Any]
LESSONS = "steps: 320, round_steps: 64, batch_size: 32, epochs: 4, buffer: 200"
AGREEMENT = "train/agreement"


def lessons(source: Path, more: str = "") -> str:
    return f"teacher={{source: '{source}', {LESSONS}{more}}}"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An agent of CartPole."""
    return balancer(tmp_path_factory.mktemp("teacher"))


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory, tiny: Tiny) -> Path:
    """The run folder of a normalised life in CartPole and Acrobot, with its twin."""
    runs = tmp_path_factory.mktemp("runs")
    acrobot = "{environment: Acrobot-v1, steps: 64, kwargs: {max_episode_steps: 50}}"
    world = f"world=[{acrobot}, {{environment: CartPole-v1, steps: 128}}]"
    config = tiny(world, "ann_twin=true", "learner.normalize=true", "name=before")
    runner.begin(kind, config, runs, quiet=True)  # type: ignore[arg-type]
    return only(runs)


def problems(config: LifeConfig) -> list[str]:
    try:
        kind.prepare(config, OneProcess())
    except ConfigError as error:
        return [problem.removeprefix(f"{config.name}: ") for problem in error.problems]
    return []


# What a taught life does


def test_every_being_is_taught_and_then_learns_from_rewards(tiny: Tiny, saved: Path, tmp_path: Path) -> None:
    life = Life(tiny(lessons(saved), "ann_twin=true"))
    events = Story(life, tmp_path).tell()
    for being in ("organism", "ann_twin"):
        learned = of(Learned, events, being=being)
        taught = [event for event in learned if AGREEMENT in event.losses]
        assert [event.step for event in taught] == [64, 128, 192, 256, 320], "the lessons, before rewards"
        assert taught == learned[:5]
        assert learned[-1].step >= 512
        assert [event.age for event in of(Evaluated, events, being=being, part="validation")][:2] == [128, 256]
    assert life.age == 2 * learned[-1].step, "lessons count in the age"
    assert all(being.organism.tasks["CartPole-v1"].env_steps == learned[-1].step for being in life.beings)


def test_twins_without_a_teacher(tiny: Tiny, saved: Path, tmp_path: Path) -> None:
    events = Story(Life(tiny(lessons(saved, ", twins: false"), "ann_twin=true")), tmp_path).tell()
    taught = {event.being for event in of(Learned, events) if AGREEMENT in event.losses}
    assert taught == {"organism"}


def test_tasks_have_their_own_teachers(tiny: Tiny, saved: Path, tmp_path: Path) -> None:
    config = tiny(
        "world=[{environment: CartPole-v1, steps: 128}, {environment: Pendulum-v1, steps: 128, kwargs: "
        f"{{max_episode_steps: 50}}, teacher: {{source: '{swinger(tmp_path)}', steps: 64, round_steps: 64}}}}]",
        lessons(saved).replace("320", "128"), "evaluation.every=64",
    )  # fmt: skip
    assert problems(config) == []
    events = Story(Life(config), tmp_path).tell()
    taught = [(e.task, e.step) for e in of(Learned, events) if AGREEMENT in e.losses]
    assert taught == [("CartPole-v1", 64), ("CartPole-v1", 128), ("Pendulum-v1", 64)]


def test_images_have_no_teacher(tiny: Tiny, saved: Path) -> None:
    digits = "{data: {name: digits}, steps: 64}"
    config = tiny(f"world=[{{environment: CartPole-v1, steps: 512}}, {digits}]", lessons(saved))
    assert [Teachers(config).of(task) is None for task in config.world] == [False, True]
    with pytest.raises(ConfigError, match=r"world\.0\.teacher: not allowed with data"):
        tiny(f"world=[{digits}]", f"world.0.{lessons(saved)}")


@pytest.mark.parametrize(
    "changes",
    [
        ["ann_twin=true", "learner.normalize=true"],
        pytest.param(
            ["learner={algorithm: DQN, n_envs: 2, hyperparameters: {learning_starts: 40, buffer_size: 300}}"],
            marks=pytest.mark.slow,
        ),
    ],
)  # fmt: skip
def test_killed_and_resumed_is_uninterrupted(tiny: Tiny, saved: Path, whole: Any, changes: list[str]) -> None:
    """Within the lessons, after them, and between beings; bit by bit."""
    whole(tiny(lessons(saved), *changes, "world.0.steps=448", "evaluation.every=64"))


def test_a_life_in_a_run_folder_teaches(tiny: Tiny, lived: Path) -> None:
    """Its best weights, and observations by its own statistics, though the pupil does not normalise."""
    config = tiny(lessons(lived))
    assert problems(config) == []
    before = Life(kind.read(*read_file(lived / "config.yaml")))
    newest = checkpoint.newest(lived)
    assert newest is not None
    before.load_state(newest.state)
    for being, name in zip(before.beings, ("organism", "ann_twin"), strict=True):
        lesson = tiny(lessons(lived, f", being: {name}"))
        found = Teachers(lesson).of(lesson.world[0])
        assert found is not None
        task = before.config.world[1]
        env = task.make(4)
        env.seed(0)
        seen: Any = env.reset()
        memory = being.organism.tasks["CartPole-v1"]
        statistics = memory.normalization
        assert statistics is not None
        mean, var = (statistics["observation"][key] for key in ("mean", "var"))
        expected = being.policy(task).predict(((seen - mean) / var**0.5).astype("float32"), deterministic=True)[0]
        assert found[1].actions(found[1].advise(seen)).tolist() == expected.tolist()


def test_the_twin_teaches_unless_told_otherwise(tiny: Tiny, lived: Path) -> None:
    found = {}
    for more in ("", ", being: ann_twin", ", being: organism"):
        config = tiny(lessons(lived, more))
        taught = Teachers(config).of(config.world[0])
        assert taught is not None
        found[more] = taught[1].digest
    assert found[""] == found[", being: ann_twin"] != found[", being: organism"]


def test_a_taught_spiking_pupil_of_images(tiny: Tiny, tmp_path: Path) -> None:
    """An ANN that sees flattened drawings teaches a spiking network behind an encoder."""
    world = "world=[{environment: CartPolePixels-v1, steps: 64}]"
    runner.begin(kind, tiny(world, "policy.kind=ann", "evaluation.every=64"), tmp_path / "runs", quiet=True)  # type: ignore[arg-type]
    encoder = "policy.encoder={name: vgg-small, T: 2, options: {channels: [2], pools: [1], norm: none}}"
    more = lessons(only(tmp_path / "runs")).replace("320", "64")
    config = tiny(world, encoder, more, "evaluation={every: 64, episodes: 1, test_episodes: 1}")
    assert problems(config) == []
    events = Story(Life(config), tmp_path / "life").tell()
    assert [event.step for event in of(Learned, events) if AGREEMENT in event.losses] == [64]


def test_lessons_raise_the_return(tiny: Tiny, saved: Path) -> None:
    """With the same seed, in the same episodes, than before them; by what the same steps of rewards alone do, nothing
    is claimed."""
    config = tiny(
        "world.0.steps=2048", "evaluation.every=2048",
        f"teacher={{source: '{saved}', steps: 2048, round_steps: 256, epochs: 8, batch_size: 64}}",
    )  # fmt: skip
    (being,) = Life(config).beings
    task = config.world[0]
    list(being.take_up(task, lambda: False))
    env = task.make(10)
    learner = being.learner
    assert isinstance(learner, TaughtLearner)
    returns = [evaluate(learner.policy, env, 10, 7)["return_mean"]]
    list(being.learn(task, 2048, lambda: False))
    returns.append(evaluate(learner.policy, env, 10, 7)["return_mean"])
    assert returns[1] > returns[0]


def test_without_a_teacher_nothing_changed(tiny: Tiny) -> None:
    (being,) = Life(tiny()).beings
    list(being.take_up(being.world.tasks[0], lambda: False))
    assert type(being.learner) is ReinforcementLearner
    assert Life(tiny()).fingerprint == {}


def test_a_signal_within_the_lessons(tiny: Tiny, saved: Path, tmp_path: Path) -> None:
    """The round that was stopped is left out; the life goes on and ends at the same step."""
    config = tiny(lessons(saved))
    events = Story(Life(config), tmp_path).tell_until(
        lambda event: isinstance(event, Learned) and event.step == 192 and AGREEMENT in event.losses
    )
    assert of(Ended, events)[0].age == 192
    again = Life(config)
    story = Story(again, tmp_path)
    story.restore()
    rest = of(Learned, story.tell())
    assert [event.step for event in rest if AGREEMENT in event.losses] == [256, 320]
    assert again.age == rest[-1].step >= 512


# Commands


def test_distill_is_run_with_a_teacher(cli: Cli, tiny_yaml: Path, saved: Path, tmp_path: Path) -> None:
    more = ["teacher.steps=256", "teacher.round_steps=64", "teacher.batch_size=32"]
    assert cli("run", tiny_yaml, f"teacher.source={saved}", *more, "--runs-dir", tmp_path / "1").status == 0
    result = cli("distill", tiny_yaml, "--teacher", saved, *more, "--runs-dir", tmp_path / "2")
    assert (result.status, result.err) == (0, "")
    folder = only(tmp_path / "2")
    assert "agreement with the teacher" in result.out
    first, second = ([untimed(e.to_json()) for e in of(Learned, events_in(only(tmp_path / n)))] for n in "12")
    assert [row["losses"] for row in first] == [row["losses"] for row in second]
    page = Page((folder / "report.html").read_text())
    assert "CartPole-v1: agreement, %" in page.pictures
    assert cli("watch", folder, "--svg", tmp_path / "picture.svg").status == 0
    assert cli("evaluate", folder, "--json").status == 0
    saved.rename(saved.with_name("away.zip"))
    try:
        assert cli("evaluate", folder).status == 0, "a finished life needs no teacher"
        assert cli("world", folder).status == 0
    finally:
        saved.with_name("away.zip").rename(saved)
    result = cli("distill", "split_mnist", "--teacher", saved)
    assert (result.status, result.err) == (2, "--teacher: not allowed for a stream; leave it out\n")


@pytest.mark.parametrize(
    ("name", "package"),
    [("distill_lunar_lander", "Box2D"), ("distill_minatar_breakout", "minatar"), ("taught_pixel_cartpole", "torch")],
)
def test_shipped_configs_wait_for_their_teacher(cli: Cli, name: str, package: str, tmp_path: Path) -> None:
    pytest.importorskip(package)
    result = cli("run", name, "--runs-dir", tmp_path / "runs")
    assert (result.status, result.out, (tmp_path / "runs").exists()) == (2, "", False)
    assert re.fullmatch(rf"{name}: teacher: source: got 'runs/\w+', which is missing; allowed is .*\n", result.err)


def test_a_teacher_that_changed_is_noticed(cli: Cli, tiny_yaml: Path, tmp_path: Path) -> None:
    source = balancer(tmp_path)
    more = ["teacher.steps=256", "teacher.round_steps=64", "teacher.batch_size=32", "--runs-dir", tmp_path / "runs"]
    assert cli("distill", tiny_yaml, "--teacher", source, *more).status == 0
    folder = only(tmp_path / "runs")
    (folder / "summary.json").unlink()
    balancer(tmp_path, "DQN")
    result = cli("resume", folder)
    assert (result.status, "teacher of CartPole-v1" in result.err) == (2, True)


def test_the_plan_names_the_teacher(tiny: Tiny, saved: Path) -> None:
    console = Console(width=400, record=True, file=io.StringIO())
    console.print(plan(tiny(lessons(saved)), {}))
    assert f"teacher of CartPole-v1, for the first 320 steps: {saved}" in console.export_text()


# Bad input


def test_bad_input_leaves_no_folder(cli: Cli, tiny_yaml: Path, saved: Path, tmp_path: Path) -> None:
    wrong = {
        f"teacher.source={tmp_path}/none": "teacher: source: got",
        f"teacher.source={tmp_path}": "no run folder",
        f"teacher.source={tiny_yaml}": "cannot be read",
        "teacher.steps=10": "teacher.source",
        "teacher.source=''": "teacher.source: got ''",
        f"teacher={{source: {saved}, steps: 600}}": "teacher.steps: got 600, allowed are up to the 512 steps",
        f"teacher={{source: {saved}, steps: 64, loss: mse}}": "teacher: loss: got 'mse', allowed for PPO with Discrete",
        f"teacher={{source: {saved}, stepz: 64}}": "did you mean steps?",
    }
    for override, message in wrong.items():
        result = cli("run", tiny_yaml, override, "--runs-dir", tmp_path / "runs")
        assert (result.status, result.out, len(result.err.splitlines())) == (2, "", 1), result.err
        assert message in result.err
        assert not (tmp_path / "runs").exists()


def test_other_spaces(tiny: Tiny, saved: Path, lived: Path, tmp_path: Path) -> None:
    acrobot = "world=[{environment: Acrobot-v1, steps: 512}]"
    (line,) = problems(tiny(acrobot, lessons(saved)))
    assert re.match(
        r"teacher: .*teacher\.zip has observations Box\(.*\), allowed are Box\(.*\) in Acrobot-v1; give", line
    )
    (line,) = problems(tiny(lessons(swinger(tmp_path))))
    assert "has observations" in line
    (line,) = problems(tiny("world=[{environment: MountainCar-v0, steps: 512}]", lessons(lived)))
    assert "task: got 'MountainCar-v0', which" in line
    assert "allowed are Acrobot-v1, CartPole-v1" in line
    (line,) = problems(tiny(lessons(lived, ", being: relu_twin")))
    assert "being: got relu_twin, allowed is who has learned CartPole-v1" in line
    (line,) = problems(tiny(lessons(lived, ", task: Acrobot-v1")))
    assert "has observations" in line


def test_a_training_cannot_teach_a_life(tiny: Tiny, trained: Path) -> None:
    (line,) = problems(tiny(lessons(trained)))
    assert "got a training, allowed is the run folder of a life" in line


def test_nan_in_a_teacher(tiny: Tiny, tmp_path: Path) -> None:
    path = balancer(tmp_path)
    from stable_baselines3 import PPO

    model = PPO.load(path, device="cpu")
    model.policy.action_net.bias.data[0] = torch.nan
    model.save(path)
    (line,) = problems(tiny(lessons(path)))
    assert "action_net.bias holds NaN or infinity" in line


def test_carried_membranes_have_no_teacher(tiny: Tiny, saved: Path) -> None:
    with pytest.raises(ConfigError, match=r"teacher: not allowed with state: carry; set policy\.state"):
        tiny(lessons(saved), "policy.state=carry", "policy.T=1")
