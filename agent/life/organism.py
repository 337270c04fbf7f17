"""The organism: what lives on from task to task."""

from __future__ import annotations

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
    """What belongs to one task: all of its policy but the trunk, statistics, and the time spent there."""

    parameters: dict[str, Tensor] = field(default_factory=dict)
    normalization: dict[str, Any] | None = None
    env_steps: int = 0
    seconds: float = 0.0
    """Wall seconds of learning."""


@dataclass
class Organism:
    """A policy that many tasks share, and its life so far.

    ``trunk`` holds the synapses between hidden layers, common to all tasks; everything else of a policy is kept for
    each task, by its name, in ``tasks``.
    """

    config: PolicyConfig
    protection: Protection = field(default_factory=Protection)
    """What keeps the trunk from forgetting finished tasks."""
    trunk: dict[str, Tensor] = field(default_factory=dict)
    tasks: dict[str, TaskMemory] = field(default_factory=dict)
    age: int = 0
    """Environment steps lived."""
    lineage: list[str] = field(default_factory=list)
    """Ancestors, oldest first."""

    def remember(self, task: str, learner: Learner) -> None:
        """Take over what ``learner`` knows now."""
        parameters = {k: v.detach().clone() for k, v in learner.policy.state_dict().items()}
        for shared, name in trunk_names(learner.policy).items():
            self.trunk[shared] = parameters.pop(name)
        memory = self.tasks.setdefault(task, TaskMemory())
        memory.parameters, memory.normalization = parameters, learner.normalization()

    def spend(self, task: str, steps: int, seconds: float) -> None:
        """Grow older by ``steps`` environment steps and ``seconds`` of learning."""
        memory = self.tasks.setdefault(task, TaskMemory())
        memory.env_steps += steps
        memory.seconds += seconds
        self.age += steps

    def snapshot(self, task: str) -> dict[str, Any]:
        """What it would act with in ``task``, to go back to with `restore`."""
        memory = self.tasks[task]
        return {"trunk": dict(self.trunk), "parameters": memory.parameters, "normalization": memory.normalization}

    def restore(self, task: str, snapshot: dict[str, Any]) -> None:
        """Act in ``task`` as at the `snapshot`; age and time spent stay."""
        memory = self.tasks[task]
        self.trunk = dict(snapshot["trunk"])
        memory.parameters, memory.normalization = snapshot["parameters"], snapshot["normalization"]

    def prepare(self, task: str, policy: BasePolicy) -> BasePolicy:
        """Put the trunk, and what is remembered of ``task``, into a policy made for it."""
        state = policy.state_dict()
        known = task in self.tasks and self.tasks[task].parameters
        state |= known or {}
        state |= {name: self.trunk[shared] for shared, name in trunk_names(policy).items() if shared in self.trunk}
        policy.load_state_dict(state)
        networks = dict(policy.named_children())
        for acting in ("q_net", "actor"):  # of DQN and TD3, whose targets follow
            if not known and (target := networks.get(f"{acting}_target")) is not None:
                target.load_state_dict(networks[acting].state_dict())
        return policy

    def state(self) -> dict[str, Any]:
        """Everything but the config, as plain data and tensors."""
        return {
            "trunk": dict(self.trunk),
            "tasks": {name: vars(memory).copy() for name, memory in self.tasks.items()},
            "age": self.age,
            "lineage": list(self.lineage),
            "protection": self.protection.state(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Become the organism whose `state` was saved."""
        self.trunk, self.age, self.lineage = dict(state["trunk"]), state["age"], list(state["lineage"])
        self.tasks = {name: TaskMemory(**memory) for name, memory in state["tasks"].items()}
        self.protection.load_state(state.get("protection", {}))  # checkpoints of 0.1 have none
