"""What the tests of suites share."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from lives import tiny_life

from snn4.benchmarks.cli import main


class Output(NamedTuple):
    status: int
    out: str
    err: str


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., Output]:
    """Runs ``snn4-agent bench`` with the given arguments in this process, in an empty folder."""

    def call(*arguments: str | Path) -> Output:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["snn4-agent", "bench", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_info:
            main()
        return Output(int(exit_info.value.code or 0), *capsys.readouterr())

    return call


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """The config file of a life that takes seconds."""
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(tiny_life()))
    return path
