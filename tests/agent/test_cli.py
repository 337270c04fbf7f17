"""What the command line says before anything is done. What the commands do is in ``test_every_kind.py``."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from snn4.agent import command_configs
from snn4.agent.config.file import dump
from snn4.agent.life.config import LifeConfig
from snn4.agent.run import checkpoint
from snn4.agent.run.journal import Journal

Cli = Callable[..., Any]
SHORT = ["world.0.steps=64", "evaluation.episodes=1", "evaluation.test_episodes=1"]
COMMANDS = (
    "run", "train", "distill", "evolve", "resume", "watch", "evaluate", "report", "export", "verify", "lava-env",
    "world", "doctor",
)  # fmt: skip


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys\nfrom snn4.agent.cli import main\nsys.argv = ['snn4-agent', *sys.argv[1:]]\n"
        "try:\n    main()\nfinally:\n    print(sorted({m.partition('.')[0] for m in sys.modules}), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script, "--help"], capture_output=True, text=True, check=True)
    assert all(f" {command} " in done.stdout for command in COMMANDS)
    modules = set(json.loads(done.stderr.replace("'", '"')))
    assert "typer" in modules
    assert not modules & {"torch", "stable_baselines3", "gymnasium", "pydantic", "numpy", "numba", "yaml"}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(cli: Cli, command: str) -> None:
    result = cli(command, "--help")
    assert (result.status, "Usage" in result.out) == (0, True)


@pytest.mark.parametrize("choice", ["nothing", "SNN4_RUNS", "--runs-dir", "both"])
def test_where_runs_go(cli: Cli, tiny_yaml: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, choice: str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SNN4_RUNS", raising=False)
    if choice in ("SNN4_RUNS", "both"):
        monkeypatch.setenv("SNN4_RUNS", str(tmp_path / "by environment"))
    option = ["--runs-dir", tmp_path / "by option"] if choice in ("--runs-dir", "both") else []
    assert cli("run", tiny_yaml, *SHORT, *option).status == 0
    place = {"nothing": "runs", "SNN4_RUNS": "by environment"}.get(choice, "by option")
    assert [path.name for path in tmp_path.iterdir()] == [place]


def test_options_stand_for_keys() -> None:
    overrides = ["seed=3"]
    _, config = command_configs.read_config("cartpole", overrides, {"backend": "snntorch"})
    assert (config.seed, config.policy.backend) == (3, "snntorch")
    assert overrides == ["seed=3"], "a caller's list is left as it was"


# Bad input


def refused(cli: Cli, *arguments: str | Path) -> str:
    """The problem that is shown on bad input: one line, no traceback, exit status 2."""
    result = cli(*arguments)
    (problem,) = result.err.splitlines()
    assert (result.status, result.out) == (2, "")
    return str(problem)


def test_bad_input_of_a_real_process(
    start: Callable[..., subprocess.Popen[str]], tiny_yaml: Path, tmp_path: Path
) -> None:
    process = start("run", tiny_yaml, "sead=3", "learner.hyperparameters.gama=1", "--runs-dir", tmp_path / "runs")
    out, err = process.communicate()
    assert (process.returncode, out, len(err.splitlines())) == (2, "", 2)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("command", ["resume", "evaluate", "watch", "report"])
def test_folders_that_are_no_run(cli: Cli, tmp_path: Path, command: str) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        problem = refused(cli, command, folder)
        assert problem.startswith(f"{folder}: no run folder")
        assert "evaluate also takes a model's folder (config.yaml and model.safetensors), or zoo:NAME" in problem
    assert list(tmp_path.iterdir()) == []


def test_a_run_with_a_config_that_was_spoilt(cli: Cli, tmp_path: Path, tiny: Callable[..., LifeConfig]) -> None:
    """Also where there is a checkpoint to compare it with."""
    with Journal.create(tmp_path, "tiny", dump(tiny()) + "sead: 3\n", {}) as journal:
        config = journal.folder / "config.yaml"
    for command in ("resume", "evaluate", "world"):
        assert refused(cli, command, journal.folder).startswith(f"{config}: sead: unknown key")
    checkpoint.save(journal.folder / checkpoint.CHECKPOINTS, {"model": {}, "learner": {}}, {}, "name: x")
    config.write_text("name: [")
    assert refused(cli, "resume", journal.folder).startswith(f"{config}: cannot be read")


def test_keys_of_configs(cli: Cli) -> None:
    result = cli("config", "network.T")
    assert (result.status, result.err) == (0, "")
    assert result.out.splitlines()[0].startswith("network.T\tint\t4\t")
    assert len(result.out.splitlines()) == 1  # trainings and streams have the same
    assert len(cli("config").out.splitlines()) > 100
    for wrong, message in {("polcy",): "did you mean policy", ("seed", "--kind", "dream"): "got 'dream'"}.items():
        result = cli("config", *wrong)
        assert (result.status, message in result.err) == (2, True)


def test_every_problem_of_a_config_has_a_line(cli: Cli, tiny_yaml: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    result = cli("run", tiny_yaml, "sead=3", "policy.T=0", "evaluation=5", "--runs-dir", runs)
    problems = result.err.splitlines()
    assert (result.status, result.out, len(problems)) == (2, "", 3)
    assert all(problem.startswith(f"{tiny_yaml}: ") for problem in problems)
    assert "no such file; did you mean cartpole?" in refused(cli, "run", "cartpol", "--runs-dir", runs)
    dqn = ["world.0.environment=Pendulum-v1", "learner={algorithm: DQN}"]
    assert "DQN does not support" in refused(cli, "run", tiny_yaml, *dqn, "--runs-dir", runs)
    assert not runs.exists()
