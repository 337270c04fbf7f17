from __future__ import annotations

import pytest
from evolutions import ADOPTED, BORN, FIRST, KIND, SECOND, STORY, WIDTH, T, row, told

from snn4.agent.show.generations import Generations, Objectives, changed, changes, gene, short_names, spans_decades


def test_the_newest_news_of_each_generation_counts() -> None:
    first, second = Generations(STORY)
    assert (first.event, second.event) == (FIRST[-1], SECOND[-1])
    assert [one.number for one in first.candidates] == [0, 1, 2, 3]
    assert first.parent is not None
    assert first.parent.scores == {"synaptic_operations": 1600.0, "return": 100.0}


def test_candidates_have_all_genes_although_events_tell_the_changed_ones() -> None:
    first, second = Generations(STORY)
    assert first.genes == BORN  # although its last event has the genes of the adopted one
    assert [one.genes for one in first.candidates] == [BORN, {**BORN, T: 8}, ADOPTED, {**BORN, KIND: "cuba"}]
    assert second.candidates[1].genes == {**ADOPTED, T: 1}


def test_who_was_adopted_stopped_or_left_behind() -> None:
    first, second = Generations(STORY)
    numbers = {name: [one.number for one in getattr(first, name)] for name in ("tested", "stopped", "halved")}
    assert numbers == {"tested": [0, 1, 2], "stopped": [3], "halved": [1]}
    assert first.adopted is first.candidates[2]
    assert second.adopted is None
    assert second.halved == []


@pytest.mark.parametrize(("events", "leader"), [(1, None), (2, 0), (3, 2)])
def test_the_leader_is_the_best_one_until_somebody_is_adopted(events: int, leader: int | None) -> None:
    latest = Generations(FIRST[:events]).latest
    assert latest is not None
    assert (latest.leader.number if latest.leader else None) == leader


def test_nobody_leads_a_generation_that_has_changed_nothing() -> None:
    latest = Generations(STORY).latest
    assert latest is not None
    assert latest.leader is None


def test_what_a_resumed_run_tells_again_comes_once() -> None:
    """Whoever follows a journal sees events that a resumed run drops and repeats."""
    again = Generations([*STORY, *FIRST[:1]])
    assert [each.event for each in again] == FIRST[:1]
    assert list(Generations([*STORY, *FIRST, *SECOND])) == list(Generations(STORY))


def test_an_evolution_that_tells_of_whole_generations_without_an_organism() -> None:
    first = told(0, [row(0, {T: 1}, 1.0), row(1, {T: 2}, 2.0)], {T: 2}, adopted=1)
    second = told(1, [row(2, {T: 3}, 3.0), row(3, {}, 2.0)], {T: 3}, adopted=2)
    generations = Generations([first, second])
    assert [one.genes for one in generations.candidates] == [{T: 1}, {T: 2}, {T: 3}, {T: 2}]
    assert [each.parent for each in generations] == [None, None]
    assert [one.number for one in generations.adopted] == [1, 2]


def test_the_return_is_the_value_wherever_it_stands() -> None:
    assert Objectives.of(Generations(STORY)) == Objectives("return", ["synaptic_operations"])
    nothing = Objectives.of(Generations(FIRST[:1]))
    assert (nothing.value, nothing.cost) == ("return", None)


def test_names_are_short_where_they_stay_different() -> None:
    names = ["policy.T", "learner.gamma", "learner.hyperparameters.gamma", "policy.neuron.kind", "policy.coding.kind"]
    assert list(short_names(names).values()) == [
        "T", "learner.gamma", "learner.hyperparameters.gamma", "neuron.kind", "coding.kind"
    ]  # fmt: skip


def test_changes_of_genes() -> None:
    after = {T: 4, WIDTH: 12, "policy.neuron.beta": 0.123456}
    assert changes(BORN, after) == [
        ("net_arch.0", "64", "12"),
        ("neuron.kind", "lif", "-"),
        ("neuron.beta", "-", "0.1235"),
    ]
    assert changed(BORN, ADOPTED) == ["T 4 → 2", "net_arch.0 64 → 12"]
    assert changed(BORN, BORN) == []
    assert [gene(value) for value in (1_000_000, 0.02, 1.0, "lif")] == ["1000000", "0.02", "1", "lif"]


@pytest.mark.parametrize(
    ("costs", "spans"), [([], False), ([0.0, 99.0], False), ([1.0, 9.0], False), ([1.0, 11.0], True)]
)
def test_costs_that_span_decades(costs: list[float], spans: bool) -> None:
    assert spans_decades(costs) == spans
