"""Evolutions lived to their end, broken off and gone on with, with failures, and with a random search beside them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import optuna
import pytest
from run_folders import only, read
from stories import Story, after, of

from snn4.agent import kinds
from snn4.agent.config.file import ConfigError
from snn4.agent.errors import CannotGoOn
from snn4.agent.life.life import Life
from snn4.agent.run.events import Ended, Evaluated, Event, Evolved, Noted, Saved
from snn4.agent.run.work import OneProcess
from snn4.agent.search.config import EvolveConfig
from snn4.agent.search.search import Search
from snn4.learners.not_finite import NotFinite

Evolving = Callable[..., EvolveConfig]
Cli = Callable[..., Any]

STEPS = 64
"""Of a trial."""
FEW = ("search.genes=[policy.T]", "search.ranges={policy.T: [1, 2]}")
"""Two genomes in all."""


def search_of(config: EvolveConfig) -> Search:
    search = kinds.named("evolution").prepare(config, OneProcess())
    assert isinstance(search, Search)
    return search


class Whole(NamedTuple):
    search: Search
    events: list[Event]
    folder: Path


@pytest.fixture(scope="module")
def whole(evolved: Evolving, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """An evolution that went to its end. Tests leave it unchanged."""
    search, folder = search_of(evolved()), tmp_path_factory.mktemp("whole")
    return Whole(search, Story(search, folder).tell(), folder)


def unnumbered(events: list[Event]) -> list[Event]:
    return [Saved("", event.age) if isinstance(event, Saved) else event for event in events]


def test_an_evolution_that_is_killed_goes_on_as_if_it_had_not_been(evolved: Evolving, whole: Whole) -> None:
    events = whole.events
    places = [place for place, event in enumerate(events, 1) if isinstance(event, Saved)]
    number = len(places) // 2
    again = search_of(evolved())
    story = Story(again, whole.folder)
    story.restore(number)
    assert unnumbered(after(story.tell())) == unnumbered(events[places[number - 1] :])
    assert again.summary() == whole.search.summary()


def test_the_smallest_is_chosen_by_those_who_want_the_smallest(whole: Whole) -> None:
    ends = [event for event in of(Evolved, whole.events) if not event.asleep]
    rows = [row for event in ends for row in event.candidates]
    summary = whole.search.summary()
    assert [event.generation for event in ends] == [0, 1]
    assert len(rows) == summary["candidates"] == 6
    smallest = min(rows, key=lambda row: (row["scores"].get("parameters", 1e9), row["number"]))
    assert summary["chosen"]["number"] == smallest["number"]
    assert rows[0]["genes"] == {}, "the first candidate has the hand-set genes"
    assert summary["test"]["chosen"]["CartPole-v1"]["parameters"] == smallest["scores"]["parameters"]
    assert summary["test"]["hand_set"]["CartPole-v1"]["parameters"] == rows[0]["scores"]["parameters"]
    assert whole.search.age == summary["steps"] == sum(row["steps"] for row in rows) + 2 * STEPS


def test_who_is_stopped_in_the_midst_of_a_trial_repeats_no_finished_one(
    evolved: Evolving, whole: Whole, tmp_path: Path
) -> None:
    search, asked = search_of(evolved()), list[int]()

    def stop() -> bool:
        asked.append(search.age)
        return asked.count(STEPS) > 8  # after the first trial, within the second one

    ended = Story(search, tmp_path).tell(stop)[-1]
    assert isinstance(ended, Ended)
    assert (ended.state, ended.age) == ("interrupted", STEPS)
    again = search_of(evolved())
    story = Story(again, tmp_path)
    story.restore()
    news, *_ = of(Evolved, story.tell())
    assert [row["steps"] for row in news.candidates] == [STEPS, STEPS, 0]
    assert again.summary() == whole.search.summary()


def test_the_same_genes_are_tried_once(evolved: Evolving, tmp_path: Path) -> None:
    search = search_of(evolved(*FEW, "search.compare_random=true"))
    notes = of(Noted, Story(search, tmp_path).tell())
    assert notes[0].text == "random search, generation 0: 3 candidates"
    candidates = [one for course in search.courses.values() for one in course.candidates]
    assert len(candidates) == 12
    assert sum(one.outcome.steps for one in candidates if one.outcome) == STEPS * 2
    by_genes = {(str(one.genes), str(one.scores)) for one in candidates}
    assert len(by_genes) == 2, "equal genes have equal scores"
    volumes = search.summary()["hypervolume"]
    assert volumes["evolution"][-1] == volumes["random"][-1], "both know all there are"
    assert len(volumes["random"]) == 2


def test_candidates_that_fail_do_not_end_an_evolution(
    evolved: Evolving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lives = Life.validated

    def explodes(life: Life, stop: Callable[[], bool]) -> Any:
        if life.config.policy.T == 1:
            raise NotFinite("step 64: the loss is nan")
        return lives(life, stop)

    monkeypatch.setattr(Life, "validated", explodes)
    search = search_of(evolved(*FEW))
    events = Story(search, tmp_path).tell()
    rows = [row for event in of(Evolved, events) if not event.asleep for row in event.candidates]
    failed = [row for row in rows if row["genes"]]
    assert failed
    assert {(row["stopped"], bool(row["scores"])) for row in failed} == {("step 64: the loss is nan", False)}
    states = {trial.number: trial.state for trial in search.courses["evolution"].lineage.study.trials}
    assert {states[row["number"]] for row in failed} == {optuna.trial.TrialState.FAIL}
    assert search.summary()["failed"] == len(failed)
    assert search.summary()["chosen"]["genes"] == search.genes

    monkeypatch.setattr(Life, "validated", lambda *_: (_ for _ in ()).throw(NotFinite("all is nan")))
    with pytest.raises(CannotGoOn, match="no candidate has a score: all is nan"):
        Story(search_of(evolved(*FEW)), tmp_path / "none").tell()


def test_silent_candidates_fail(evolved: Evolving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    silent = Evaluated("organism", "CartPole-v1", 64, {"CartPole-v1": {"spikes_per_decision": 0.0}}, best=True)
    monkeypatch.setattr(Life, "_live_through_world", lambda *_: iter([silent]))
    with pytest.raises(CannotGoOn, match="no candidate has a score: silent: no neuron spikes"):
        Story(search_of(evolved(*FEW)), tmp_path).tell()


def test_the_champion_is_a_config_that_reaches_what_was_tested(cli: Cli, tiny_yaml: Path, tmp_path: Path) -> None:
    small = ("world.0.steps=64", "evaluation.every=64", "evaluation.episodes=2", "evaluation.test_episodes=2")
    options = ("--generations", "1", "--population", "2", "--runs-dir", tmp_path / "evolved")
    result = cli("evolve", tiny_yaml, "ann_twin=true", *small, "search.genes=[policy.T]", *options)
    assert (result.status, result.err) == (0, "")
    folder = only(tmp_path / "evolved")
    summary = read(folder / "summary.json")
    assert (summary["generations"], summary["candidates"]) == (1, 2)
    assert cli("run", folder / "champion.yaml", "--quiet", "--runs-dir", tmp_path / "runs").status == 0
    champion = read(only(tmp_path / "runs") / "summary.json")
    assert champion["config"]["name"] == "tiny-champion"
    for being, tests in (("chosen", champion["tasks"]), ("ann_twin", champion["ann_twin"])):
        scores = summary["test"][being]["CartPole-v1"]
        assert {name: tests["CartPole-v1"][name] for name in scores} == scores
    names = optuna.get_all_study_names(f"sqlite:///{folder / 'evolution.db'}")
    assert names == [folder.name]


def test_evolve_takes_over_what_a_life_says_of_its_own_evolution(cli: Cli, tiny_yaml: Path, tmp_path: Path) -> None:
    from snn4.agent.command_configs import evolution_of

    own = "evolution={population: 3, trial: 64, episodes: 4, sampler: random, genes: [policy.T]}"
    _, config = evolution_of(str(tiny_yaml), {"population": 5}, [own, "seed=4"])
    assert (config.search.sampler, config.search.genes, config.search.population) == ("random", ("policy.T",), 5)
    assert (config.seed, config.subject["seed"], config.subject["evolution"]) == (4, 4, None)
    for wrong in ("search.populaton=3", "polcy.T=3"):
        result = cli("evolve", tiny_yaml, wrong, "--runs-dir", tmp_path / "runs")
        assert (result.status, "did you mean" in result.err, result.out) == (2, True, "")
    assert not (tmp_path / "runs").exists()


def test_an_evolution_is_no_subject(cli: Cli, evolution_yaml: Path) -> None:
    result = cli("evolve", evolution_yaml)
    assert (result.status, f"start it with: snn4-agent run {evolution_yaml}" in result.err) == (2, True)


@pytest.mark.parametrize(
    "subject",
    [
        "kind: training, data: {name: nmnist}, network: {T: 10}",
        "kind: stream, stream: {data: {name: nmnist}}, network: {T: 10}",
        "kind: training, training: {T: [[10, 2]]}",
    ],
)
def test_genes_that_do_not_fit_the_data_are_refused(evolved: Evolving, subject: str) -> None:
    change = f"subject={{name: x, {subject}}}"
    with pytest.raises(ConfigError) as caught:
        evolved(change, "search.genes=[network.T]", "search.ranges={}")
    assert "search.genes: got 'network.T', allowed are network.neuron.kind" in str(caught.value)


def test_a_trial_is_one_process(evolved: Evolving) -> None:
    with pytest.raises(ConfigError, match=r"subject.fabric: got 2 devices, ddp, allowed is 1, auto"):
        evolved("subject={name: x, kind: training, fabric: {devices: 2, strategy: ddp}}", "search={}")


@pytest.mark.slow
def test_several_workers_come_to_the_same(evolved: Evolving, whole: Whole, tmp_path: Path) -> None:
    two = search_of(evolved("search.workers=2"))
    Story(two, tmp_path).tell()
    assert two.summary() == whole.search.summary()
    studies = [search.courses["evolution"].lineage.study.trials for search in (two, whole.search)]
    assert [trial.params for trial in studies[0]] == [trial.params for trial in studies[1]]
