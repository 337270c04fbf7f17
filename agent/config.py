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

from snn4.agent.checks import booleans, contradictions, impossibilities, unbuildable
from snn4.agent.continual_config import ContinualConfig as ContinualConfig
from snn4.agent.evaluation import EvaluationConfig
from snn4.agent.fields import check_least, check_name, check_seed
from snn4.agent.training_config import TrainConfig as TrainConfig
from snn4.envs.datasets import DataConfig
from snn4.envs.world import TaskConfig
from snn4.learners.algorithms import LearnerConfig
from snn4.learners.protection import ProtectionConfig
from snn4.learners.recognition import RecognitionConfig
from snn4.policies.coding import CodingConfig
from snn4.policies.perception import NetworkConfig
from snn4.policies.sb3 import PolicyConfig

CONFIGS = Path(__file__).parent.parent / "configs"


@dataclass(frozen=True)
class LifeTask(TaskConfig):
    """A task, and how it is learned."""

    learner: LearnerConfig | None = None
    """Learner of this task alone; the life's common one if left out."""
    recognition: RecognitionConfig = field(default_factory=RecognitionConfig)
    """How images are learned, where the task is a data set."""
    coding: CodingConfig | None = None
    """Code of this task's observations; the policy's if left out."""
    encoder: NetworkConfig | None = None
    """A network that sees this task's images; the policy's if left out."""
    reference: float | None = None
    """Return of a policy that has learned nothing else, which counts as 1 where returns are normalised; the best that
    the being itself validated here if left out."""

    def policy(self, common: PolicyConfig) -> PolicyConfig:
        """The life's ``common`` policy with what is this task's own."""
        own = {"coding": self.coding, "encoder": self.encoder}
        return dataclasses.replace(common, **{name: value for name, value in own.items() if value is not None})  # type: ignore[arg-type]


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
    protection: ProtectionConfig = field(default_factory=ProtectionConfig)
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
        check_name(self.name)
        if not self.world:
            raise ValueError("world: got no task, allowed is one or more")
        if self.protection.kind != "none" and len(self.policy.net_arch) < 2:
            got = f"{self.protection.kind} with net_arch {list(self.policy.net_arch)}"
            raise ValueError(f"protection: got {got}, allowed are two or more layers, between which lies the trunk")
        if self.protection.measures and self.policy.state == "carry":
            raise ValueError(f"protection: got {self.protection.kind} with state: carry, allowed are none and freeze")
        if self.policy.state == "carry" and any(task.data is not None for task in self.world):
            raise ValueError("policy: got state carry in a world with images, allowed is reset")
        check_least(self, 1, "keep_checkpoints", "threads")
        check_seed(self.seed)


class ConfigError(ValueError):
    """Every problem of a config, one a line."""

    def __init__(self, source: str, problems: Sequence[str]) -> None:
        super().__init__(source, problems)  # what it is made of, so that processes can hand it to one another
        self.problems = [f"{source}: {problem}" for problem in problems]

    def __str__(self) -> str:
        return "\n".join(self.problems)


