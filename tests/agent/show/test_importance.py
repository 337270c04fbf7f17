from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from evolutions import KIND, STORY, WIDTH, T, row, told
from scipy.stats import spearmanr

from snn4.agent.show.generations import Generations
from snn4.agent.show.importance import Importance, importance

OBJECTIVES = ["return", "synaptic_operations"]


def drawn(seed: int, size: int, number: int = 0, lift: float = 0.0) -> Any:
    """A generation of random candidates, many of which share values; ``lift`` is added to all returns."""
    random = np.random.default_rng(seed)
    numbers = np.hstack([random.integers(1, 8, (size, 2)), random.integers(0, 20, (size, 2))]).tolist()
    rows = [
        row(n, {T: t, WIDTH: width}, float(value) + lift, float(cost))
        for n, (t, width, value, cost) in enumerate(numbers)
    ]
    return told(number, rows, {T: 4, WIDTH: 4})


def found(*events: Any) -> Importance:
    importances = importance(Generations(events), OBJECTIVES)
    assert importances is not None
    return importances


@pytest.mark.parametrize("size", [4, 15, 60])
def test_in_one_generation_it_is_spearman_s_correlation(size: int) -> None:
    event = drawn(size, size)
    correlations = found(event).correlations
    for name, bare in ((T, "T"), (WIDTH, "net_arch.0")):
        for objective in OBJECTIVES:
            pairs = [(own["genes"][name], own["scores"][objective]) for own in event.candidates]
            assert correlations[bare][objective] == pytest.approx(spearmanr(pairs).statistic, abs=1e-12)


def test_that_later_generations_return_more_changes_nothing() -> None:
    level = found(drawn(0, 9, 0), drawn(1, 9, 1))
    rising = found(drawn(0, 9, 0), drawn(1, 9, 1, lift=1000.0))
    assert rising == level
    assert level != found(drawn(0, 9, 0))


def test_the_most_important_gene_comes_first() -> None:
    rows = [row(n, {T: n, WIDTH: width}, float(n), 1.0) for n, width in enumerate([3, 1, 4, 1, 5])]
    importances = found(told(0, rows, {}))
    assert list(importances.correlations) == ["T", "net_arch.0"]
    assert importances.correlations["T"] == {"return": pytest.approx(1.0), "synaptic_operations": 0.0}
    assert importances.candidates == 5


def test_words_are_genes_of_0_and_1() -> None:
    rows = [row(n, {KIND: "cuba" if n < 3 else "lif"}, float(n), float(-n)) for n in range(6)]
    ((name, correlations),) = found(told(0, rows, {})).correlations.items()
    wanted = spearmanr([1, 1, 1, 0, 0, 0], range(6)).statistic
    assert (name, correlations["return"]) == ("neuron.kind = cuba", pytest.approx(wanted))
    three = [row(n, {KIND: ("cuba", "lif", "alif")[n % 3]}, float(n), 0.0) for n in range(6)]
    assert len(found(told(0, three, {})).correlations) == 3


def test_a_gene_that_some_lack_is_compared_among_those_that_have_it() -> None:
    rows = [row(n, {T: n} if n % 2 else {}, float(n), 0.0) for n in range(8)]
    assert found(told(0, rows, {})).correlations["T"]["return"] > 0


def test_genes_that_do_not_vary_and_too_few_candidates() -> None:
    rows = [row(n, {T: n}, float(n), 0.0) for n in range(5)]
    assert list(found(told(0, rows, {T: 0, WIDTH: 64})).correlations) == ["T"]
    assert importance(Generations(STORY[:1]), OBJECTIVES) is None
    assert importance(Generations([told(0, rows[:3], {})]), OBJECTIVES) is None


def test_independent_genes_seldom_leave_the_limits_of_chance() -> None:
    """Of 400 correlations of random genes, about 20 do; more than 40 have a probability below one in 10,000."""
    outside = [
        abs(value) > each.chance
        for seed in range(100)
        for each in [found(drawn(seed, 15, 0), drawn(1000 + seed, 15, 1))]
        for values in each.correlations.values()
        for value in values.values()
    ]
    assert len(outside) == 400
    assert 4 <= sum(outside) <= 40
