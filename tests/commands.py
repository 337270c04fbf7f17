"""``snn4-agent`` in this process, for fixtures."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest


class Result(NamedTuple):
    """What a command has left behind."""

    status: int
    out: str
    err: str


def called(
    main: Callable[[], None], arguments: tuple[str | Path, ...], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Result:  # fmt: skip
    """Call ``main`` with these arguments; a traceback would be an error of the test."""
    monkeypatch.setattr(sys, "argv", ["snn4-agent", *map(str, arguments)])
    capsys.readouterr()
    with pytest.raises(SystemExit) as left:
        main()
    return Result(int(left.value.code or 0), *capsys.readouterr())
