from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from snn4.agent.evaluation import matrix as retention
from snn4.agent.evaluation.matrix import Matrix, as_matrix, measures

PLAIN = as_matrix([[0.1, 0.2, 0.3], [0.9, 0.1, 0.4], [0.6, 0.8, 0.5], [0.3, 0.7, 1.0]])
"""Before, and after each of three experiences."""


def test_by_hand() -> None:
    assert measures(PLAIN) == pytest.approx({
        "average_accuracy": 2.0 / 3,  # of .3 .7 1.
        "average_incremental_accuracy": (0.9 + 0.7 + 2.0 / 3) / 3,
        "forgetting": (0.6 + 0.1) / 2,  # .9 -> .3, .8 -> .7
        "backward_transfer": -0.35,
        "forward_transfer": (-0.1 + 0.2) / 2,  # .2 -> .1, .3 -> .5
        "forgetting_from_best": 0.35,
    })  # fmt: skip
    assert retention.averages(PLAIN) == pytest.approx([0.9, 0.7, 2.0 / 3])
    assert retention.forgotten(PLAIN) == pytest.approx({0: 0.6, 1: 0.1})


def test_forgetting_from_the_best() -> None:
    """What was better later than just after learning is measured from there."""
    better = as_matrix([[0.0, 0.0, 0.0], [0.5, 0.0, 0.0], [0.9, 0.5, 0.0], [0.4, 0.5, 0.5]])
    assert retention.forgetting(better) == pytest.approx(0.05)
    assert retention.forgetting_from_best(better) == pytest.approx(0.25)


def test_weights_make_it_the_accuracy_over_all_samples() -> None:
    """Of 100, 200 and 700 samples 30, 140 and 700 are right."""
    assert retention.average_accuracy(PLAIN, weights=[100, 200, 700]) == pytest.approx(0.87)
    assert retention.average_accuracy(PLAIN, weights=[5, 5, 5]) == pytest.approx(retention.average_accuracy(PLAIN))


def test_what_comes_back() -> None:
    """0, 1, and 0 again: what was lost since it was learned last, and what was there before it was learned first."""
    twice = as_matrix([[0.0, 0.1], [0.8, 0.3], [0.5, 0.9], [1.0, 0.6]])
    numbers = measures(twice, order=[0, 1, 0])
    assert retention.averages(twice, [0, 1, 0]) == pytest.approx([0.8, 0.7, 0.8])
    assert numbers["forgetting"] == pytest.approx(0.3)  # of 1, as 0 has just been learned
    assert numbers["forward_transfer"] == pytest.approx(0.2)
    again = as_matrix([*twice.tolist(), [0.7, 0.9]])
    assert retention.forgotten(again, [0, 1, 0, 1]) == pytest.approx({0: 0.3})


def test_what_was_not_tested_is_left_out() -> None:
    rows: list[list[float | None]] = [[None, None, None], [0.9, None, None], [0.6, 0.8, None], [0.3, 0.7, 1.0]]
    numbers, whole = measures(as_matrix(rows)), measures(PLAIN)
    assert numbers.pop("forward_transfer") is None
    assert whole.pop("forward_transfer") is not None
    assert numbers == whole


def test_a_stream_that_goes_on() -> None:
    before, first = measures(PLAIN[:1]), measures(PLAIN[:2])
    assert set(before.values()) == {None}
    assert (first["average_accuracy"], first["forgetting"], first["forward_transfer"]) == (0.9, None, None)
    assert retention.average_accuracy(PLAIN[:3]) == pytest.approx(0.7)
    curve = retention.forgetting_curve(PLAIN)
    assert math.isnan(curve[0])
    assert curve[1:] == pytest.approx([0.3, 0.35])


@pytest.mark.parametrize(
    ("rows", "order", "weights", "message"),
    [([], None, None, "rows: got 0"), ([[]], None, None, "rows: got 1 with"),
     ([[1.0], [1.0, 2.0]], None, None, "rows: "), ([[1.0], [1.0], [1.0]], None, None, "order: got"),
     ([[1.0], [1.0]], [1], None, "order: got [1]"),
     ([[1.0], [1.0]], [-1], None, "order: got [-1]"), ([[1.0], [1.0]], None, [1, 2], "weights: got 2, allowed are 1")],
)  # fmt: skip
def test_bad_input(rows: list[list[float]], order: list[int] | None, weights: list[float] | None, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("[", r"\[")):
        retention.averages(as_matrix(rows), order, weights)


