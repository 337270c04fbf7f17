"""What is wrong with a cell shows before anything runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from snn4.agent import kinds
from snn4.agent.config.file import ConfigError
from snn4.envs.data.datasets import load_data

_found: set[str] = set()
"""Data sets that are there."""


def ready(source: str, changes: Sequence[str], kind_name: str) -> Any:
    """The config of ``source``, a ``kind_name`` whose packages are installed and whose data is there.

    Raises:
        ConfigError: all problems of the config, or its kind. What is missing is named, with how to get it.
    """
    kind, config = kinds.load(source, changes)
    if kind.name != kind_name:
        raise ConfigError(source, [f"kind: got {kind.name!r}, allowed is {kind_name}"])
    if kind_name == "training" and repr(config.data) not in _found:
        try:
            load_data(config.data)
        except (ValueError, ImportError) as error:  # the first is MissingData, too
            raise ConfigError(source, [f"data: {error}"]) from error
        _found.add(repr(config.data))
    return config
