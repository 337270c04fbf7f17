"""The keys that a table shows are those that a config takes."""

from __future__ import annotations

import dataclasses
import io
from typing import Any

import pytest
from rich.console import Console

from snn4.agent.config.document import parse
from snn4.agent.config.file import ConfigError, overridden
from snn4.agent.config.keys import COLUMNS, Key, keys, plain, table
from snn4.agent.config.mismatches import mismatches
from snn4.agent.life.config import LifeConfig
from snn4.agent.stream.config import ContinualConfig
from snn4.agent.training.config import TrainingConfig

ROOTS = (LifeConfig, TrainingConfig, ContinualConfig)


@pytest.mark.parametrize("root", ROOTS)
def test_every_key_says_what_it_is(root: type) -> None:
    rows = keys(root)
    assert [row.name for row in rows if not row.meaning] == []
    assert len({row.name for row in rows}) == len(rows)
    assert {row.name for row in rows if "." not in row.name} == {field.name for field in dataclasses.fields(root)}


@pytest.mark.parametrize("root", ROOTS)
def test_a_config_takes_every_key_with_its_default(root: type) -> None:
    raw: dict[str, Any] = {"name": "x"}
    if root is LifeConfig:
        raw["world"] = [{"environment": "CartPole-v1", "steps": 1}]
    rows = keys(root)
    absent = tuple(f"{row.name}." for row in rows if row.type.startswith("mapping") and row.default == "null")
    for row in rows:
        assert keys(root, row.name)[0] == row
        if row.default not in ("required", "") and not row.name.startswith(absent):
            assert overridden(raw, [f"{row.name}={row.default}"]) == []
    assert mismatches(raw, root) == []


def test_what_is_allowed() -> None:
    rows = {row.name: row for row in keys(LifeConfig)}
    assert rows["policy.neuron.tau_mem"] == Key(
        "policy.neuron.tau_mem", "float", "0.02", "evolves from 0.002 to 0.1",
        "Membrane time constant, seconds; for plif, the value from which learning starts.",
    )  # fmt: skip
    assert rows["policy.kind"].allowed == "spiking, ann"
    assert "vgg-small" in rows["policy.encoder.name"].allowed.split(", ")
    assert (rows["world"].type, rows["world"].default) == ("list of mapping", "required")
    assert rows["world.0.variation"].type == "mapping or null"
    assert rows["policy.net_arch"].type == "list of int"
    assert parse(rows["policy.net_arch"].default) == [64, 64]


@pytest.mark.parametrize(("key", "name"), [("strategy", "ewc"), ("network", "resnet-18")])
def test_options_are_those_of_what_is_named(key: str, name: str) -> None:
    _, *rows = keys(ContinualConfig, f"{key}.options")
    own = [row for row in rows if name in row.meaning.rpartition("(")[2].rstrip(")").split(", ")]
    assert len(own) >= 3
    options = {row.name.rpartition(".")[2]: parse(row.default) for row in own}
    assert mismatches({"name": "x", key: {"name": name, "options": options}}, ContinualConfig) == []


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("polcy", "unknown key; did you mean policy? Allowed are name, world, "),
        ("policy.neuron.taumem", "did you mean policy.neuron.tau_mem?"),
        ("world.3.stepz", "did you mean world.0.steps?"),
        ("world.steps", "Allowed are world.0.environment, world.0.steps, "),
        ("seed.x", "did you mean seed? Allowed are name, world, "),
    ],
)
def test_unknown_keys(key: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        keys(LifeConfig, key)
    assert str(error.value).startswith(f"{key}: ")
    assert message in str(error.value)


def test_for_terminals_and_pipes() -> None:
    rows = keys(LifeConfig, "policy")
    lines = plain(rows).splitlines()
    assert len(lines) == len(rows)
    assert all(line.count("\t") == len(COLUMNS) - 1 for line in lines)
    screen = Console(file=io.StringIO(), width=120)
    screen.print(table(rows))
    assert all(row.name in screen.file.getvalue() for row in rows)  # type: ignore[attr-defined]
