from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from config_problems import by_key

from snn4.agent import kinds
from snn4.agent.config.file import dump
from snn4.agent.transformation.config import ModelConfig, TransformationConfig
from snn4.learners.conversion.conversion import ConversionConfig

MINIMAL = "name: x\nkind: transformation\nmodel: {source: net.pt}\n"
Write = Callable[[str], Path]


def test_defaults_are_those_of_the_dataclasses(written: Write) -> None:
    kind, config = kinds.load(written(MINIMAL))
    assert (kind.name, config) == ("transformation", TransformationConfig("x", ModelConfig("net.pt")))
    assert config.convert == ConversionConfig()


def test_dump_writes_every_field_and_loads_again(written: Write) -> None:
    changes = ["seed=7", "convert={method: qcfs, T: 3}", "model.mean=[0.5]", "model.std=[0.2]", "data.name=mnist"]
    kind, config = kinds.load(written(MINIMAL), changes)
    text = dump(config)
    same, again = kinds.load(written(text))
    assert (same.name, again) == (kind.name, config)
    assert yaml.safe_load(text)["kind"] == "transformation"


def test_all_problems_at_once(written: Write) -> None:
    expected = {
        "sead=3": "unknown key; did you mean seed?", "keep_checkpoints=0": "got 0, allowed is a whole number >= 1",
        "threads=-1": "got -1, allowed is a whole number >= 0", "examined=0": "got 0, allowed is a whole number >= 1",
        "convert.T=0": "got 0, allowed is a whole number >= 1", "name=a b": "got 'a b', allowed are letters",
        "precision=16": "got 16, allowed is '32-true' or 'bf16-mixed'", "model.std=[0.1]": "got (0.1,), allowed are",
    }  # fmt: skip
    problems = by_key(written(MINIMAL), *expected)
    assert set(problems) == {override.partition("=")[0] for override in expected}
    for override, message in expected.items():
        assert problems[override.partition("=")[0]].startswith(message)


@pytest.mark.parametrize(
    "text", ["name: x\nkind: transformation\n", f"{MINIMAL}world: []\n", MINIMAL + "network: {}\n"]
)
def test_keys_of_other_kinds_and_missing_ones(text: str, written: Write) -> None:
    assert by_key(written(text)).keys() <= {"model", "world", "network"}
    assert by_key(written(text))
