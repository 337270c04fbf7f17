from __future__ import annotations

import json
from statistics import fmean, stdev
from typing import Any

import pytest

from snn4.benchmarks.leaderboard.rows import Row, rows_of
from snn4.benchmarks.leaderboard.scores import SUITES
from snn4.benchmarks.record_schema import RecordError
from snn4.benchmarks.records import RESULTS, Record, read_records


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return rows_of(read_records(RESULTS))


def read(name: str) -> Any:
    return json.loads((RESULTS / name).read_text(encoding="utf-8"))


def row(rows: list[Row], task: str, config: str, network: str) -> Row:
    (found,) = (row for row in rows if (row.task, row.config, row.network) == (task, config, network))
    return found


def test_every_record_with_scores_has_rows(rows: list[Row]) -> None:
    scored = {record.path.as_posix() for record in read_records(RESULTS) if record.suite in SUITES}
    assert {row.record for row in rows} == scored - {"compression/engine.json"}


@pytest.mark.parametrize(
    ("key", "network", "name"),
    [("tasks", "SNN", "lunar_lander"), ("ann_twin", "ANN twin", "lunar_lander"), ("tasks", "SNN", "cartpole")],
)
def test_a_life_is_the_mean_over_its_seeds(rows: list[Row], key: str, network: str, name: str) -> None:
    record = read(f"control/{name}.json")
    (task,) = record["seeds"][0]["tasks"]
    lives = [seed[key][task] for seed in record["seeds"]]
    returns = [life["return_mean"] for life in lives]
    found = row(rows, task, name, network)
    assert (found.mean, found.std) == (pytest.approx(fmean(returns)), pytest.approx(stdev(returns)))
    assert found.mean == pytest.approx(record["summary"][key][task]["return_mean"]["mean"])
    assert found.std == pytest.approx(record["summary"][key][task]["return_mean"]["std"])
    joules = [life["energy_joules"]["45nm_fp32"] for life in lives]
    assert found.energy_joules["45nm_fp32"] == pytest.approx(fmean(joules))
    assert found.synaptic_operations == pytest.approx(
        fmean(life["effective_acs"] + life["effective_macs"] for life in lives)
    )
    assert found.seeds == tuple(seed["seed"] for seed in record["seeds"])
    assert not found.neurons_counted


def test_a_classifier_has_a_row_for_each_trained_network(rows: list[Row]) -> None:
    names = [found.network for found in rows if found.record == "images/cifar10.json"]
    assert sorted(names) == ["ANN twin", "ANN twin int8", "SNN", "SNN int8"]
    names = [found.network for found in rows if found.record == "images/fashion_mnist.json"]
    assert sorted(names) == ["SNN", "SNN int8"]
    found = row(rows, "cifar10", "cifar10", "SNN")
    measured = read("images/cifar10.json")["seeds"][0]["indicators"][0]
    assert found.neurobench == {
        "Footprint": measured["footprint_bytes"], "ConnectionSparsity": measured["connection_sparsity"],
        "ActivationSparsity": measured["activation_sparsity"], "Effective_MACs": measured["effective_macs"],
        "Effective_ACs": measured["effective_acs"], "Dense": measured["dense_macs"],
    }  # fmt: skip
    assert (found.latency_steps, found.std) == (4, None)


def test_folds_are_no_seeds(rows: list[Row]) -> None:
    assert {found.folds for found in rows if found.config == "nmnist"} == {True}
    assert not any(found.folds for found in rows if found.config != "nmnist")


def test_a_strategy_is_a_config(rows: list[Row]) -> None:
    found = row(rows, "split_cifar10", "replay", "ANN twin")
    strategy = read("continual/split_cifar10.json")["strategies"]["replay"]
    assert found.mean == pytest.approx(strategy["summary"]["ann_twin"]["average_accuracy"]["mean"])
    assert found.commits == tuple(dict.fromkeys(seed["commit_hash"] for seed in strategy["seeds"]))


def test_the_best_of_a_task_is_the_first(rows: list[Row]) -> None:
    for task in {found.task for found in rows}:
        means = [found.mean for found in rows if found.task == task]
        assert means == sorted(means, reverse=True)


def test_what_was_not_measured_by_all_seeds_has_no_mean() -> None:
    content = read("control/cartpole.json")
    for seed in content["seeds"]:
        seed["tasks"]["CartPole-v1"]["energy_joules_measured"] = 2e-6
    del content["seeds"][0]["tasks"]["CartPole-v1"]["energy_joules"]["45nm_int8"]
    found = row(rows_of([Record(RESULTS, content)]), "CartPole-v1", "cartpole", "SNN")
    assert found.energy_joules["45nm_int8"] is None
    assert found.energy_joules["45nm_fp32"] is not None
    assert found.energy_joules_measured == pytest.approx(2e-6)
    content["seeds"][1]["tasks"]["CartPole-v1"]["energy_joules_measured"] = "not measurable here"
    found = row(rows_of([Record(RESULTS, content)]), "CartPole-v1", "cartpole", "SNN")
    assert found.energy_joules_measured == "not measurable here"


def test_a_record_without_figures_is_named() -> None:
    content = read("evolution/cartpole.json")
    content["seeds"][0]["hand_set"] = 3
    with pytest.raises(RecordError, match=r"x\.json: holds no figures of the suite evolution"):
        rows_of([Record(RESULTS / "x.json", content)])
