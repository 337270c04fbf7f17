from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from run_folders import untimed
from stories import Story, of

from snn4.agent.evaluation.episodes import TEST_SEED, VALIDATION_SEED, evaluate
from snn4.agent.life.config import LifeConfig
from snn4.agent.life.life import Life
from snn4.agent.run.events import Began, Compared, Ended, Entered, Evaluated, Event, Learned, Noted, Saved
from snn4.learners.not_finite import NotFinite
from snn4.policies.sb3 import trunk_names

Tiny = Callable[..., LifeConfig]

OFF_POLICY = "learning_starts: 40, buffer_size: 200, batch_size: 16"
PENDULUM = ["world=[{environment: Pendulum-v1, steps: 240, kwargs: {max_episode_steps: 50}}]", "evaluation.every=80"]
KINDS = {
    "PPO": ["ann_twin=true"],
    "PPO, normalised": [*PENDULUM, "world.0.steps=512", "learner.normalize=true", "ann_twin=true"],
    "A2C": ["learner={algorithm: A2C, n_envs: 2, hyperparameters: {n_steps: 16}}"],
    "DQN": [
        f"learner={{algorithm: DQN, hyperparameters: {{{OFF_POLICY}, train_freq: 4}}}}",
        "learner.hyperparameters.target_update_interval=50", "learner.hyperparameters.exploration_fraction=0.5",
    ],
    "SAC": [
        *PENDULUM,
        f"learner={{algorithm: SAC, n_envs: 2, hyperparameters: {{{OFF_POLICY}, train_freq: 8, gradient_steps: 4}}}}",
    ],
    "TD3, normalised": [
        *PENDULUM, "learner.normalize=true", "learner.noise_std=0.1", "learner.n_envs=1", "learner.algorithm=TD3",
        f"learner.hyperparameters={{{OFF_POLICY}, train_freq: 8}}", "learner.hyperparameters.learning_starts=48",
    ],
}  # fmt: skip
STREAM = [
    "world=[{environment: CartPole-v1, steps: 128}, {environment: Acrobot-v1, steps: 256}, "
    "{environment: CartPole-v1, steps: 192}]",
    "world.1.kwargs.max_episode_steps=50",
]


def lived(config: LifeConfig, folder: Path, stop: Callable[[], bool] = lambda: False) -> list[Event]:
    return Story(Life(config), folder).tell(stop)


# The same life twice


def test_a_life_is_repeatable(tiny: Tiny, tmp_path: Path) -> None:
    config = tiny("seed=3", "ann_twin=true")
    first, second = lived(config, tmp_path / "1"), lived(config, tmp_path / "2")
    assert first == second
    scores, again = (of(Compared, events)[0].to_json() for events in (first, second))
    assert untimed(scores) == untimed(again)
    other = lived(dataclasses.replace(config, seed=4, ann_twin=False), tmp_path / "3")
    assert of(Learned, other) != of(Learned, first, being="organism")


def test_events_come_in_order(tiny: Tiny, tmp_path: Path) -> None:
    events = lived(tiny("ann_twin=true"), tmp_path)
    others = [event for event in events if not isinstance(event, (Learned, Noted))]
    being = [Entered, *[Evaluated, Saved] * 4, Evaluated, Saved]
    assert [type(event) for event in others] == [Began, *being, *being, Compared, Ended]
    assert [e.being for e in of(Entered, events)] == ["organism", "ann_twin"]
    assert [e.step for e in of(Entered, events)] == [0, 0]
    for name in ("organism", "ann_twin"):
        assert [e.age for e in of(Evaluated, events, being=name, part="validation")] == [128, 256, 384, 512]
        assert [e.step for e in of(Learned, events, being=name)] == list(range(64, 513, 64))
        assert [e.part for e in of(Evaluated, events, being=name)] == ["validation"] * 4 + ["test"]
    assert [e.path for e in of(Saved, events)] == [f"checkpoints/{n:06d}" for n in range(1, 11)]
    assert [e.age for e in of(Saved, events)] == [128, 256, 384, 512, 512, 640, 768, 896, 1024, 1024]
    assert of(Ended, events) == [Ended("finished", 1024)]
    began = of(Began, events)[0]
    assert (began.age, began.resumed, began.beings) == (0, False, ["organism", "ann_twin"])
    assert began.genome["policy.neuron.tau_mem"] == 20e-3


