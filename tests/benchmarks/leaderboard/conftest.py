from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from commands import Result, called

from snn4.benchmarks.cli import main


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """``snn4-agent leaderboard`` with these arguments, in this process; a traceback would be an error of the test."""

    def call(*arguments: str | Path) -> Result:
        return called(main, ("leaderboard", *arguments), monkeypatch, capsys)

    return call
