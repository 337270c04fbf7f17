from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from snn4.agent.evolution.adoption import adoptable, best, gain, hopeful, ranked
from snn4.agent.evolution.objectives import Fitness, Preference, means

WANTED = Preference.parse("synaptic_operations within 1 % of return", ("return", "synaptic_operations"))
RANDOM = np.random.default_rng(0)
NOISE = RANDOM.normal(0, 5, 20)


def fitness(returns: float, operations: float, noise: float = 1.0) -> Fitness:
    each = (returns + noise * NOISE).tolist()
    return {"task": {"return": each, "synaptic_operations": [operations + i for i in range(4)]}}


def test_a_gain_is_that_of_scipys_paired_t_test() -> None:
    candidate, parent = RANDOM.normal(3, 2, 12), RANDOM.normal(2, 2, 12)
    found = gain("return", candidate.tolist(), parent.tolist())
    limits = stats.ttest_rel(candidate, parent).confidence_interval(0.90)  # both sides together
    assert [found.least, found.most] == pytest.approx([limits.low, limits.high])
    flipped = gain("spikes", candidate.tolist(), parent.tolist())
    assert (flipped.mean, flipped.least, flipped.most) == pytest.approx((-found.mean, -found.most, -found.least))


def test_a_single_sample_has_no_noise() -> None:
    assert gain("spikes", [2.0], [3.0]).is_better
    assert not gain("spikes", [3.0], [3.0]).is_better


@pytest.mark.parametrize(
    ("candidate", "wanted"),
    [
        (fitness(100, 50), "synaptic_operations 101.5 -> 51.5"),  # cheaper, equally good
        (fitness(99.5, 50), None),  # every episode is worse: beyond the noise, although within the margin
        (fitness(100, 100), None),  # equal
        (fitness(110, 200), "return"),  # better, although dearer
        (fitness(80, 1), None),  # cheap, and bad
        (fitness(97, 50, noise=2.0), None),  # not worse beyond the noise, but by more than the margin
    ],
)
def test_only_what_is_better_beyond_the_noise_may_be_adopted(candidate: Fitness, wanted: str | None) -> None:
    why = adoptable(candidate, fitness(100, 100), WANTED)
    assert why is None if wanted is None else why is not None and why.startswith(wanted)


def test_no_task_may_become_worse() -> None:
    parent = {"one": fitness(100, 100)["task"], "two": fitness(50, 100)["task"]}
    forgetful = {"one": fitness(120, 50)["task"], "two": fitness(30, 50)["task"]}
    assert adoptable(forgetful, parent, WANTED) is None
    assert adoptable({**forgetful, "two": fitness(50, 50)["task"]}, parent, WANTED) is not None


def test_the_cheapest_of_those_close_to_the_best_is_chosen() -> None:
    candidates = {3: fitness(100, 60), 4: fitness(100.0, 40), 5: fitness(150, 90), 6: fitness(149, 70)}
    order = ranked({number: means(found) for number, found in candidates.items()}, WANTED)
    assert order == [6, 5, 3, 4]
    assert best(candidates, fitness(100, 100), WANTED) == 6
    as_good = {3: fitness(100.5, 60), 4: fitness(100, 40), 5: fitness(90, 1)}
    assert best(as_good, fitness(100.2, 100, noise=2.0), WANTED) == 4  # the noise makes the best value, not its genes
    assert best({3: fitness(90, 60)}, fitness(100, 100), WANTED) is None
    assert ranked({}, WANTED) == []


def test_the_best_and_the_cheapest_live_on_by_turns() -> None:
    parent = fitness(100, 100)
    candidates = {
        1: fitness(120, 900),
        2: fitness(100, 20),
        3: fitness(100, 30),
        4: fitness(50, 1),
        5: fitness(110, 800),
    }
    assert hopeful(candidates, parent, WANTED, 4) == [1, 2, 5, 3]
    assert hopeful(candidates, parent, Preference("return"), 2) == [1, 5]
    assert hopeful({}, parent, WANTED, 4) == []


def test_without_a_cost_the_value_counts_alone() -> None:
    wanted = Preference.parse("return", ("return", "spikes"))
    assert adoptable(fitness(110, 900), fitness(100, 100), wanted) is not None
    assert adoptable(fitness(100, 1), fitness(100, 100), wanted) is None
    assert ranked({1: {"return": 3.0}, 2: {"return": 4.0}}, wanted) == [2, 1]


@pytest.mark.parametrize("text", ["", "speed", "spikes within 1 % of return", "return within 1 % of return", "1 %"])
def test_a_preference_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"prefer: got .*allowed is one of return, synaptic_operations, or two"):
        Preference.parse(text, ("return", "synaptic_operations"))
