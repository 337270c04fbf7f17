"""Runs become descriptions, or a line that says what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from run_folders import only

from snn4.agent import runner
from snn4.agent.export.source import ClassifierSource, PolicySource, open_source
from snn4.agent.life import kind
from snn4.agent.life.lived import NotLived
from snn4.agent.models.files import ModelError


def life_of(tiny: Callable[..., Any], runs: Path, *overrides: str) -> Path:
    runner.begin(kind, tiny("world.0.steps=64", *overrides), runs, quiet=True)  # type: ignore[arg-type]
    return only(runs)


def test_a_life_has_a_policy(tiny: Callable[..., Any], tmp_path: Path) -> None:
    folder = life_of(tiny, tmp_path)
    source = open_source(str(folder))
    assert isinstance(source, PolicySource)
    assert source.task.environment == "CartPole-v1"
    assert [layer.shape for layer in source.description.neurons()] == [(16,), (16,)]
    with pytest.raises(NotLived, match=r"task: got 'Acrobot', allowed are those that .* has learned: CartPole-v1"):
        open_source(str(folder), "Acrobot")


def test_trainings_and_conversions_have_a_classifier(trained: Path, converted: Path) -> None:
    for folder in (trained, converted):
        source = open_source(str(folder))
        assert isinstance(source, ClassifierSource)
        assert source.description.input_shape == (1, 8, 8)
        assert source.description.classes == tuple("0123456789")
        assert source.data.name == "digits"
    assert open_source("zoo:digits").description.layers[-1].shape == (10,)


def test_what_cannot_leave_is_named(tiny: Callable[..., Any], tmp_path: Path, lived: Path) -> None:
    with pytest.raises(ModelError, match="nothing: no such folder"):
        open_source("nothing")
    with pytest.raises(ModelError, match=r"has no config\.yaml"):
        open_source(str(tmp_path))
    with pytest.raises(ModelError, match="--task: not allowed for zoo:digits, which is no life"):
        open_source("zoo:digits", "digits")
    with pytest.raises(ModelError, match="got a stream, allowed are"):
        open_source(str(lived))
    folder = life_of(tiny, tmp_path, "policy.readout=first_spike")
    with pytest.raises(ModelError, match=f"{folder.name}: readout: got first_spike, allowed are rate"):
        open_source(str(folder))


def test_a_life_among_images_alone_has_no_policy(tiny: Callable[..., Any], tmp_path: Path) -> None:
    runner.begin(kind, tiny("world=[{data: {name: digits, limit: 200}, steps: 64}]"), tmp_path, quiet=True)  # type: ignore[arg-type]
    with pytest.raises(NotLived, match="has learned no environment yet"):
        open_source(str(only(tmp_path)))