def test_the_twin_is_an_ann_that_lives_the_same_life(tiny: Tiny, tmp_path: Path) -> None:
    life = Life(tiny("ann_twin=true", "policy.kind=spiking"))
    events = Story(life, tmp_path).tell()
    spiking, ann = (life.summary()[key]["CartPole-v1"] for key in ("tasks", "ann_twin"))
    assert (spiking["env_steps"], spiking["episodes"]) == (ann["env_steps"], ann["episodes"]) == (512, 5)
    assert spiking["parameters"] == ann["parameters"]
    assert spiking["spikes_per_decision"] > 0 == ann["spikes_per_decision"] == ann["effective_acs"]
    assert all(e.spike_rates for e in of(Learned, events, being="organism"))
    assert not any(e.spike_rates for e in of(Learned, events, being="ann_twin"))
    # A life of an ANN alone has the same luck, and so ends the same.
    alone = Life(tiny("policy.kind=ann"))
    Story(alone, tmp_path / "alone").tell()
    assert alone.beings[0].scores["CartPole-v1"]["return_mean"] == ann["return_mean"]
    assert of(Compared, events)[0].ann_twin["CartPole-v1"] == ann


def test_tested_are_the_weights_that_validated_best(tiny: Tiny, tmp_path: Path) -> None:
    life = Life(tiny("policy.kind=ann", "world.0.steps=2048", "evaluation.episodes=10"))
    events = Story(life, tmp_path).tell()
    validations = of(Evaluated, events, part="validation")
    returns = [e.scores["CartPole-v1"]["return_mean"] for e in validations]
    assert returns[-1] < max(returns), "take another seed: here the last weights are the best ones"
    assert [e.best for e in validations] == [r >= max(returns[: i + 1]) for i, r in enumerate(returns)]
    task, being = life.config.world[0], life.beings[0]
    env = being.evaluator.environment(task, 10)
    assert evaluate(being.policy(task), env, 10, VALIDATION_SEED)["return_mean"] == max(returns)
    (test,) = of(Evaluated, events, part="test")
    env = being.evaluator.environment(task, 5, "test")
    assert {"CartPole-v1": evaluate(being.policy(task), env, 5, TEST_SEED)} == test.scores


