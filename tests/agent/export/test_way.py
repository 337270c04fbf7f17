"""The way from a life to the chip, command by command."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from run_folders import only
from side_environment import lava_python

from snn4.agent.export.source import PolicySource, open_source
from snn4.policies.sparse import SparseLinear


def compressed_life(cli: Callable[..., Any], config: Path, place: Path) -> Path:
    run = ("run", config, "--runs-dir", place / "life", "-q", "world.0.steps=256", "policy.neuron=loihi")
    assert cli(*run).status == 0
    options = ("--prune", "0.5", "--bits", "8", "--steps", "64", "--runs-dir", place / "small", "-q", "episodes=4")
    assert cli("compress", only(place / "life"), *options).status == 0
    return only(place / "small")


def test_a_compressed_policy_leaves_as_it_decides(tiny_yaml: Path, cli: Callable[..., Any], tmp_path: Path) -> None:
    small = compressed_life(cli, tiny_yaml, tmp_path)
    source = open_source(str(small))
    assert isinstance(source, PolicySource)
    layers = [layer for layer in source.policy.modules() if isinstance(layer, SparseLinear)]
    assert len(layers) == 2
    for layer, described in zip(layers, source.description.layers[::2], strict=False):
        assert (described.part.weight == layer.weight.detach().numpy()).all()  # type: ignore[union-attr]
        assert (described.part.weight == 0).mean() >= 0.49  # type: ignore[union-attr]


@pytest.mark.slow
def test_run_compress_export_verify(tiny_yaml: Path, cli: Callable[..., Any], tmp_path: Path) -> None:
    python, chip = lava_python(), tmp_path / "chip"
    small = compressed_life(cli, tiny_yaml, tmp_path)
    assert cli("export", small, "--target", "lava", "-o", chip).status == 0
    verified = cli("verify", chip, "--steps", "60", "--episodes", "1", "--lava-python", python, "--json")
    assert verified.status == 0, verified.err
    found = json.loads(verified.out)
    assert found["episodes"]["equal"] == found["episodes"]["decisions"] > 0
