"""The organism: what lives on from task to task."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.dqn.policies import DQNPolicy
from torch import Tensor

from snn4.learners.reinforcement import ReinforcementLearner
from snn4.policies.sb3 import PolicyConfig, trunk_names


@dataclass
class TaskMemory:
    """What belongs to one environment: encoder, heads, critic and statistics, and the time spent there."""

    parameters: dict[str, Tensor] = field(default_factory=dict)
    normalization: dict[str, Any] | None = None
    env_steps: int = 0
    seconds: float = 0.0
    """Wall seconds of learning."""


@dataclass
class Organism:
    """A policy that many tasks share, and its life so far.

    ``trunk`` holds the synapses between hidden layers, common to all tasks; everything else of a policy is kept for
    each environment in ``tasks``.
    """

    config: PolicyConfig
    trunk: dict[str, Tensor] = field(default_factory=dict)
    tasks: dict[str, TaskMemory] = field(default_factory=dict)
    age: int = 0
    """Environment steps lived."""
    lineage: list[str] = field(default_factory=list)
    """Ancestors, oldest first."""

    def remember(self, environment: str, learner: ReinforcementLearner) -> None:
        """Take over what ``learner`` knows now."""
        parameters = {k: v.detach().clone() for k, v in learner.model.policy.state_dict().items()}
        for shared, name in trunk_names(learner.model.policy).items():
            self.trunk[shared] = parameters.pop(name)
        memory = self.tasks.setdefault(environment, TaskMemory())
        memory.parameters, memory.normalization = parameters, learner.normalization()

    def spend(self, environment: str, steps: int, seconds: float) -> None:
        """Grow older by ``steps`` environment steps and ``seconds`` of learning."""
        memory = self.tasks.setdefault(environment, TaskMemory())
        memory.env_steps += steps
        memory.seconds += seconds
        self.age += steps

    def snapshot(self, environment: str) -> dict[str, Any]:
        """What it would act with in ``environment``, to go back to with `restore`."""
        memory = self.tasks[environment]
        return {"trunk": dict(self.trunk), "parameters": memory.parameters, "normalization": memory.normalization}

    def restore(self, environment: str, snapshot: dict[str, Any]) -> None:
        """Act in ``environment`` as at the `snapshot`; age and time spent stay."""
        memory = self.tasks[environment]
        self.trunk = dict(snapshot["trunk"])
        memory.parameters, memory.normalization = snapshot["parameters"], snapshot["normalization"]

    def prepare(self, environment: str, policy: BasePolicy) -> BasePolicy:
        """Put the trunk, and what is remembered of ``environment``, into a policy made for it."""
        state = policy.state_dict()
        known = environment in self.tasks and self.tasks[environment].parameters
        state |= known or {}
        state |= {name: self.trunk[shared] for shared, name in trunk_names(policy).items() if shared in self.trunk}
        policy.load_state_dict(state)
        if not known and isinstance(policy, DQNPolicy):
            policy.q_net_target.load_state_dict(policy.q_net.state_dict())
        return policy

    def state(self) -> dict[str, Any]:
        """Everything but the config, as plain data and tensors."""
        return {
            "trunk": dict(self.trunk),
            "tasks": {name: vars(memory).copy() for name, memory in self.tasks.items()},
            "age": self.age,
            "lineage": list(self.lineage),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Become the organism whose `state` was saved."""
        self.trunk, self.age, self.lineage = dict(state["trunk"]), state["age"], list(state["lineage"])
        self.tasks = {name: TaskMemory(**memory) for name, memory in state["tasks"].items()}
