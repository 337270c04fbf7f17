from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from snn4.learners.continual.learner import STRATEGIES, ContinualRecipe, StrategyConfig

OWN_OPTIONS = {
    "naive",
    "joint",
    "cumulative",
    "icarl",
    "gdumb",
    "replay",
    "spike-replay",
    "active-synapses",
    "task-gates",
}
"""Strategies whose options are not Avalanche's."""
OTHER_DEFAULTS = {"eps"}
"""Importances of SI have no limit here; with Avalanche's 1e-7 they reach 10^7 on digits."""


def avalanche_class(name: str) -> Any:
    from avalanche.training import plugins, supervised
    from avalanche.training.supervised.er_aml import ER_AML

    return {
        "ewc": plugins.EWCPlugin, "si": plugins.SynapticIntelligencePlugin, "mas": plugins.MASPlugin,
        "lwf": plugins.LwFPlugin, "gem": plugins.GEMPlugin, "agem": plugins.AGEMPlugin, "mir": plugins.MIRPlugin,
        "der": supervised.DER, "er-ace": supervised.ER_ACE, "er-aml": ER_AML,
    }[name]  # fmt: skip


@pytest.mark.parametrize("name", sorted(STRATEGIES.keys() - OWN_OPTIONS))
def test_options_are_avalanches(name: str) -> None:
    parameters = inspect.signature(avalanche_class(name).__init__).parameters
    for option, default in STRATEGIES[name].options.items():
        assert option in parameters
        assert option in OTHER_DEFAULTS or parameters[option].default in (default, inspect.Parameter.empty)


def test_the_page_lists_every_strategy_with_its_options() -> None:
    page = (Path(__file__).parents[3] / "docs" / "streams.md").read_text(encoding="utf-8")
    table = page.partition("| `strategy.name` |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| `([\w-]+)` \|.*?\|(?: `(\{.*\})`.*?)? \|(.*)\|$", table, re.MULTILINE)
    assert {name: yaml.safe_load(options or "{}") for name, options, _ in rows} == {
        name: strategy.options for name, strategy in STRATEGIES.items()
    }
    for name, _, needs in rows:
        strategy = STRATEGIES[name]
        assert ("memory" in needs) == strategy.replays
        assert all(("scenario" in needs) == (f"`{x}`" in needs) for x in strategy.scenarios)


@pytest.mark.parametrize("name", STRATEGIES)
def test_defaults_are_allowed(name: str) -> None:
    config = StrategyConfig(name, options=dict(STRATEGIES[name].options))
    assert config.chosen == StrategyConfig(name).chosen == STRATEGIES[name].options
    for scenario in STRATEGIES[name].scenarios:
        config.check_scenario(scenario)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "repaly"}, "name: got 'repaly', did you mean replay"),
        ({"name": "EWC"}, "name: got 'EWC', did you mean ewc"),
        ({"name": "?"}, "name: got '\\?', allowed are naive, joint"),
        ({"memory": 0}, "memory: got 0"),
        ({"memory_bytes": 0}, "memory_bytes: got 0"),
        ({"options": {"lambda": 1}}, "options: got 'lambda', allowed for replay are balance"),
        ({"name": "naive", "options": {"x": 1}}, "options: got 'x', allowed for naive are none"),
        ({"options": {"balance": "size"}}, "options: got balance: 'size', allowed are experience, class"),
        ({"name": "ewc", "options": {"ewc_lambda": "much"}}, "ewc_lambda: 'much', allowed is a number >= 0"),
        ({"name": "ewc", "options": {"ewc_lambda": -1}}, "ewc_lambda: -1, allowed is a number >= 0"),
        ({"name": "ewc", "options": {"ewc_lambda": True}}, "ewc_lambda: True, allowed is a number >= 0"),
        (
            {"name": "ewc", "options": {"mode": "online"}},
            "options.decay_factor: null is not allowed with mode: online; set a number",
        ),
        (
            {"name": "ewc", "options": {"decay_factor": 0.5}},
            "options.decay_factor: 0.5 is not allowed with mode: separate; set mode: online",
        ),
        ({"name": "mir", "options": {"subsample": 1.5}}, "subsample: 1.5, allowed is a whole number >= 1"),
        ({"name": "er-aml", "options": {"same_task_neg": 1}}, "same_task_neg: 1, allowed is true or false"),
        ({"name": "gdumb", "options": {"epochs": 0}}, "epochs: 0, allowed is null or a whole number >= 1"),
        ({"name": "spike-replay", "options": {"layer": "2"}}, "layer: '2', allowed is null or a whole number"),
        ({"name": "task-gates", "options": {"gated": 1.0}}, "gated: 1.0, allowed is a number from 0 to below 1"),
    ],
)
def test_bad_configs(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StrategyConfig(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs: got 0"),
        ({"passes": 0}, "passes: got 0"),
        ({"memory_batch_size": 0}, "memory_batch_size: got 0"),
        ({"optimizer": "rms"}, "optimizer: got 'rms', allowed are adamw, sgd"),
        ({"learning_rate": 0.0}, "learning_rate: got 0"),
        ({"precision": "16"}, "precision: got '16', allowed are 32, bf16"),
    ],
)
def test_bad_recipes(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ContinualRecipe(**changes)
