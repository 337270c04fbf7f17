"""The organism, which lives from task to task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from stable_baselines3.common.policies import BasePolicy
from torch import Tensor

from snn4.learners.classification import ClassificationLearner
from snn4.learners.protection import Protection
from snn4.learners.reinforcement import ReinforcementLearner
from snn4.policies.sb3 import PolicyConfig, trunk_names

Learner = ReinforcementLearner | ClassificationLearner


@dataclass
class TaskMemory:
    """The part of an organism that belongs to one task: its policy without the trunk, statistics, and time spent."""

    parameters: dict[str, Tensor] = field(default_factory=dict)
    normalization: dict[str, Any] | None = None
    env_steps: int = 0
    seconds: float = 0.0
    """Wall seconds of learning."""


@dataclass
class Organism:
    """A policy shared by many tasks, and its life so far.

    ``trunk`` holds the synapses between hidden layers, which all tasks share; ``tasks`` holds the rest of the policy of
    each task, by the task's name.
    """

    config: PolicyConfig
    protection: Protection = field(default_factory=Protection)
    """Keeps the trunk from forgetting finished tasks."""
    trunk: dict[str, Tensor] = field(default_factory=dict)
    tasks: dict[str, TaskMemory] = field(default_factory=dict)
    age: int = 0
    """Environment steps lived."""
    lineage: list[str] = field(default_factory=list)
    """Ancestors, oldest first: numbers of adopted candidates."""
    genes: dict[str, Any] = field(default_factory=dict)
    """What evolution has changed, by key in the config of the life."""

    def remember(self, task: str, learner: Learner) -> None:
        """Copy the present weights and statistics of ``learner``."""
        parameters = {name: value.detach().clone() for name, value in learner.policy.state_dict().items()}
        for shared, name in trunk_names(learner.policy).items():
            self.trunk[shared] = parameters.pop(name)
        memory = self.tasks.setdefault(task, TaskMemory())
        memory.parameters, memory.normalization = parameters, learner.normalization()

    def spend(self, task: str, steps: int, seconds: float) -> None:
        """Add ``steps`` environment steps and ``seconds`` of learning to its age."""
        memory = self.tasks.setdefault(task, TaskMemory())
        memory.env_steps += steps
        memory.seconds += seconds
        self.age += steps

    def snapshot(self, task: str) -> dict[str, Any]:
        """Its present weights and statistics in ``task``, for `restore`."""
        memory = self.tasks[task]
        return {"trunk": dict(self.trunk), "parameters": memory.parameters, "normalization": memory.normalization}

    def restore(self, task: str, snapshot: dict[str, Any]) -> None:
        """Return to a `snapshot` of ``task``; age and time spent stay."""
        memory = self.tasks[task]
        self.trunk = dict(snapshot["trunk"])
        memory.parameters, memory.normalization = snapshot["parameters"], snapshot["normalization"]

    def become(self, candidate: Mapping[str, Any]) -> None:
        """Take the weights and statistics of a candidate, whose `state` this is; age and time spent stay."""
        self.trunk = dict(candidate["trunk"])
        for name, theirs in candidate["tasks"].items():
            memory = self.tasks.setdefault(name, TaskMemory())
            memory.parameters, memory.normalization = theirs["parameters"], theirs["normalization"]

    def prepare(self, task: str, policy: BasePolicy) -> BasePolicy:
        """Load the trunk, and the memory of ``task``, into a policy made for ``task``."""
        state = policy.state_dict()
        known = self.tasks[task].parameters if task in self.tasks else {}
        state |= known
        state |= {name: self.trunk[shared] for shared, name in trunk_names(policy).items() if shared in self.trunk}
        policy.load_state_dict(state)
        networks = dict(policy.named_children())
        for acting in ("q_net", "actor"):  # of DQN and TD3, whose targets follow
            target = networks.get(f"{acting}_target")
            if target is not None and any(f"{acting}_target.{name}" not in known for name in target.state_dict()):
                target.load_state_dict(networks[acting].state_dict())
        return policy

    def state(self) -> dict[str, Any]:
        """All but the config, as plain data and tensors."""
        return {
            "trunk": dict(self.trunk),
            "tasks": {name: vars(memory).copy() for name, memory in self.tasks.items()},
            "age": self.age,
            "lineage": list(self.lineage),
            "genes": dict(self.genes),
            "protection": self.protection.state(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from ``state``."""
        self.trunk = dict(state["trunk"])
        self.age = state["age"]
        self.lineage = list(state["lineage"])
        self.genes = dict(state.get("genes", {}))  # checkpoints of 0.1 have none
        self.tasks = {name: TaskMemory(**memory) for name, memory in state["tasks"].items()}
        self.protection.load_state(state.get("protection", {}))  # early checkpoints of version 0.1 have none
