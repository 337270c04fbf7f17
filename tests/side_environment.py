"""The Python that runs Lava, for tests that need one."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

from snn4.agent.export.lava_env import NoLava, find_lava


def lava_python() -> Path:
    """The Python that `find_lava` finds; the test is skipped, with the reason, where there is none."""
    python = _found()
    if isinstance(python, str):
        pytest.skip(python)
    return python


@functools.cache
def _found() -> Path | str:
    try:
        return find_lava()
    except NoLava as error:
        return str(error)