# Avalanche's own


@pytest.mark.parametrize("seed", range(5))
def test_avalanche_on_the_same_matrix(seed: int) -> None:
    """Avalanche's metrics, told each value of a random matrix as its evaluation would tell them."""
    from avalanche.evaluation.metrics.forgetting_bwt import BWT, Forgetting
    from avalanche.evaluation.metrics.forward_transfer import ForwardTransfer

    n = 2 + seed
    matrix = np.random.default_rng(seed).random((n + 1, n))
    lost = Forgetting()
    transfer = BWT()
    gained = ForwardTransfer()
    for (row, column), value in np.ndenumerate(matrix):
        if row == 0:
            gained.update(column, value, initial=True)
            continue
        if row == column:
            gained.update(column, value)
        for metric in (lost, transfer):
            metric.update(column, value, initial=row == column + 1)
    for name, metric in (("forgetting", lost), ("backward_transfer", transfer), ("forward_transfer", gained)):
        known = {k: v for k, v in metric.result().items() if name == "forward_transfer" or k < n - 1}
        assert measures(matrix)[name] == pytest.approx(np.mean(list(known.values())))


@pytest.fixture(scope="module")
def lived() -> tuple[Matrix, list[int], dict[str, Any]]:
    """A stream that Avalanche's Naive learns: accuracies, test samples, and what Avalanche says in the end."""
    from avalanche.benchmarks.scenarios.dataset_scenario import benchmark_from_datasets
    from avalanche.benchmarks.utils import as_classification_dataset
    from avalanche.evaluation.metrics import accuracy_metrics, bwt_metrics, forgetting_metrics, forward_transfer_metrics
    from avalanche.training.plugins import EvaluationPlugin
    from avalanche.training.supervised import Naive

    torch.manual_seed(0)
    x, y = torch.randn(240, 6), torch.arange(240) % 6
    x += 2 * torch.nn.functional.one_hot(y, 6)

    def part(first: int, last: int, group: tuple[int, ...]) -> Any:
        rows = [row for row in range(first, last) if int(y[row]) in group]
        data = TensorDataset(x[rows], y[rows])
        data.targets = y[rows].tolist()  # type: ignore[attr-defined]
        return as_classification_dataset(data)

    groups = [(0,), (1, 2), (3, 4, 5)]
    benchmark = benchmark_from_datasets(
        train=[part(0, 180, group) for group in groups], test=[part(180, 240, group) for group in groups]
    )
    net = torch.nn.Linear(6, 6)
    asked = (accuracy_metrics(experience=True, stream=True), forgetting_metrics(stream=True), bwt_metrics(stream=True),
             forward_transfer_metrics(stream=True))  # fmt: skip
    evaluator = EvaluationPlugin(*asked, loggers=[])
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    naive = Naive(model=net, optimizer=optimizer, train_mb_size=10, evaluator=evaluator, eval_every=0)
    results = [naive.eval(benchmark.test_stream)]
    for experience in benchmark.train_stream:
        naive.train(experience, eval_streams=[])
        results.append(naive.eval(benchmark.test_stream))
    names = [f"Top1_Acc_Exp/eval_phase/test_stream/Exp{number:03d}" for number in range(3)]
    matrix = as_matrix([[row[name] for name in names] for row in results])
    return matrix, [len(e.dataset) for e in benchmark.test_stream], results[-1]


def test_avalanche_on_a_stream(lived: tuple[Matrix, list[int], dict[str, Any]]) -> None:
    matrix, samples, result = lived
    numbers, stream = measures(matrix), "eval_phase/test_stream"
    assert matrix.std() > 0.2  # it has learned, and forgotten
    over_all = retention.average_accuracy(matrix, weights=samples)
    assert over_all == pytest.approx(result[f"Top1_Acc_Stream/{stream}"])
    assert over_all != pytest.approx(numbers["average_accuracy"])
    for name, metric in (("forgetting", "StreamForgetting"), ("backward_transfer", "StreamBWT"),
                         ("forward_transfer", "StreamForwardTransfer")):  # fmt: skip
        assert numbers[name] == pytest.approx(result[f"{metric}/{stream}"]), name
