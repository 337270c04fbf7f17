"""The configuration of a life: one YAML file, checked as a whole before anything is made.

The only importer of pydantic and yaml. Every problem of a file is found at once and told in one line.
"""

from __future__ import annotations

import copy
import dataclasses
import re
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import pydantic
import yaml

from snn4.agent.checks import impossibilities, unbuildable
from snn4.agent.evaluation import EvaluationConfig
from snn4.agent.training_config import TrainConfig as TrainConfig
from snn4.envs.world import TaskConfig
from snn4.learners.algorithms import LearnerConfig
from snn4.policies.sb3 import PolicyConfig

CONFIGS = Path(__file__).parent.parent / "configs"


@dataclass(frozen=True)
class LifeTask(TaskConfig):
    """A task, and how it is learned."""

    learner: LearnerConfig | None = None
    """Learner of this task alone; the life's common one if left out."""


@dataclass(frozen=True)
class RunConfig:
    """A life: who lives, where, how it learns and when it is tested."""

    name: str
    """Name of the experiment; run folders begin with it."""
    world: tuple[LifeTask, ...]
    """Tasks in the order in which they are lived."""
    seed: int = 0
    """All randomness of the life follows from it."""
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    learner: LearnerConfig = field(default_factory=LearnerConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    ann_twin: bool = False
    """Also raise the ANN twin: same widths, algorithm, hyperparameters and budget; and compare."""
    keep_checkpoints: int = 2
    """Checkpoints that are kept; the one before the newest is used where the newest is damaged."""
    device: str = "cpu"
    """torch device; small policies are fastest on a CPU."""
    threads: int = 1
    """CPU threads of torch; small policies are fastest with one."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w.-]+", self.name):
            raise ValueError(f"name: got {self.name!r}, allowed are letters, digits, '_', '-' and '.'")
        if not self.world:
            raise ValueError("world: got no task, allowed is one or more")
        for name in ("keep_checkpoints", "threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: got {getattr(self, name)}, allowed is a whole number >= 1")
        if self.seed < 0:
            raise ValueError(f"seed: got {self.seed}, allowed is a whole number >= 0")


class ConfigError(ValueError):
    """Every problem of a config, one a line."""

    def __init__(self, source: str, problems: Sequence[str]) -> None:
        self.problems = [f"{source}: {problem}" for problem in problems]
        super().__init__("\n".join(self.problems))


def load(config: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read, override and check the life ``config``: a file, or the name of one in `CONFIGS`.

    Args:
        overrides: ``seed=3``, ``world.0.steps=1000``, ``policy.neuron.tau_mem=5e-3``.

    Raises:
        ConfigError: with all problems, each naming the file, the key, what was got and what is allowed.
    """
    raw, source = _read(config)
    if "data" in raw and "world" not in raw:
        raise ConfigError(source, [f"describes a training, not a life; start it with: snn4-agent train {config}"])
    return parse(raw, source, overrides)


def load_training(config: str | Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """Read, override and check the training ``config``, as `load` does a life."""
    raw, source = _read(config)
    if "world" in raw and "data" not in raw:
        raise ConfigError(source, [f"describes a life, not a training; start it with: snn4-agent run {config}"])
    problems = [problem for override in overrides for problem in _override(raw, override)]
    problems += _mismatches(raw, TrainConfig)
    if problems:
        raise ConfigError(source, problems)
    return _ADAPTERS[TrainConfig].validate_python(raw)  # type: ignore[no-any-return]


def is_training(config: Path) -> bool:
    """Whether the file describes a training, not a life."""
    return config.is_file() and "world" not in _read(config)[0]


def _read(config: str | Path) -> tuple[dict[str, Any], str]:
    """The mapping in a config's file, and the file."""
    path = find(config)
    try:
        raw = yaml.load(path.read_text(), _Loader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(str(path), [f"cannot be read: {' '.join(str(error).split())}"]) from error
    if not isinstance(raw, dict):
        raise ConfigError(str(path), [f"got {type(raw).__name__}, allowed is a mapping of keys to values"])
    return raw, str(path)


def find(config: str | Path) -> Path:
    """The file that ``config`` names, or the shipped config of that name."""
    path = Path(config)
    if path.is_file():
        return path
    shipped = {file.stem: file for file in sorted(CONFIGS.glob("*.yaml"))}
    if str(config) in shipped:
        return shipped[str(config)]
    near = get_close_matches(path.stem, shipped, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise ConfigError(str(config), [f"no such file; {hint}Shipped configs are {', '.join(shipped)}"])


def parse(raw: dict[str, Any], source: str, overrides: Sequence[str] = ()) -> RunConfig:
    """The config in ``raw`` with ``overrides``; raises ConfigError as `load` does."""
    problems = [problem for override in overrides for problem in _override(raw, override)]
    problems += [*_mismatches(raw, RunConfig), *impossibilities(raw)]
    if problems:
        raise ConfigError(source, problems)
    config: RunConfig = _ADAPTERS[RunConfig].validate_python(raw)
    learners = [task.learner or config.learner for task in config.world]
    problems += unbuildable(config.world, learners, config.policy, config.device)
    if problems:
        raise ConfigError(source, problems)
    return config


def dump(config: Any) -> str:
    """YAML of a config with every field written out, which `load` reads to the same config."""
    return yaml.safe_dump(_plain(dataclasses.asdict(config)), sort_keys=False)


class _Loader(yaml.SafeLoader):
    """YAML 1.2 numbers: 1e-3 is a float, as people write it in papers."""


_Loader.add_implicit_resolver(  # type: ignore[no-untyped-call]
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d[\d_]*)(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def _forbid_unknown_keys(config: type) -> None:
    # pydantic ignores unknown keys of plain dataclasses unless they carry this; they themselves need not know pydantic.
    config.__pydantic_config__ = pydantic.ConfigDict(extra="forbid", strict=False)  # type: ignore[attr-defined]
    for hint in typing.get_type_hints(config).values():
        for inner in (hint, *typing.get_args(hint)):
            if dataclasses.is_dataclass(inner) and isinstance(inner, type):
                _forbid_unknown_keys(inner)


_ADAPTERS: dict[type, pydantic.TypeAdapter[Any]] = {}
for _root in (RunConfig, TrainConfig):
    _forbid_unknown_keys(_root)
    _ADAPTERS[_root] = pydantic.TypeAdapter(_root)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _override(raw: dict[str, Any], override: str) -> Iterator[str]:
    key, equals, text = override.partition("=")
    if not equals or not key:
        yield f"{override}: got no '=', allowed is key=value, for instance seed=3"
        return
    *parents, last = key.split(".")
    here: Any = raw
    try:
        for parent in parents:
            here = here[int(parent)] if isinstance(here, list) else here.setdefault(parent, {})
        here[int(last) if isinstance(here, list) else last] = yaml.load(text, _Loader)
    except (ValueError, IndexError, TypeError, AttributeError):
        yield f"{key}: there is no such place to set; lists are counted from 0 (world.0.steps=1000)"
    except yaml.YAMLError as error:
        yield f"{key}: got {text!r}, which is no YAML value ({' '.join(str(error).split())})"


def _mismatches(raw: dict[str, Any], root: type) -> list[str]:
    """What does not fit the types and the checks of ``root``, `RunConfig` or `TrainConfig`.

    A dataclass checks its values only once their types are right, so what is wrong is told, taken out, and the rest
    checked again until nothing new is found.
    """
    rest, taken = copy.deepcopy(raw), set[tuple[str, ...]]()
    found: list[str] = []
    while True:
        try:
            _ADAPTERS[root].validate_python(rest)
            return found
        except pydantic.ValidationError as error:
            places = {_place(e): e for e in error.errors() if _place(e) not in taken}
        if not places:
            return found
        for place, e in places.items():
            found.append(_explain(e, ".".join(place), root))
            taken.add(place)
            _take_out(rest, place)


def _place(error: Any) -> tuple[str, ...]:
    # pydantic also names types on the way ("learner", "LearnerConfig", "algorithm"), which are no keys of the file.
    *way, last = (str(part) for part in error["loc"]) if error["loc"] else ("",)
    place = (*(part for part in way if part != LearnerConfig.__name__), *((last,) if last else ()))
    if error["type"] == "value_error":  # raised by the dataclass that holds the key
        place += (str(error["ctx"]["error"]).partition(":")[0],)
    return place


_REQUIRED: dict[str, Any] = {"name": "x", "environment": "x", "steps": 1, "world": [{"environment": "x", "steps": 1}]}
"""What stands in for a value that was taken out and has no default."""


def _take_out(here: Any, place: Sequence[str]) -> None:
    *parents, last = place
    for parent in parents:
        here = here[int(parent)] if isinstance(here, list) else here[_key(here, parent)]
    if isinstance(here, dict):
        here.pop(_key(here, last), None)
        if last in _REQUIRED and place[0] in _REQUIRED:  # data.name and network.name have defaults
            here[last] = _REQUIRED[last]


def _key(mapping: dict[Any, Any], name: str) -> Any:
    """The key that is written ``name``: YAML also has keys that are numbers."""
    return next((key for key in mapping if str(key) == name), name)


def _explain(error: Any, place: str, root: type) -> str:
    match error["type"]:
        case "unexpected_keyword_argument":
            *parents, key = place.split(".")
            allowed = [f.name for f in dataclasses.fields(_type_at(parents, root))]
            near = get_close_matches(key, allowed, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            return f"{place}: unknown key; {hint}Allowed are {', '.join(allowed)}"
        case "missing":
            return f"{place}: missing, it has no default"
        case "value_error":
            return f"{place}: {str(error['ctx']['error']).partition(': ')[2]}"
        case "literal_error":
            return f"{place}: got {error['input']!r}, allowed is {error['ctx']['expected']}"
        case "dataclass_type":
            return f"{place}: got {error['input']!r}, allowed is a mapping of keys to values"
        case _:
            return f"{place}: got {error['input']!r}, allowed is {error['msg'].removeprefix('Input should be ')}"


def _type_at(place: Sequence[str], root: type) -> Any:
    """The dataclass that describes the mapping at ``place``."""
    here: Any = root
    for key in place:
        if key.isdigit():
            continue
        hint = typing.get_type_hints(here)[key]
        here = next(inner for inner in (hint, *typing.get_args(hint)) if dataclasses.is_dataclass(inner))
    return here