def load(config: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read, override and check the life ``config``: a file, or the name of one in `CONFIGS`.

    Args:
        overrides: ``seed=3``, ``world.0.steps=1000``, ``policy.neuron.tau_mem=5e-3``.

    Raises:
        ConfigError: with all problems, each naming the file, the key, what was got and what is allowed.
    """
    raw, source = _read(config)
    _refuse_other_kinds(raw, source, config, "life")
    return parse(raw, source, overrides)


def load_training(config: str | Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """Read, override and check the training ``config``, as `load` does a life."""
    raw, source = _read(config)
    _refuse_other_kinds(raw, source, config, "training")
    return _checked(raw, source, overrides, TrainConfig)  # type: ignore[no-any-return]


def load_continual(config: str | Path, overrides: Sequence[str] = ()) -> ContinualConfig:
    """Read, override and check the stream of experiences ``config``, as `load` does a life."""
    raw, source = _read(config)
    _refuse_other_kinds(raw, source, config, "stream")
    return _checked(raw, source, overrides, ContinualConfig)  # type: ignore[no-any-return]


def is_training(config: Path) -> bool:
    """Whether the file describes a training, not a life or a stream."""
    return config.is_file() and not {"world", "stream"} & _read(config)[0].keys()


def is_stream(config: str | Path) -> bool:
    """Whether a file, or the shipped config of that name, describes a stream of experiences."""
    return _kind(_read(config)[0]) == "stream"


_KINDS = {"life": ("world", "run"), "stream": ("stream", "run"), "training": ("data", "train")}
"""What a config can describe: the key by which it is known, and the command that starts it."""


def _kind(raw: dict[str, Any]) -> str | None:
    """What the keys say that ``raw`` describes."""
    return next((kind for kind, (key, _) in _KINDS.items() if key in raw), None)


def _refuse_other_kinds(raw: dict[str, Any], source: str, config: str | Path, wanted: str) -> None:
    kind = _kind(raw)
    if kind is not None and _KINDS[wanted][0] not in raw:
        told = f"describes a {kind}, not a {wanted}; start it with: snn4-agent {_KINDS[kind][1]} {config}"
        raise ConfigError(source, [told])


def _checked(raw: dict[str, Any], source: str, overrides: Sequence[str], root: type) -> Any:
    problems = [problem for override in overrides for problem in _override(raw, override)]
    problems += _mismatches(raw, root)
    if problems:
        raise ConfigError(source, problems)
    return _ADAPTERS[root].validate_python(raw)


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
    hint = f"did you mean {near[0]}? Shipped" if near else "shipped"
    what = "is a folder" if str(config) and path.is_dir() else "no such file"
    raise ConfigError(str(config) or "CONFIG", [f"{what}; {hint} configs are {', '.join(shipped)}"])


def parse(raw: dict[str, Any], source: str, overrides: Sequence[str] = ()) -> RunConfig:
    """The config in ``raw`` with ``overrides``; raises ConfigError as `load` does."""
    problems = [problem for override in overrides for problem in _override(raw, override)]
    problems += _impossible_rounds(raw)
    once = _unrolled(raw, repeat=False)
    problems += [*_mismatches(once, RunConfig), *impossibilities(once)]
    if problems:
        raise ConfigError(source, problems)
    config: RunConfig = _ADAPTERS[RunConfig].validate_python(_unrolled(raw))
    problems += [*unlivable(config), *contradictions(config.world)]
    if problems:
        raise ConfigError(source, problems)
    return config


def unlivable(config: RunConfig, images: bool = False) -> Iterator[str]:
    """What is found out by making the learners of a life (`snn4.agent.checks.unbuildable`)."""
    learners = [task.learner or config.learner for task in config.world]
    policies = [task.policy(config.policy) for task in config.world]
    return unbuildable(config.world, learners, policies, config.device, images)


def _unrolled(raw: dict[str, Any], repeat: bool = True) -> dict[str, Any]:
    """``raw`` with its tasks in one list: ``rounds`` repeats a world, and a world may hold worlds of its own."""

    def tasks(group: dict[str, Any]) -> list[Any]:
        inner = [tasks(entry) if _is_group(entry) else [_named(entry)] for entry in group["world"]]
        return [task for part in inner for task in part] * (group.get("rounds", 1) if repeat else 1)

    rest = {key: value for key, value in raw.items() if key != "rounds"}
    return {**rest, "world": copy.deepcopy(tasks(raw))} if _is_group(raw) else rest


def _impossible_rounds(group: dict[str, Any], place: str = "") -> Iterator[str]:
    rounds = group.get("rounds", 1)
    if type(rounds) is not int or rounds < 1:
        yield f"{place}rounds: got {rounds!r}, allowed is a whole number >= 1"
    for number, entry in enumerate(group["world"] if _is_group(group) else []):
        if _is_group(entry):
            here, others = f"{place}world.{number}.", [key for key in entry if key not in ("world", "rounds")]
            yield from (f"{here}{key}: unknown key of a group; allowed are world, rounds" for key in others)
            yield from _impossible_rounds(entry, here)


def _named(task: Any) -> Any:
    """Images need no environment: their data set gives its name."""
    if isinstance(task, dict) and isinstance(data := task.get("data"), dict):
        return {"environment": data.get("name", DataConfig.name), **task}
    return task


def _is_group(entry: Any) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("world"), list)


def dump(config: Any) -> str:
    """YAML of a config with every field written out, which `load` reads to the same config."""
    return yaml.dump(_plain(dataclasses.asdict(config)), Dumper=_Dumper, sort_keys=False)


class _Loader(yaml.SafeLoader):
    """YAML 1.2 numbers: 1e-3 is a float, as people write it in papers."""


class _Dumper(yaml.SafeDumper):
    """Quotes texts that `_Loader` would take for numbers."""


for _yaml in (_Loader, _Dumper):
    _yaml.add_implicit_resolver(
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
for _root in (RunConfig, TrainConfig, ContinualConfig):
    _forbid_unknown_keys(_root)
    _ADAPTERS[_root] = pydantic.TypeAdapter(_root)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _override(raw: dict[str, Any], override: str) -> Iterator[str]:
    key, equals, text = override.partition("=")
    if not equals or not key:
        yield f"{override}: got no {'key' if equals else repr('=')}, allowed is key=value, for instance seed=3"
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
    """What does not fit the types and the checks of ``root``, one of `_ADAPTERS`.

    A dataclass checks its values only once their types are right, so what is wrong is told, taken out, and the rest
    checked again until nothing new is found.
    """
    rest, taken = copy.deepcopy(raw), set[tuple[str, ...]]()
    found: list[str] = []
    while True:
        try:
            built = _ADAPTERS[root].validate_python(rest)
            return [*found, *booleans(rest, built)]
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
    if error["type"] == "value_error":  # raised by the dataclass that holds the key, or holds what holds it
        place += tuple(str(error["ctx"]["error"]).partition(":")[0].split("."))
    return place


_REQUIRED: dict[str, Any] = {"name": "x", "environment": "x", "steps": 1, "world": [{"environment": "x", "steps": 1}]}
"""What stands in for a value that was taken out and has no default."""
_TOGETHER = {"classes": "experiences"}
"""What is taken out with a value, as it counts it."""


def _take_out(here: Any, place: Sequence[str]) -> None:
    *parents, last = place
    for parent in parents:
        here = here[int(parent)] if isinstance(here, list) else here[_key(here, parent)]
    if isinstance(here, dict):
        here.pop(_key(here, last), None)
        here.pop(_TOGETHER.get(last), None)
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
            return f"{place}: got {error['input']!r}, allowed is {_wanted(error['msg'])}"


def _wanted(message: str) -> str:
    return message.removeprefix("Input should be ").replace("valid tuple", "list")  # which YAML has instead


def _type_at(place: Sequence[str], root: type) -> Any:
    """The dataclass that describes the mapping at ``place``."""
    here: Any = root
    for key in place:
        if key.isdigit():
            continue
        hint = typing.get_type_hints(here)[key]
        here = next(inner for inner in (hint, *typing.get_args(hint)) if dataclasses.is_dataclass(inner))
    return here
