"""The configs of commands: of a file with changes, and those that convert, compress and evolve write themselves."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from snn4.agent import kinds
from snn4.agent.models.files import data_of, find_model
from snn4.agent.models.nir_file import is_nir, known_of
from snn4.agent.run.journal import CONFIG, RunError
from snn4.agent.run.kind import Kind

RECOVERY = {"epochs": 5, "batch_size": 64, "learning_rate": 1e-3, "weight_decay": 0.0, "schedule": "cosine",
            "warmup": 0.05, "final": 0.0}  # fmt: skip
"""The recipe by which a compressed classifier recovers, where no other is given."""


def read_config(config: str, overrides: Sequence[str], shorthands: Mapping[str, str | None]) -> tuple[Kind, Any]:
    """Kind and checked config of a file or a shipped config.

    Args:
        config: a path or a name.
        overrides: ``key=value``.
        shorthands: options of the command line; None for those that were not given.
    """
    kind, raw, source = kinds.opened(config)
    given = {name: value for name, value in shorthands.items() if value is not None}
    if wrong := [f"--{name}" for name in given if name not in kind.shorthands]:
        raise RunError(f"{', '.join(wrong)}: not allowed for a {kind.name}; leave it out")
    return kind, kind.read(raw, source, [*overrides, *(f"{kind.shorthands[name]}={given[name]}" for name in given)])


def listed(values: Sequence[str] | None) -> str | None:
    """The value of an option that was given several times, as YAML; None if it was not given."""
    if not values:
        return None
    return json.dumps(values[0] if len(values) == 1 else list(values))


def transformation_of(model: str, given: Mapping[str, Any], overrides: Sequence[str]) -> tuple[Kind, Any]:
    """Kind and checked config of a transformation of ``model``, without a file.

    Args:
        model: a source of `snn4.agent.models.sources`.
        given: values by key, of options; None for those that were not given.
        overrides: ``key=value``.
    """
    kind = kinds.named("transformation")
    raw: dict[str, Any] = {"name": f"{_name_of(model)}-snn", "kind": kind.name, "model": {"source": model}}
    if is_nir(model):
        raw |= _of_nir(model, given)
    elif given.get("data.name") is None and (learned := data_of(model)) is not None:
        raw["data"] = {"name": learned}
    changes = [f"{key}={json.dumps(value)}" for key, value in given.items() if value is not None]
    return kind, kind.read(raw, f"convert {model}", [*changes, *overrides])


def _of_nir(model: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """What a NIR file says for the config of its import, in place of what is not given."""
    for key, option in (("convert.method", "method"), ("convert.neuron", "neuron"), ("environment", "environment"),
                        ("model.architecture", "architecture")):  # fmt: skip
        if given.get(key) is not None:
            raise RunError(f"--{option}: not allowed for {model}, whose network is taken as it is; leave it out")
    known = known_of(model)
    if "data" not in known and given.get("data.name") is None and "environment" not in known:
        raise RunError(f"{model}: does not say what data it has learned; name it with --data")
    if "T" not in known and given.get("convert.T") is None:
        raise RunError(f"{model}: does not say how many steps a decision takes; give them with --steps")
    said: dict[str, Any] = {"data": {"name": known["data"]}} if "data" in known else {}
    return said | ({"convert": {"T": known["T"]}} if "T" in known else {})


def _name_of(model: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", Path(model).stem or model).strip("-") or "model"


def compression_of(model: str, given: Mapping[str, Any], overrides: Sequence[str]) -> tuple[Kind, Any]:
    """Kind and checked config of the compression of ``model``, without a file.

    Args:
        model: the run folder of a life, training or conversion, or zoo:NAME.
        given: values by key, of options; None for those that were not given.
        overrides: ``key=value``.
    """
    kind, folder = kinds.named("transformation"), find_model(model)
    raw: dict[str, Any] = {"name": f"{_name_of(model)}-small", "kind": kind.name, "model": {"source": model}}
    raw |= {"compress": {}, "finetune": dict(RECOVERY), "distillation": 0.5}
    if (folder / CONFIG).is_file():
        source, learned, _ = kinds.opened(folder / CONFIG)
        _require_compressible(model, source.name, given)
        if "data" in learned:
            raw["data"] = {**learned["data"], "root": None}
    changes = [f"{key}={json.dumps(value)}" for key, value in given.items() if value is not None]
    return kind, kind.read(raw, f"compress {model}", [*changes, *overrides])


def _require_compressible(model: str, kind: str, given: Mapping[str, Any]) -> None:
    """Refuse runs without a network of their own, and options that would do nothing."""
    if kind not in ("life", "training", "transformation"):
        raise RunError(f"{model}: got a {kind}, allowed are a life, a training and a conversion")
    useless = {"--epochs": "finetune.epochs"} if kind == "life" else {"--steps": "compress.steps", "--task": "task"}
    if wrong := [option for option, key in useless.items() if given.get(key) is not None]:
        raise RunError(f"{model}: {', '.join(wrong)}: not allowed for a {kind}; leave it out")


def evolution_of(config: str, given: Mapping[str, Any], overrides: Sequence[str]) -> tuple[Kind, Any]:
    """Kind and checked config of an evolution of ``config``, a file or a shipped config of another kind.

    Args:
        config: a path or a name.
        given: values of the search by key, of options; None for those that were not given.
        overrides: ``key=value``: of the search where the key begins with ``search.``, of ``config`` elsewhere.
    """
    from snn4.agent.search.kind import raw_of

    kind, (subject, checked) = kinds.named("evolution"), kinds.load(config, [o for o in overrides if not _is_search(o)])
    if subject.name == kind.name:
        raise RunError(f"{config}: is an evolution already; start it with: snn4-agent run {config}")
    changes = [f"search.{key}={json.dumps(value)}" for key, value in given.items() if value is not None]
    return kind, kind.read(raw_of(checked), f"evolve {config}", [*changes, *filter(_is_search, overrides)])


def _is_search(override: str) -> bool:
    return override.startswith("search.")