@pytest.mark.usefixtures("strange_worlds")
def test_every_stretch_of_learning_has_seeds_of_its_own(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny("world.0.environment=strange_worlds:Diary-v0", "ann_twin=true")
    life, seeds = Story(Life(config), tmp_path).events(), []
    next(life)
    import strange_worlds  # type: ignore[import-not-found]

    monkeypatch.setattr(strange_worlds.Diary, "seeds", seeds)
    list(life)
    kinds = {"validation": VALIDATION_SEED, "test": TEST_SEED}
    given = {name: [s for s in seeds if s in range(first, first + 1000)] for name, first in kinds.items()}
    learning = [s for s in seeds if s not in given["validation"] and s not in given["test"]]
    organism, twin = learning[: len(learning) // 2], learning[len(learning) // 2 :]
    assert organism == twin
    assert len(set(organism)) == len(organism) == 4 * 4  # stretches, copies of the environment
    assert set(given["validation"]) == {VALIDATION_SEED + i for i in range(3)}
    assert set(given["test"]) == {TEST_SEED + i for i in range(5)}


# A stream of tasks


def test_a_stream_of_tasks(tiny: Tiny, tmp_path: Path) -> None:
    life = Life(tiny(*STREAM, "ann_twin=true"))
    seen: list[set[str]] = []
    memories: dict[tuple[int, str], dict[str, torch.Tensor]] = {}
    events = []
    for event in Story(life, tmp_path).events():
        events.append(event)
        if isinstance(event, Entered) and event.being == "organism":
            memories |= {(event.number, n): m.parameters for n, m in life.beings[0].organism.tasks.items()}
        if isinstance(event, Evaluated) and event.being == "organism":
            seen.append(set(event.scores))
    both = {"CartPole-v1", "Acrobot-v1"}
    assert seen == [{"CartPole-v1"}, both, both, both, both, both]
    entered = [(e.task, e.number, e.step, e.steps) for e in of(Entered, events, being="organism")]
    assert entered == [("CartPole-v1", 0, 0, 128), ("Acrobot-v1", 1, 0, 256), ("CartPole-v1", 2, 0, 192)]
    # Each task keeps its own parameters while the other is learned.
    assert memories[1, "CartPole-v1"].keys() == memories[2, "CartPole-v1"].keys()
    assert all(torch.equal(v, memories[2, "CartPole-v1"][k]) for k, v in memories[1, "CartPole-v1"].items())
    summary = life.summary()
    for half in ("tasks", "ann_twin"):
        assert {name: row["env_steps"] for name, row in summary[half].items()} == {
            "CartPole-v1": 128 + 192,
            "Acrobot-v1": 256,
        }
    assert life.age == of(Ended, events)[0].age == 2 * (128 + 256 + 192)


@pytest.mark.parametrize("normalize", [False, True])
def test_returning_to_a_task_begins_with_what_is_remembered_of_it(tiny: Tiny, tmp_path: Path, normalize: bool) -> None:
    life = Life(tiny(*STREAM, f"learner.normalize={str(normalize).lower()}"))
    for event in Story(life, tmp_path).events():
        if isinstance(event, Entered) and event.number == 2:
            break
    being = life.beings[0]
    assert being.best is None
    assert being.learner is not None
    policy = being.learner.policy
    names = trunk_names(policy)
    memory = being.organism.tasks["CartPole-v1"]
    own = {name: value for name, value in policy.state_dict().items() if name not in names.values()}
    assert own.keys() == memory.parameters.keys()
    assert all(torch.equal(value, memory.parameters[name]) for name, value in own.items())
    # The trunk is the one that Acrobot left.
    for shared, name in names.items():
        assert torch.equal(policy.state_dict()[name], being.organism.trunk[shared])
    assert {"CartPole-v1", "Acrobot-v1"} == set(being.organism.tasks)
    now = being.learner.normalization()
    assert (now is not None) == (memory.normalization is not None) == normalize
    if now and memory.normalization:
        assert now["observation"]["count"] == memory.normalization["observation"]["count"] > 128


# Interrupted lives


@pytest.mark.parametrize("kind", [*KINDS, "a stream"])
def test_a_life_killed_after_a_checkpoint_goes_on_bit_by_bit(
    tiny: Tiny, whole: Callable[[LifeConfig], Any], kind: str
) -> None:
    whole(tiny(*KINDS.get(kind, STREAM)))


@pytest.mark.parametrize(
    ("kind", "when"),
    [
        *(("PPO", when) for when in ("at the first step", "in the middle", "in the twin")),
        *((kind, "in the middle") for kind in ("DQN", "SAC")),
    ],
)
def test_a_life_that_is_asked_to_stop_ends_as_long_as_ever(tiny: Tiny, tmp_path: Path, kind: str, when: str) -> None:
    config = tiny(*KINDS[kind], "ann_twin=true")
    being = "ann_twin" if when == "in the twin" else "organism"
    enough = 0 if when == "at the first step" else config.world[0].steps / 2 - 1

    def here(event: Event) -> bool:
        place = event.step if isinstance(event, (Entered, Learned)) else -1
        return place >= enough and event.being == being  # type: ignore[attr-defined]

    events = Story(Life(config), tmp_path).tell_until(here)
    learned, saved, ended = events[-3:]
    assert isinstance(learned, Learned), "it does not stay to be validated"
    assert isinstance(saved, Saved)
    assert ended == Ended("interrupted", saved.age)
    assert (saved.age > config.world[0].steps) == (when == "in the twin")
    assert (saved.age == 0) == (when == "at the first step")

    life = Life(config)
    story = Story(life, tmp_path)
    assert story.restore() == saved.path
    assert life.age == saved.age
    rest = story.tell()
    assert of(Entered, rest)[0].being == ("ann_twin" if when == "in the twin" else "organism")
    assert rest[-1] == Ended("finished", 2 * config.world[0].steps)
    for being in life.beings:
        assert being.scores[config.world[0].environment]["env_steps"] == config.world[0].steps
    for being in ("organism", "ann_twin"):
        steps_told = [e.step for e in of(Learned, [*events, *rest], being=being)]
        assert steps_told == sorted(steps_told)


@pytest.mark.parametrize("step", [64, 128])
def test_a_validation_that_was_interrupted_is_made_up_for(tiny: Tiny, tmp_path: Path, step: int) -> None:
    """A signal in the last update of a stretch: no later life goes through that stretch again."""
    config = tiny(*STREAM, "evaluation.every=64")
    whole = lived(config, tmp_path / "whole")
    stopped = Story(Life(config), tmp_path / "stopped").tell_until(
        lambda event: isinstance(event, Learned) and event.step == step
    )
    saved, ended = stopped[-2:]
    assert len(of(Evaluated, stopped)) == step // 64 - 1
    assert ended == Ended("interrupted", step)
    story = Story(Life(config), tmp_path / "stopped")
    assert story.restore() == saved.path  # type: ignore[attr-defined]
    assert of(Evaluated, [*stopped, *story.tell()]) == of(Evaluated, whole)


def test_a_life_that_is_stopped_again_and_again(tiny: Tiny, tmp_path: Path) -> None:
    config, stays = tiny(*STREAM, "ann_twin=true"), 0
    while True:
        story = Story(Life(config), tmp_path)
        story.restore()
        end = story.tell_until(lambda event: isinstance(event, Learned))[-1]
        stays += 1
        if end == Ended("finished", 2 * (128 + 256 + 192)):
            break
        assert isinstance(end, Ended)
        assert end.state == "interrupted"
    assert stays > 5


# Not a number


def test_a_loss_that_is_not_finite(tiny: Tiny, tmp_path: Path) -> None:
    config = tiny("learner.hyperparameters.learning_rate=1e30")
    with pytest.raises(NotFinite, match=r"^organism, task 0 \(CartPole-v1\), step 64: \S*"):
        lived(config, tmp_path)


@pytest.mark.usefixtures("strange_worlds")
@pytest.mark.parametrize("algorithm", ["PPO", "DQN"])
def test_an_observation_that_is_not_finite(tiny: Tiny, tmp_path: Path, algorithm: str) -> None:
    config = tiny(
        f"learner={{algorithm: {algorithm}, n_envs: 2}}", "world.0.environment='strange_worlds:NotANumber-v0'",
        "world.0.kwargs={after: 7}",
    )  # fmt: skip
    with pytest.raises(NotFinite) as error:
        lived(config, tmp_path)
    message = str(error.value)
    assert message.startswith("organism, task 0 (strange_worlds:NotANumber-v0), step 16: observation holds nan")
    assert message.endswith("(environment 0, index [1])")


@pytest.mark.usefixtures("strange_worlds")
def test_an_observation_that_is_not_finite_in_a_validation(tiny: Tiny, tmp_path: Path) -> None:
    config = tiny(
        "world.0.environment='strange_worlds:NotANumber-v0'",
        f"world.0.kwargs={{after: 5, from_seed: {VALIDATION_SEED}, until_seed: {VALIDATION_SEED + 99}}}",
    )
    with pytest.raises(
        NotFinite, match=r"^organism, task .*NotANumber-v0.*, evaluation at step 128: observation holds nan"
    ):
        lived(config, tmp_path)


# Up to its test

TWO = "world=[{environment: CartPole-v1, steps: 128}, {environment: Acrobot-v1, steps: 128}]"


def test_a_validated_life_ends_with_its_best_validation(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny(TWO, "world.1.kwargs.max_episode_steps=50", "evaluation.episodes=2")
    best = [event for event in of(Evaluated, lived(config, tmp_path), part="validation") if event.best]
    monkeypatch.setattr("snn4.agent.life.being.TEST_SEED", None)  # no test episode is played
    life = Life(config)
    assert life.validated(lambda: False) == best[-1].scores
    assert best[-1].scores.keys() == {"CartPole-v1", "Acrobot-v1"}
    assert Life(config).validated(lambda: True) is None
    ann = Life(tiny("policy.kind=ann", "world.0.steps=128", "evaluation.episodes=2")).validated(lambda: False)
    assert ann is not None
    assert ann["CartPole-v1"]["spikes_per_decision"] == 0
