"""What the tests of suites share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from commands import Result, called
from lives import tiny_life

from snn4.benchmarks.cli import main


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., Result]:
    """Runs ``snn4-agent bench`` with the given arguments in this process, in an empty folder."""

    def call(*arguments: str | Path) -> Result:
        monkeypatch.chdir(tmp_path)
        return called(main, ("bench", *arguments), monkeypatch, capsys)

    return call


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """The config file of a life that takes seconds."""
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(tiny_life()))
    return path
