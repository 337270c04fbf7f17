from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from snn4.agent.life.config import LifeConfig
from snn4.agent.run.journal import Journal

Cli = Callable[..., Any]
SHORT = ["world.0.steps=64", "evaluation.episodes=1", "evaluation.test_episodes=1"]


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys\nfrom snn4.agent.cli import main\nsys.argv = ['snn4-agent', *sys.argv[1:]]\n"
        "try:\n    main()\nfinally:\n    print(sorted({m.partition('.')[0] for m in sys.modules}), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script, "--help"], capture_output=True, text=True, check=True)
    for command in ("run", "train", "resume", "watch", "evaluate", "doctor"):
        assert f" {command} " in done.stdout
    modules = set(json.loads(done.stderr.replace("'", '"')))
    assert "typer" in modules
    assert not modules & {"torch", "stable_baselines3", "gymnasium", "pydantic", "numpy", "numba", "yaml"}


@pytest.mark.parametrize("command", ["run", "train", "resume", "watch", "evaluate", "doctor"])
def test_every_command_has_help(cli: Cli, command: str) -> None:
    said = cli(command, "--help")
    assert said.status == 0
    assert "Usage" in said.out


def test_doctor(cli: Cli) -> None:
    said = cli("doctor")
    assert (said.status, said.err) == (0, "")
    assert "torch" in said.out


# Where runs go


@pytest.mark.parametrize("told", ["nothing", "SNN4_RUNS", "--runs-dir", "both"])
def test_where_runs_go(cli: Cli, tiny_yaml: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SNN4_RUNS", raising=False)
    if told in ("SNN4_RUNS", "both"):
        monkeypatch.setenv("SNN4_RUNS", str(tmp_path / "by environment"))
    option = ["--runs-dir", tmp_path / "by option"] if told in ("--runs-dir", "both") else []
    said = cli("run", tiny_yaml, *SHORT, *option)
    assert said.status == 0
    place = {"nothing": "runs", "SNN4_RUNS": "by environment"}.get(told, "by option")
    assert [path.name for path in tmp_path.iterdir()] == [place]
    (folder,) = (tmp_path / place).iterdir()
    assert (folder / "summary.json").is_file()
    assert folder.name in said.out


def test_quiet_prints_nothing(cli: Cli, tiny_yaml: Path, tmp_path: Path) -> None:
    assert cli("run", tiny_yaml, *SHORT, "--quiet", "--runs-dir", tmp_path) == (0, "", "")


# Bad input


def refused(cli: Cli, *arguments: str | Path, lines: int = 1) -> list[str]:
    """What is said on bad input: so many lines, no traceback, exit status 2."""
    said = cli(*arguments)
    assert said.status == 2
    assert said.out == ""
    told: list[str] = said.err.splitlines()
    assert len(told) == lines
    return told


def test_bad_configs(cli: Cli, tiny_yaml: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    told = refused(cli, "run", tiny_yaml, "sead=3", "policy.T=0", "evaluation=5", "--runs-dir", runs, lines=3)
    assert all(line.startswith(f"{tiny_yaml}: ") for line in told)
    assert "no such file; did you mean cartpole?" in refused(cli, "run", "cartpol", "--runs-dir", runs)[0]
    dqn = ["world.0.environment=Pendulum-v1", "learner={algorithm: DQN}"]
    assert "DQN cannot take" in refused(cli, "run", tiny_yaml, *dqn, "--runs-dir", runs)[0]
    assert not runs.exists()


def test_bad_input_of_a_real_process(
    start: Callable[..., subprocess.Popen[str]], tiny_yaml: Path, tmp_path: Path
) -> None:
    process = start("run", tiny_yaml, "sead=3", "learner.hyperparameters.gama=1", "--runs-dir", tmp_path / "runs")
    out, err = process.communicate()
    assert (process.returncode, out, len(err.splitlines())) == (2, "", 2)
    assert not (tmp_path / "runs").exists()


def test_what_the_library_refuses_leaves_no_run_folder(cli: Cli, tiny_yaml: Path, tmp_path: Path) -> None:
    refused(cli, "run", tiny_yaml, "learner.policy_kwargs={bogus: 1}", "--runs-dir", tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("command", ["resume", "evaluate", "watch"])
def test_folders_that_are_no_run(cli: Cli, tmp_path: Path, command: str) -> None:
    (told,) = refused(cli, command, tmp_path)
    assert told.startswith(f"{tmp_path}: no run folder")
    assert "evaluate also takes a model's folder (config.yaml and model.safetensors), or zoo:NAME" in told
    assert list(tmp_path.iterdir()) == []
    assert cli(command, tmp_path / "missing").status == 2


@pytest.mark.parametrize("command", ["resume", "evaluate", "watch"])
def test_a_missing_folder_is_told_in_one_line(cli: Cli, tmp_path: Path, command: str) -> None:
    (told,) = refused(cli, command, tmp_path / "missing")
    assert str(tmp_path / "missing") in told


@pytest.mark.parametrize("place", ["a file", "a file/below"])
def test_a_runs_folder_that_cannot_be_made(cli: Cli, tiny_yaml: Path, tmp_path: Path, place: str) -> None:
    (tmp_path / "a file").write_text("")
    (told,) = refused(cli, "run", tiny_yaml, *SHORT, "--runs-dir", tmp_path / place)
    assert "a file" in told


def test_a_run_that_is_busy(cli: Cli, tmp_path: Path, tiny: Callable[..., LifeConfig]) -> None:
    with Journal.create(tmp_path, tiny()) as journal:
        (told,) = refused(cli, "resume", journal.folder)
    assert told.startswith(f"{journal.folder}: another process lives in this folder")
    assert f"snn4-agent watch {journal.folder}" in told


def test_options_of_classifiers_mean_nothing_for_a_life(
    cli: Cli, tmp_path: Path, tiny: Callable[..., LifeConfig]
) -> None:
    with Journal.create(tmp_path, tiny()) as journal:
        pass
    (told,) = refused(cli, "evaluate", journal.folder, "--data", "mnist", "--steps", "3")
    assert told == f"{journal.folder}: is a life, and --data, --steps means nothing for it; leave it out"


def test_a_run_without_a_checkpoint(cli: Cli, tmp_path: Path, tiny: Callable[..., LifeConfig]) -> None:
    with Journal.create(tmp_path, tiny()) as journal:
        pass
    (told,) = refused(cli, "evaluate", journal.folder)
    assert "holds no checkpoint yet" in told
    said = cli("resume", journal.folder)  # killed before its first checkpoint: it is born again
    assert said.status == 0
    assert (journal.folder / "summary.json").is_file()


def test_a_run_with_a_config_that_was_spoilt(cli: Cli, tmp_path: Path, tiny: Callable[..., LifeConfig]) -> None:
    with Journal.create(tmp_path, tiny()) as journal:
        pass
    with (journal.folder / "config.yaml").open("a") as file:
        file.write("sead: 3\n")
    (told,) = refused(cli, "resume", journal.folder)
    assert told.startswith(f"{journal.folder / 'config.yaml'}: sead: unknown key")
