from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from typing import Any

import pytest

from snn4.policies.fused import is_fused


def test_it_tells_versions_devices_and_optional_parts(cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    status, output, errors = cli("doctor")
    assert (status, errors) == (0, "")
    for package in ("torch", "numpy", "numba", "gymnasium", "stable-baselines3", "snn4-agent"):
        assert importlib.metadata.version(package) in output
    assert "cpu" in output
    assert ("compiled by numba" in output) == is_fused()
    try:
        assert importlib.metadata.version("box2d") in output
    except importlib.metadata.PackageNotFoundError:
        assert "missing: pip install 'snn4-agent[box2d]'" in output
