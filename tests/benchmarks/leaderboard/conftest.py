from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from snn4.benchmarks.cli import main


class Output(NamedTuple):
    status: int
    out: str
    err: str


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Output]:
    """``snn4-agent leaderboard`` with these arguments, in this process; a traceback would be an error of the test."""

    def call(*arguments: str | Path) -> Output:
        monkeypatch.setattr(sys, "argv", ["snn4-agent", "leaderboard", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        return Output(int(left.value.code or 0), *capsys.readouterr())

    return call
