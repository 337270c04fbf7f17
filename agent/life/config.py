"""The configuration of a life: one YAML file, checked as a whole before anything is built."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from snn4.agent.config.fields import check_least, check_name, check_seed
from snn4.agent.config.file import ConfigError, built, mismatches, overridden
from snn4.agent.evaluation.episodes import EvaluationConfig
from snn4.agent.evolution.config import EvolutionConfig
from snn4.agent.life.checks import contradictions, impossibilities, is_group, too_many_tasks, unbuildable
from snn4.agent.run.beings import ANN_TWIN, ORGANISM, RELU_TWIN
from snn4.envs.data.datasets import DataConfig
from snn4.envs.world import TaskConfig
from snn4.learners.algorithms import LearnerConfig
from snn4.learners.classification import ClassificationConfig
from snn4.learners.policy_distillation import PolicyTeacherConfig
from snn4.learners.protection import ProtectionConfig
from snn4.policies.coding import CodingConfig
from snn4.policies.networks.config import NetworkConfig
from snn4.policies.sb3 import PolicyConfig


@dataclass(frozen=True)
class LifeTask(TaskConfig):
    """A task, and how it is learned."""

    learner: LearnerConfig | None = None
    """Learner of this task; null takes the life's learner."""
    recognition: ClassificationConfig = field(default_factory=ClassificationConfig)
    """How images are learned, if the task is a data set."""
    coding: CodingConfig | None = None
    """Code of this task's observations; null takes the policy's."""
    encoder: NetworkConfig | None = None
    """Network for this task's images; null takes the policy's."""
    reference: float | None = None
    """Return that counts as 1 in normalised returns: that of a policy trained on this task alone; null takes the best
    validation of the being itself."""
    teacher: PolicyTeacherConfig | None = None
    """Teacher of this task; null takes the life's teacher."""

    def policy(self, common: PolicyConfig) -> PolicyConfig:
        """The life's ``common`` policy with this task's own code and encoder."""
        changes = {"coding": self.coding, "encoder": self.encoder}
        return dataclasses.replace(common, **{name: value for name, value in changes.items() if value is not None})  # type: ignore[arg-type]


