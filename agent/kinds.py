"""The kinds of runs. ``kind:`` in a config names one; its package is imported on use."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snn4.agent.config.file import ConfigError, read
from snn4.agent.config.keys import Key, keys
from snn4.agent.run.kind import Kind

if TYPE_CHECKING:
    from snn4.agent.models.policies import TrainedPolicy

NAMES = ("life", "training", "stream", "transformation", "evolution")


def named(name: str) -> Kind:
    """The kind called ``name``.

    Raises:
        ValueError: there is no such kind.
    """
    match name:
        case "life":
            from snn4.agent.life import kind as life

            return life
        case "training":
            from snn4.agent.training import kind as training

            return training
        case "stream":
            from snn4.agent.stream import kind as stream

            return stream
        case "transformation":
            from snn4.agent.transformation.kind import Transformations

            return Transformations(_trained_policy)
        case "evolution":
            from snn4.agent.search.kind import Evolution

            return Evolution(kind_of)  # which other kinds it evolves, this module alone knows
    raise ValueError(f"kind: got {name!r}, allowed are {', '.join(NAMES)}")


def _trained_policy(folder: Path, task: str | None) -> TrainedPolicy:
    from snn4.agent.life.trained import trained_policy  # imports stable-baselines3

    return trained_policy(folder, task)


def kind_of(raw: dict[str, Any], source: str) -> Kind:
    """The kind of a config; one without ``kind:`` is of version 0.1, and its keys show the kind.

    Raises:
        ConfigError: there is no such kind.
    """
    by_key = "stream" if "stream" in raw else "training" if "data" in raw and "world" not in raw else "life"
    try:
        return named(raw.get("kind", by_key))
    except ValueError as error:
        raise ConfigError(source, [str(error)]) from error


def keys_of(key: str, kind: str | None) -> dict[str, list[Key]]:
    """``key`` and all keys below it, by kind: in the configs of ``kind``, or of all kinds that have the key.

    Kinds with the same keys share an entry: ``training, stream``.

    Raises:
        ConfigError: no config has such a key, or there is no such kind.
    """
    if kind is not None and kind not in NAMES:
        raise ConfigError("--kind", [f"got {kind!r}, allowed are {', '.join(NAMES)}"])
    rows: dict[str, list[Key]] = {}
    problems: list[ConfigError] = []
    for name in NAMES if kind is None else (kind,):
        try:
            rows[name] = keys(named(name).schema, key)
        except ConfigError as error:
            problems.append(error)
    if not rows:
        raise max(problems, key=lambda problem: "did you mean" in str(problem))
    alike = [[other for other in rows if rows[other] == rows[name]] for name in rows]
    return {", ".join(names): rows[names[0]] for names in alike}


def load(config: str | Path, overrides: Sequence[str] = ()) -> tuple[Kind, Any]:
    """Kind and checked config of a file, or of the shipped config of that name.

    Raises:
        ConfigError: lists all problems.
    """
    kind, raw, source = opened(config)
    return kind, kind.read(raw, source, overrides)


def opened(config: str | Path) -> tuple[Kind, dict[str, Any], str]:
    """Kind, content and path of a file, or of the shipped config of that name.

    Raises:
        ConfigError: there is no such file, it cannot be read, or there is no such kind.
    """
    raw, source = read(config)
    return kind_of(raw, source), raw, source
