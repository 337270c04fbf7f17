"""Lives that sleep, and evolve."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from run_folders import events_in, only, read, untimed
from stories import Story, after, of

from snn4.agent.config.file import ConfigError
from snn4.agent.evolution.generation import PARENT
from snn4.agent.evolution.trials import WorkersLost
from snn4.agent.life.config import LifeConfig
from snn4.agent.life.life import Life
from snn4.agent.life.lived import Lived
from snn4.agent.run.events import Event, Evolved, Learned, Noted, Saved

Tiny = Callable[..., LifeConfig]
Cli = Callable[..., Any]

SMALLER = (
    "objectives: [parameters, return], prefer: parameters, "
    "ranges: {policy.net_arch.0: [4, 16], policy.net_arch.1: [4, 16]}"
)
"""Preferences of which it is known before who will be adopted: whoever is smaller."""
EVOLVING = (
    "evolution={every: 128, population: 3, trial: 64, episodes: 4, genes: [policy.net_arch], "
    f"lessons: 0.5, {SMALLER}}}"
)


@pytest.fixture
def evolving(tiny: Tiny) -> Callable[..., LifeConfig]:
    return lambda *overrides: tiny("evaluation.episodes=4", EVOLVING, *overrides)


def test_a_life_adopts_what_is_better_and_counts_the_steps_of_all_trials(evolving: Tiny, tmp_path: Path) -> None:
    life = Life(evolving())
    events = Story(life, tmp_path).tell()
    news = of(Evolved, events)
    ends = [event for event in news if not event.asleep]
    adopted = [event for event in ends if event.adopted is not None]
    assert adopted
    assert news[0].asleep
    assert news[0].generation == 0
    for event in adopted:
        rows = {row["number"]: row for row in event.candidates}
        assert rows[event.adopted]["scores"]["parameters"] < rows[PARENT]["scores"]["parameters"]
        assert event.genes | rows[event.adopted]["genes"] == event.genes
    organism = life.beings[0].organism
    assert organism.config.net_arch[0] == adopted[-1].genes["policy.net_arch.0"] < 16
    learned = [event for event in events if isinstance(event, (Learned, Evolved))]
    trials = sum(row["steps"] for event in ends for row in event.candidates)
    awake = sum(
        late.step - (early.step if isinstance(early, Learned) else 0)
        for early, late in itertools.pairwise(learned)
        if isinstance(early, Learned) and isinstance(late, Learned)
    )
    assert life.age == organism.age >= 512
    assert trials > 0
    assert awake < life.age
    assert life.summary()["evolution"]["adopted"] == [str(event.adopted) for event in adopted]


def test_a_life_that_is_killed_asleep_goes_on_as_if_it_had_not_been(evolving: Tiny, tmp_path: Path) -> None:
    config = evolving()
    life = Life(config)
    events = Story(life, tmp_path).tell()
    places = [place for place, event in enumerate(events, 1) if isinstance(event, Saved)]
    news = [place for place, event in enumerate(events, 1) if isinstance(event, Evolved)]
    asleep = [number for number, place in enumerate(places, 1) if news[0] < place < news[3]]
    for number in (asleep[0], asleep[len(asleep) // 2], asleep[-1]):
        again = Life(config)
        story = Story(again, tmp_path)
        story.restore(number)
        assert _unnumbered(after(story.tell())) == _unnumbered(events[places[number - 1] :]), number
        assert untimed(again.summary()) == untimed(life.summary())
        assert [trial.params for trial in _trials(again)] == [trial.params for trial in _trials(life)]


def test_who_is_stopped_asleep_does_not_repeat_finished_trials(evolving: Tiny, tmp_path: Path) -> None:
    story = Story(Life(evolving()), tmp_path)
    events = story.tell_until(lambda event: isinstance(event, Evolved))
    assert isinstance(events[-2], Saved)
    again = Story(Life(evolving()), tmp_path)
    again.restore()
    generation = again.work.sleep.generation  # type: ignore[attr-defined]
    assert generation is not None
    assert {len(candidate.results) for candidate in generation.candidates.values()} <= {0, 1}


@pytest.mark.slow
def test_two_workers_give_the_same_life(evolving: Tiny, tmp_path: Path) -> None:
    alone = Story(Life(evolving()), tmp_path / "1").tell()
    together = Story(Life(evolving("evolution.workers=2")), tmp_path / "2").tell()
    assert together == alone


def test_candidates_without_a_spike_are_stopped(tiny: Tiny, tmp_path: Path) -> None:
    silent = "ranges: {policy.neuron.v_threshold: [0.5, 90000]}"
    life = Life(
        tiny(
            "evaluation.episodes=4",
            "policy.neuron.v_threshold=0.5",
            "evolution={every: 128, population: 4, trial: 64, episodes: 4, lessons: 0, "
            f"sampler: random, genes: [policy.neuron.v_threshold], {silent}}}",
        )
    )
    news = of(Evolved, Story(life, tmp_path).tell())
    stopped = [row for event in news for row in event.candidates if row["stopped"]]
    assert stopped
    assert all(row["stopped"] == "silent: no neuron spikes" and not row["scores"] for row in stopped)
    assert all(event.adopted not in {row["number"] for row in stopped} for event in news)


def test_twins_do_not_evolve(evolving: Tiny, tmp_path: Path) -> None:
    life = Life(evolving("ann_twin=true"))
    events = Story(life, tmp_path).tell()
    assert {event.being for event in of(Evolved, events)} == {"organism"}
    assert life.beings[1].organism.config.net_arch == (16, 16)


def test_a_life_without_evolution_is_as_before(tiny: Tiny, tmp_path: Path) -> None:
    life = Life(tiny())
    assert not of(Evolved, Story(life, tmp_path).tell())
    assert "evolution" not in life.summary()
    assert "sleep" not in life.state()["learner"]


def test_remembered_tasks_count_and_are_not_lost(evolving: Tiny, tmp_path: Path) -> None:
    world = "world=[{environment: CartPole-v1, steps: 256}, {environment: Acrobot-v1, steps: 512}]"
    life = Life(evolving(world, "world.1.kwargs.max_episode_steps=50", "protection.kind=replay"))
    events = Story(life, tmp_path).tell()
    late = [event for event in of(Evolved, events) if event.task == "Acrobot-v1" and event.adopted is not None]
    assert late
    organism = life.beings[0].organism
    shapes = {name: memory.parameters["action_net.weight"].shape for name, memory in organism.tasks.items()}
    assert shapes == {
        "CartPole-v1": torch.Size([2, organism.config.net_arch[-1]]),
        "Acrobot-v1": torch.Size([3, organism.config.net_arch[-1]]),
    }
    assert all(life.beings[0].scores)


def test_weights_that_a_memory_protects_keep_their_form(tiny: Tiny) -> None:
    world = "world=[{environment: CartPole-v1, steps: 256}, {environment: Acrobot-v1, steps: 512}]"
    from snn4.agent.life.sleep import evolving as genes

    config = tiny(world, "evolution={population: 2, trial: 64}", "protection.kind=ewc")
    assert not any(locus.gene.form for locus in genes(config).values())


def test_workers_that_are_lost_do_not_end_a_life(
    evolving: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    life = Life(evolving())
    assert life.sleep is not None
    run, calls = life.sleep.workers.run, []

    def lost(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 1:
            raise WorkersLost("all workers are gone")
        return run(*arguments)

    monkeypatch.setattr(life.sleep.workers, "run", lost)
    events = Story(life, tmp_path).tell()
    assert any("all workers are gone" in note.text for note in of(Noted, events))
    first, *rest = [event for event in of(Evolved, events) if not event.asleep]
    assert first.adopted is None
    assert first.reason == "its trials could not be run"
    assert any(event.adopted is not None for event in rest)
    assert life.finished


def test_the_run_folder_tells_the_lineage_and_evaluates_what_has_evolved(
    cli: Cli, tiny_yaml: Path, tmp_path: Path
) -> None:
    assert cli("run", tiny_yaml, "evaluation.episodes=4", EVOLVING, "--runs-dir", tmp_path).status == 0
    folder = only(tmp_path)
    summary = read(folder / "summary.json")
    (name,) = optuna.get_all_study_names(f"sqlite:///{folder / 'evolution.db'}")
    study = optuna.load_study(study_name=name, storage=f"sqlite:///{folder / 'evolution.db'}")
    assert len(study.trials) == summary["evolution"]["candidates"]
    adopted = [str(trial.number) for trial in study.trials if trial.user_attrs.get("adopted")]
    assert adopted == summary["evolution"]["adopted"] != []
    ended = [event for event in events_in(folder) if isinstance(event, Evolved) and not event.asleep]
    assert len(ended) == summary["evolution"]["generations"]
    result = cli("evaluate", folder, "--json")
    assert json.loads(result.out)["tasks"]["CartPole-v1"]["parameters"] == summary["tasks"]["CartPole-v1"]["parameters"]
    lived = Lived.of(folder)
    assert lived.organism("organism").config.net_arch[0] == summary["evolution"]["genes"]["policy.net_arch.0"]


def test_a_database_that_cannot_be_reached_is_told_before_the_life_begins(
    cli: Cli, tiny_yaml: Path, tmp_path: Path
) -> None:
    missing = f"evolution.storage=sqlite:///{tmp_path / 'no folder' / 'x.db'}"
    result = cli("run", tiny_yaml, "evaluation.episodes=4", EVOLVING, missing, "--runs-dir", tmp_path / "runs")
    assert result.status == 2
    assert "evolution.storage" in result.err
    assert not (tmp_path / "runs").exists()


BAD = {
    "population=1": "population: got 1, allowed is a whole number >= 2",
    "population=900": "evolution: got population 900 x trial 64 steps, allowed are fewer than the 512",
    "objectives=[return, speed]": "objectives: got return, speed, allowed are return, synaptic_operations",
    "prefer=speed": "prefer: got 'speed', allowed is one of",
    "genes=[policy.size]": "genes: got 'policy.size', allowed are policy.net_arch.0",
    "ranges={policy.T: [3, 2]}": "ranges.policy.T: got [3, 2], allowed are two numbers",
    "ranges={policy.net_arch.1: [20, 80]}": "policy.net_arch.1 is 16, allowed for evolution is 20 to 80",
    "sampler=cmaes": "sampler: got cmaes with 2 objectives, allowed is one",
    "lessons=2": "lessons: got 2",
}


@pytest.mark.parametrize("change", BAD)
def test_bad_input_is_refused_before_the_life_begins(tiny: Tiny, change: str) -> None:
    with pytest.raises(ConfigError) as caught:
        tiny(EVOLVING, f"evolution.{change}")
    assert BAD[change] in str(caught.value)


def _trials(life: Life) -> list[optuna.trial.FrozenTrial]:
    assert life.sleep is not None
    return life.sleep.lineage.study.trials


def _unnumbered(events: list[Event]) -> list[Event]:
    return [Saved("", event.age) if isinstance(event, Saved) else event for event in events]
