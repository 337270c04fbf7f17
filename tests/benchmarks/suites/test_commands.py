"""``snn4-agent bench all``, and the measurement of speed beside the suites."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from snn4.benchmarks import cli
from snn4.benchmarks.record_schema import check
from snn4.benchmarks.suites import SUITES, commands
from snn4.benchmarks.suites.suite import suite_named


def test_every_suite_is_a_command() -> None:
    assert {command.name or command.callback.__name__ for command in cli.bench.registered_commands} == {*SUITES, "all"}  # type: ignore[union-attr]


@pytest.mark.parametrize("name", [name for name in SUITES if name not in ("speed", "continual")])
def test_every_suite_says_what_it_measures(name: str) -> None:
    suite = suite_named(name)
    assert suite.QUICK
    assert all(suite.GROUPS.values())
    assert {"result_of", "measure", "summary", "table", "FOLDER", "VARIED"} <= set(dir(suite))


def test_all_names_everything_that_is_missing_before_anything_runs(
    bench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(commands, "SUITES", ["classification", "continual", "distillation"])
    monkeypatch.setattr("snn4.envs.data.image_sets.load_digits", lambda *_, **__: 1 / 0, raising=False)
    monkeypatch.setenv("SNN4_DATA", str(tmp_path / "nothing"))
    monkeypatch.setitem(suite_named("classification").QUICK, "mnist", ("data.download=false",))  # type: ignore[arg-type]
    monkeypatch.setitem(suite_named("distillation").QUICK, "mnist", ("data.download=false",))  # type: ignore[arg-type]
    output = bench("all", "--quick")
    assert output.status == 2
    lines = output.err.splitlines()
    assert lines[0].startswith("bench all: classification: ")
    assert lines[1].startswith("bench all: distillation: ")
    assert not (tmp_path / "runs" / "benchmarks" / "quick" / "digits").exists()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_all_suites_quickly(bench: Callable[..., Any]) -> None:
    started = time.monotonic()
    output = bench("all", "--quick", "--json")
    assert output.status == 0, output.err
    results = json.loads(output.out)
    assert list(results) == list(SUITES)
    for result in [one for name in SUITES if name not in ("speed", "continual") for one in results[name]]:
        check(result, result["suite"])
    assert time.monotonic() - started < 20 * 60
    again = bench("all", "--quick")
    assert again.status == 0
    assert all(f"## {name}" in again.out for name in SUITES)


@pytest.mark.slow
def test_an_interrupted_suite_goes_on_with_the_same_command(tiny: Path, tmp_path: Path) -> None:
    """Two cells at a time: whatever a signal ends is resumed."""
    program = "from snn4.benchmarks.cli import main; main()"
    arguments = [
        "bench",
        "control",
        str(tiny),
        "world.0.steps=4096",
        "--seeds",
        "2",
        "--runs-dir",
        str(tmp_path / "runs"),
    ]
    process = subprocess.Popen([sys.executable, "-c", program, *arguments], stderr=subprocess.PIPE, text=True)
    while not list(tmp_path.glob("runs/tiny-*/checkpoints/0*")):
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 130
    assert "the same command resumes all cells" in said
    folders = set(tmp_path.glob("runs/tiny-*"))
    done = subprocess.run([sys.executable, "-c", program, *arguments, "--jobs", "2"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert folders < set(tmp_path.glob("runs/tiny-*"))
    assert len(list(tmp_path.glob("runs/tiny-*/summary.json"))) == 2