@dataclass(frozen=True)
class LifeConfig:
    """A life: who lives, in which world, how it learns and when it is tested."""

    name: str
    """Name of the experiment; run folders begin with it."""
    world: tuple[LifeTask, ...]
    """Tasks in order."""
    seed: int = 0
    """Seed of all randomness in the life."""
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    learner: LearnerConfig = field(default_factory=LearnerConfig)
    teacher: PolicyTeacherConfig | None = None
    """Teacher of all tasks with environments; each stay begins with its lessons, and rewards alone teach the rest."""
    protection: ProtectionConfig = field(default_factory=ProtectionConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    evolution: EvolutionConfig | None = None
    """Generations in which the organism, but no twin, improves its neurons and codes; null: it keeps its genes."""
    ann_twin: bool = False
    """Also train the ANN twin, with the same widths, algorithm, hyperparameters and budget, and compare."""
    relu_twin: bool = False
    """Also train a twin with ReLU, whose zeros are skipped: it costs less than a twin with PPO's tanh."""
    keep_checkpoints: int = 2
    """Number of checkpoints to keep; if the newest is damaged, the one before it is used."""
    device: str = "cpu"
    """torch device; small policies are fastest on a CPU."""
    threads: int = 0
    """CPU threads of torch; 0 takes the fastest number: one, for the small policies of a life."""
    kind: Literal["life"] = "life"
    """Kind of run."""

    def learner_of(self, task: LifeTask) -> LearnerConfig:
        """The learner of ``task``: its own, or the life's."""
        return task.learner or self.learner

    def teacher_of(self, task: LifeTask) -> PolicyTeacherConfig | None:
        """The teacher of ``task``: its own, or the life's; None for images and without a teacher."""
        return None if task.data is not None else task.teacher or self.teacher

    @property
    def beings(self) -> dict[str, PolicyConfig]:
        """Who lives, one after the other, with its policy."""
        policies = {ORGANISM: self.policy}
        if self.ann_twin:
            policies[ANN_TWIN] = self.policy.ann_twin()
        if self.relu_twin:
            policies[RELU_TWIN] = self.policy.ann_twin("relu")
        return policies

    def __post_init__(self) -> None:
        check_name(self.name)
        if not self.world:
            raise ValueError("world: got no task, allowed is one or more")
        protection, carries = self.protection.kind, self.policy.state == "carry"
        if protection != "none" and len(self.policy.net_arch) < 2:
            relation = f"{protection} is not allowed with net_arch {list(self.policy.net_arch)}"
            raise ValueError(f"protection: {relation}, which has no trunk; set two or more layers")
        if self.protection.measures and carries:
            raise ValueError(f"protection: {protection} is not allowed with state: carry; set none or freeze")
        if carries and any(task.data is not None for task in self.world):
            raise ValueError("policy: state: carry is not allowed in a world with images; set state: reset")
        if self.relu_twin and carries:
            raise ValueError("relu_twin: not allowed with state: carry, where the twin is an LSTM; leave it out")
        self._check_teachers()
        self._check_evolution()
        check_least(self, 1, "keep_checkpoints")
        check_least(self, 0, "threads")
        check_seed(self.seed)

    @property
    def fixed_genes(self) -> tuple[str, ...]:
        """Keys that cannot evolve beside the other values; see `snn4.policies.gene.loci`."""
        own = all(task.learner is not None for task in self.world)
        return ("evolution", "learner") if own else ("evolution",)

    def _check_evolution(self) -> None:
        evolution, longest = self.evolution, max(task.steps for task in self.world)
        if evolution is None:
            return
        if evolution.cost >= longest:
            got = f"population {evolution.population} x trial {evolution.trial:,}"
            raise ValueError(f"evolution: got {got} steps, allowed are fewer than the {longest:,} of the longest task")
        if self.policy.state == "carry" and evolution.lessons:
            raise ValueError("evolution.lessons: not allowed with state: carry, which cannot be taught; set 0")

    def _check_teachers(self) -> None:
        for number, task in enumerate(self.world):
            if task.teacher is not None and task.data is not None:
                raise ValueError(f"world.{number}.teacher: not allowed with data, whose labels teach; leave it out")
            if (lessons := self.teacher_of(task)) is None:
                continue
            place = "teacher" if task.teacher is None else f"world.{number}.teacher"
            if self.policy.state == "carry":
                raise ValueError(f"{place}: not allowed with state: carry; set policy.state: reset, or leave it out")
            if lessons.length(task.steps) > task.steps:
                raise ValueError(
                    f"{place}.steps: got {lessons.steps:,}, allowed are up to the {task.steps:,} steps of "
                    f"{task.name}, of which they are part"
                )


def read(raw: dict[str, Any], source: str, overrides: Sequence[str] = ()) -> LifeConfig:
    """The config of the life in ``raw``.

    Args:
        raw: content of a file.
        source: the file.
        overrides: ``seed=3``, ``world.0.steps=1000``, ``policy.neuron.tau_mem=5e-3``.

    Raises:
        ConfigError: lists all problems, each with the file, the key, what was got and what is allowed.
    """
    problems = [*overridden(raw, overrides), *_named_encoder(raw), *_impossible_rounds(raw)]
    if too_many := list(too_many_tasks(raw)):
        raise ConfigError(source, [*problems, *too_many])
    once = _unrolled(raw, repeat=False)
    problems += [*mismatches(once, LifeConfig), *impossibilities(once)]
    if problems:
        raise ConfigError(source, problems)
    config: LifeConfig = built(_unrolled(raw), LifeConfig)
    if config.evolution is not None:
        problems += [f"evolution.{problem}" for problem in config.evolution.problems(config)]
    problems += [*unlivable(config), *contradictions(config.world)]
    if problems:
        raise ConfigError(source, problems)
    return config


def _named_encoder(raw: dict[str, Any]) -> Iterator[str]:
    """Put the network of a run folder, or of the zoo, in place of its name, and let the life start from its weights."""
    policy = raw.get("policy")
    if not isinstance(policy, dict) or not isinstance(name := policy.get("encoder"), str):
        return
    from snn4.agent.models.files import ModelError, find_model  # reads models
    from snn4.agent.models.sources import network_of

    policy["encoder"] = None
    try:
        folder = find_model(name)
        if not (folder / "model.safetensors").is_file():
            allowed = "the run folder of a training or conversion, zoo:NAME, or a mapping of keys to values"
            yield f"policy.encoder: got {name!r}, allowed is {allowed}"
            return
        policy["encoder"] = network_of(folder / "model.safetensors")
    except (ModelError, ConfigError) as error:
        yield f"policy.encoder: {error}"
        return
    policy.setdefault("initial", str(folder))


def unlivable(config: LifeConfig, images: bool = False) -> Iterator[str]:
    """Problems that show only when the learners of a life are built (`snn4.agent.life.checks.unbuildable`)."""
    learners = [config.learner_of(task) for task in config.world]
    policies = [task.policy(config.policy) for task in config.world]
    return unbuildable(config.world, learners, policies, config.device, images)


def _unrolled(raw: dict[str, Any], repeat: bool = True) -> dict[str, Any]:
    """``raw`` with all tasks in one list: ``rounds`` repeats a world, and a world may contain groups with worlds."""

    def tasks(group: dict[str, Any]) -> list[Any]:
        inner = [tasks(entry) if is_group(entry) else [_named(entry)] for entry in group["world"]]
        return [task for part in inner for task in part] * (group.get("rounds", 1) if repeat else 1)

    rest = {key: value for key, value in raw.items() if key != "rounds"}
    return {**rest, "world": copy.deepcopy(tasks(raw))} if is_group(raw) else rest


def _impossible_rounds(group: dict[str, Any], place: str = "") -> Iterator[str]:
    rounds = group.get("rounds", 1)
    if type(rounds) is not int or rounds < 1:
        yield f"{place}rounds: got {rounds!r}, allowed is a whole number >= 1"
    for number, entry in enumerate(group["world"] if is_group(group) else []):
        if is_group(entry):
            inner = f"{place}world.{number}."
            unknown = [key for key in entry if key not in ("world", "rounds")]
            yield from (f"{inner}{key}: unknown key of a group; allowed are world, rounds" for key in unknown)
            yield from _impossible_rounds(entry, inner)


def _named(task: Any) -> Any:
    """``task``, with the name of its data set where it has no environment."""
    if isinstance(task, dict) and isinstance(data := task.get("data"), dict):
        return {"environment": data.get("name", DataConfig.name), **task}
    return task
