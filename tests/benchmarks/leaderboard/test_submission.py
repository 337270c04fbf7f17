"""Finished runs become records; others are refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from run_folders import only

from snn4.agent import command_configs, runner
from snn4.agent.evaluation import joules
from snn4.benchmarks.records import read_record

COMMIT = "0123456789" * 4
LIFE = """\
name: tiny
world: [{environment: CartPole-v1, steps: 64}]
policy: {net_arch: [8, 8], T: 2, neuron: {v_threshold: 0.3}}
learner: {algorithm: PPO, n_envs: 4, hyperparameters: {n_steps: 16, batch_size: 64, n_epochs: 1}}
evaluation: {every: 64, episodes: 2, test_episodes: 2}
"""
TRAINING = """\
name: tiny-digits
data: {name: digits, limit: 160}
network: {name: vgg-small, T: 2, options: {channels: [4, 8]}}
training: {epochs: 1, batch_size: 32, learning_rate: 0.02}
ann_twin: true
threads: 1
"""
STREAM = """\
name: tiny-stream
stream: {data: {name: digits, limit: 200}, classes: [[0, 1], [2, 3]], experiences: 2}
network: {name: vgg-small, T: 2, options: {channels: [4, 8]}}
strategy: {name: replay, memory: 20}
training: {epochs: 1, batch_size: 16, learning_rate: 0.01}
ann_twin: true
threads: 1
"""
EVOLUTION = f"""\
name: tiny-evolution
kind: evolution
subject: {{{", ".join(LIFE.splitlines())}}}
search: {{generations: 1, population: 2, objectives: [parameters, return], prefer: parameters, genes: [policy.T]}}
"""
INDICATORS = (
    "spikes_per_decision", "effective_macs", "effective_acs", "dense_macs", "energy_joules", "parameters",
    "footprint_bytes", "connection_sparsity", "activation_sparsity",
)  # fmt: skip
Cli = Callable[..., Any]


@pytest.fixture(scope="module", autouse=True)
def counter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A counter of joules that stands still, in place of this machine's."""
    zone = tmp_path_factory.mktemp("powercap") / "intel-rapl:0"
    zone.mkdir()
    (zone / "name").write_text("package-0\n")
    (zone / "energy_uj").write_text("7\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(joules, "POWERCAP", zone.parent)
        patch.setattr(joules, "SECONDS", 0.0)
        yield


def finished(config: str, folder: Path, *changes: str) -> Path:
    """The folder of a finished run, as if its code had been committed."""
    path = folder / "config.yaml"
    path.write_text(config)
    runner.begin(*command_configs.read_config(str(path), changes, {}), folder / "runs", quiet=True)
    run = only(folder / "runs")
    for name in ("run.json", "summary.json"):
        edit(run / name, commit_hash=COMMIT, commit_dirty=False)
    return run


def edit(path: Path, **changes: Any) -> None:
    """Change keys of a JSON file; None takes a key away."""
    content = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished(LIFE, tmp_path_factory.mktemp("life"), "seed=3", "ann_twin=true")


@pytest.fixture
def copied(life: Path, tmp_path: Path) -> Path:
    return shutil.copytree(life, tmp_path / "copied")


def test_a_life_on_the_leaderboard(cli: Cli, life: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    output = cli("submit", life, "--results", results)
    path = only(results)
    assert output == (0, f"record: {path}\nshow it with: snn4-agent leaderboard\n", "")
    content = read_record(path)
    assert (content["suite"], content["commit_hash"], content["config"]["name"]) == ("submitted", COMMIT, "tiny")
    assert content["seeds"][0]["seed"] == 3
    score = content["seeds"][0]["tasks"]["CartPole-v1"]
    assert {*INDICATORS, "latency_steps", "energy_joules_measured"} <= set(score)
    assert score["latency_steps"] == 2
    assert score["energy_joules_measured"] == 0.0
    assert content["seeds"][0]["ann_twin"]["CartPole-v1"]["latency_steps"] == 1
    cli("--results", results)
    rows = json.loads((tmp_path / "leaderboard.json").read_text())["rows"]
    assert {(row["task"], row["config"], row["network"], row["seeds"][0]) for row in rows} == {
        ("CartPole-v1", "tiny", "SNN", 3), ("CartPole-v1", "tiny", "ANN twin", 3)
    }  # fmt: skip
    (row,) = (row for row in rows if row["network"] == "SNN")
    assert row["mean"] == pytest.approx(score["return_mean"])
    assert all(value is not None for value in row["neurobench"].values())
    assert row["neurons_counted"]


@pytest.mark.parametrize(("config", "key"), [(TRAINING, "indicators"), (STREAM, "network")])
def test_other_kinds(config: str, key: str, cli: Cli, tmp_path: Path) -> None:
    run = finished(config, tmp_path)
    assert cli("submit", run, "--results", tmp_path / "results").status == 0
    content = read_record(only(tmp_path / "results"))
    assert "activity" not in content["seeds"][0]
    found = content["seeds"][0][key]
    row = found[0] if key == "indicators" else found
    assert {*INDICATORS, "latency_steps", "energy_joules_measured"} <= set(row)
    assert (row["latency_steps"], row["energy_joules_measured"]) == (2, 0.0)
    assert cli("--results", tmp_path / "results").status == 0
    rows = json.loads((tmp_path / "leaderboard.json").read_text())["rows"]
    assert {row["network"] for row in rows} >= {"SNN", "ANN twin"}
    assert {row["task"] for row in rows} == {"digits" if key == "indicators" else "tiny-stream"}
    assert {row["config"] for row in rows} == {"tiny-digits" if key == "indicators" else "replay"}


@pytest.mark.slow
def test_policies_that_were_evolved_or_compressed(cli: Cli, life: Path, tmp_path: Path) -> None:
    evolved = finished(EVOLUTION, tmp_path)
    assert cli("submit", evolved, "--results", tmp_path / "results").status == 0
    runner.begin(*command_configs.compression_of(str(life), {"compress.prune": 0.5, "compress.steps": 10}, []),
                 tmp_path / "small", quiet=True)  # fmt: skip
    small = only(tmp_path / "small")
    for name in ("run.json", "summary.json"):
        edit(small / name, commit_hash=COMMIT, commit_dirty=False)
    assert cli("submit", small, "--results", tmp_path / "results").status == 0
    assert {
        score["energy_joules_measured"]
        for score in json.loads((small / "summary.json").read_text())["comparison"].values()
    } == {0.0}
    cli("--results", tmp_path / "results")
    rows = json.loads((tmp_path / "leaderboard.json").read_text())["rows"]
    assert {row["network"] for row in rows} == {"SNN, hand-set", "SNN, evolved", "SNN, before", "SNN, compressed"}
    assert {row["task"] for row in rows} == {"CartPole-v1"}


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [("summary.json", {"commit_hash": None}, "commit_hash: got None, allowed is a run of a checkout"),
     ("summary.json", {"commit_hash": "abc"}, 'commit_hash: got "abc", allowed is the 40 hexadecimal digits'),
     ("summary.json", {"commit_dirty": True}, "commit_dirty: got true"),
     ("run.json", {"commit_dirty": True}, "commit_dirty: got true"),
     ("summary.json", {"config": None}, "config: missing in summary.json"),
     ("summary.json", {"config": "tiny"}, "config: missing in summary.json"),
     ("summary.json", {"seed": None}, "seed: got None, allowed is a whole number"),
     ("summary.json", {"seed": "0"}, "seed: got '0', allowed is a whole number"),
     ("summary.json", {"tasks": None}, "tasks: missing"),
     ("summary.json", {"tasks": {}}, "tasks: got {}, allowed is a mapping of tasks to scores"),
     ("run.json", {"machine": None}, "machine: missing")],
)  # fmt: skip
def test_a_run_that_nobody_can_repeat(
    file: str, changes: dict[str, Any], message: str, cli: Cli, copied: Path, tmp_path: Path
) -> None:
    edit(copied / file, **changes)
    output = cli("submit", copied, "--results", tmp_path / "results")
    assert (output.status, output.out) == (2, "")
    assert output.err.startswith(f"{copied}: ")
    assert message in output.err
    assert len(output.err.splitlines()) == 1
    assert not (tmp_path / "results").exists()


def test_a_run_that_is_not_finished(cli: Cli, copied: Path, tmp_path: Path) -> None:
    (copied / "summary.json").write_text("{")
    assert "summary.json: cannot be read" in cli("submit", copied, "--results", tmp_path / "results").err
    (copied / "summary.json").unlink()
    output = cli("submit", copied, "--results", tmp_path / "results")
    assert output.status == 2
    assert output.err == (
        f"{copied}: is not finished, allowed is a finished run; continue with: snn4-agent resume {copied}\n"
    )
    assert "no run folder" in cli("submit", tmp_path, "--results", tmp_path / "results").err
    assert not (tmp_path / "results").exists()


def test_a_run_is_submitted_once(cli: Cli, copied: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    cli("submit", copied, "--results", results)
    before = only(results).read_bytes()
    again = cli("submit", copied, "--results", results)
    assert (again.status, again.out) == (2, "")
    assert "copied.json: is there already" in again.err
    other = cli("submit", shutil.copytree(copied, tmp_path / "other"), "--results", results)
    assert other.status == 2
    assert f"other.json: duplicate of {results / 'copied.json'}" in other.err
    assert only(results).read_bytes() == before


def test_the_place_of_data_stays_private(cli: Cli, copied: Path, tmp_path: Path) -> None:
    config = json.loads((copied / "summary.json").read_text())["config"]
    edit(copied / "summary.json", config={**config, "data": {"root": "/home/somebody"}})
    cli("submit", copied, "--results", tmp_path / "results")
    assert "somebody" not in only(tmp_path / "results").read_text()
