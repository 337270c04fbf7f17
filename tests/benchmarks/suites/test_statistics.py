"""Statistics against rliable and SciPy, where they are at hand, and against values known by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from snn4.benchmarks.suites.statistics import (
    area_under_curve,
    bootstrap,
    interquartile_mean,
    interval,
    performance_profile,
    steps_to,
)

SCORES = np.random.default_rng(3).normal(1.0, [0.2, 0.5, 2.0], size=(6, 3))
"""(runs, tasks)"""


@pytest.mark.parametrize("runs", [1, 2, 3, 4, 5, 10])
def test_the_interquartile_mean_is_the_trimmed_mean(runs: int) -> None:
    scores = np.random.default_rng(runs).normal(size=(runs, 3))
    assert interquartile_mean(scores) == pytest.approx(stats.trim_mean(scores, 0.25, axis=None))
    np.testing.assert_allclose(interquartile_mean(scores, axis=0), stats.trim_mean(scores, 0.25, axis=0))


def test_an_outlier_does_not_move_it() -> None:
    assert interquartile_mean(np.array([[1.0], [2.0], [3.0], [1e9]])) == 2.5


def test_runs_are_drawn_within_their_task_and_keep_their_episodes() -> None:
    scores = np.array([[[1.0, 2.0], [10.0, 20.0]], [[3.0, 4.0], [30.0, 40.0]]])  # (runs, tasks, episodes)
    drawn = bootstrap(scores, lambda resample: resample, repetitions=50)
    assert drawn.shape == (50, 2, 2, 2)
    for task in range(2):
        found = {tuple(row) for row in drawn[:, :, task].reshape(-1, 2)}
        assert found == {tuple(row) for row in scores[:, task]}
    assert any(not np.array_equal(one[:, 1], 10 * one[:, 0]) for one in drawn), "tasks draw on their own"


def test_the_interval_is_that_of_scipy_for_one_task() -> None:
    scores = SCORES[:, :1]
    found = interval(scores)
    expected = stats.bootstrap(
        (scores[:, 0],), lambda x, axis: stats.trim_mean(x, 0.25, axis=axis), method="percentile", vectorized=True,
        n_resamples=4000, rng=np.random.default_rng(1),
    ).confidence_interval  # fmt: skip
    assert found["value"] == pytest.approx(interquartile_mean(scores))
    assert [found["low"], found["high"]] == pytest.approx(list(expected), abs=0.05)
    assert interval(scores) == found, "the same draws each time"


def test_one_run_has_no_interval() -> None:
    assert interval(SCORES[:1]) == {"value": pytest.approx(interquartile_mean(SCORES[:1])), "low": None, "high": None}


def test_rliable_says_the_same() -> None:
    try:
        from rliable import library, metrics
    except (ImportError, TypeError) as error:  # its dependency arch does not fit every pandas
        pytest.skip(str(error))
    marks = np.linspace(0, 2, 5)
    values, ends = library.get_interval_estimates(
        {"x": SCORES}, lambda x: np.array([metrics.aggregate_iqm(x)]), reps=4000
    )
    found = interval(SCORES)
    assert found["value"] == pytest.approx(values["x"][0])
    assert [found["low"], found["high"]] == pytest.approx(ends["x"][:, 0].tolist(), abs=0.05)
    profiles, bands = library.create_performance_profile({"x": SCORES}, marks, reps=2000)
    np.testing.assert_allclose(performance_profile(SCORES, marks), profiles["x"])
    profile = interval(SCORES, lambda drawn: performance_profile(drawn, marks))
    np.testing.assert_allclose([profile["low"], profile["high"]], bands["x"], atol=0.06)


def test_a_profile_is_the_fraction_of_runs_above_each_mark() -> None:
    scores = np.array([[0.0, 1.0], [0.5, 2.0]])
    assert performance_profile(scores, [-1.0, 0.0, 0.5, 1.5, 2.0]).tolist() == [1.0, 0.75, 0.5, 0.25, 0.0]


def test_sample_efficiency() -> None:
    steps, returns = [100.0, 200.0, 400.0], [0.0, 10.0, 20.0]
    assert area_under_curve(steps, returns) == (5 * 100 + 15 * 200) / 300
    assert area_under_curve([100.0], [3.0]) == 3.0
    assert steps_to(steps, returns, 10.0) == 200.0
    assert steps_to(steps, returns, 20.1) is None
