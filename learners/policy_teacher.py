"""Teachers of policies: they give their decisions for the observations of an environment."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.dqn.policies import DQNPolicy
from stable_baselines3.sac.policies import SACPolicy
from torch import Tensor

from snn4.learners.not_finite import NotFinite, check_network
from snn4.learners.policy_distillation import PolicyTeacherConfig
from snn4.learners.saved_actor import make_actor
from snn4.learners.saved_agent import read_agent
from snn4.learners.sb3_zip import BadAgent
from snn4.policies.acting.behaviour import head_outputs

Gives = Literal["logits", "values", "actions"]


@dataclass(frozen=True, eq=False)
class PolicyTeacher:
    """A policy that has learned a task."""

    source: str
    observation_space: spaces.Space[Any]
    """Of the environment, before normalisation."""
    action_space: spaces.Space[Any]
    gives: Gives
    """Logits or Q-values of Discrete actions, or actions of a Box in the environment's units."""
    outputs: Callable[[NDArray[Any]], Tensor]
    """Normalised observations (B, …) -> (B, n)."""
    normalization: Mapping[str, Any] | None
    """Statistics of its observations (`snn4.learners.sb3_state.get_normalization`)."""
    digest: str
    """SHA-256 of its weights and statistics."""

    @torch.no_grad()
    def advise(self, observations: NDArray[Any]) -> Tensor:
        """Its decisions (B, n) for ``observations`` (B, …) of the environment, on the CPU; see ``gives``."""
        if self.normalization is not None:
            observations = _normalized(observations, self.normalization)
        outputs = self.outputs(observations).float().cpu()
        if isinstance(self.action_space, spaces.Box):
            bounds = (torch.from_numpy(bound.reshape(-1)) for bound in (self.action_space.low, self.action_space.high))
            outputs = outputs.clamp(*bounds)
        return outputs

    def actions(self, advice: Tensor) -> NDArray[Any]:
        """The best actions (B, …) by its `advise`."""
        if isinstance(self.action_space, spaces.Box):
            return advice.numpy().reshape(-1, *self.action_space.shape).astype(self.action_space.dtype)
        return advice.argmax(1).numpy()


def teacher_in_zip(path: Path) -> PolicyTeacher:
    """The agent that SB3 saved in ``path``; BadAgent if it cannot teach."""
    agent = read_agent(path)
    if agent.normalized:
        raise BadAgent(
            f"{path}: got an agent behind VecNormalize, whose statistics are in a pickle that is not read; allowed are "
            "agents without it, and run folders of lives, which hold their statistics"
        )
    actor, space = make_actor(agent), agent.action_space
    low, high = (torch.zeros(1),) * 2
    if isinstance(space, spaces.Box):
        low, high = (torch.from_numpy(bound.reshape(-1)) for bound in (space.low, space.high))

    def outputs(observations: NDArray[Any]) -> Tensor:
        decided: Tensor = actor(torch.from_numpy(observations))
        return low + (decided + 1) / 2 * (high - low) if agent.algorithm in ("SAC", "TD3") else decided

    gives: Gives = "actions" if isinstance(space, spaces.Box) else "values" if agent.algorithm == "DQN" else "logits"
    digest = _digest(agent.weights, None, agent.activation)
    return PolicyTeacher(str(path), agent.observation_space, space, gives, outputs, None, digest)


def teacher_from(
    source: str, policy: BasePolicy, observation_space: spaces.Space[Any], normalization: Mapping[str, Any] | None
) -> PolicyTeacher:
    """A policy of this project as a teacher in an environment with this ``observation_space``.

    Raises:
        BadAgent: it has a memory, or weights that are not finite.
    """
    if hasattr(policy, "lstm_actor"):
        raise BadAgent(f"{source}: got a policy with state: carry, allowed are policies without memory (state: reset)")
    try:
        check_network(policy, source)
    except NotFinite as error:
        raise BadAgent(str(error).partition(";")[0]) from error
    policy.set_training_mode(False)
    space = policy.action_space
    gives: Gives = (
        "actions" if isinstance(space, spaces.Box) else "values" if isinstance(policy, DQNPolicy) else "logits"
    )

    def outputs(observations: NDArray[Any]) -> Tensor:
        decided = head_outputs(policy, policy.obs_to_tensor(observations)[0])  # type: ignore[arg-type]
        if isinstance(policy, (ActorCriticPolicy, DQNPolicy)):
            return decided
        bounded = decided.tanh() if isinstance(policy, SACPolicy) else decided
        return torch.from_numpy(policy.unscale_action(bounded.cpu().numpy()))

    digest = _digest(policy.state_dict(), normalization, "")
    return PolicyTeacher(source, observation_space, space, gives, outputs, normalization, digest)


def misfit(teacher: PolicyTeacher, observations: spaces.Space[Any], actions: spaces.Space[Any]) -> str | None:
    """What keeps ``teacher`` from teaching in an environment with these spaces; None if it can."""
    if not isinstance(actions, (spaces.Discrete, spaces.Box)):
        return f"got actions {actions}, allowed with a teacher are Discrete and Box"
    if not isinstance(observations, (spaces.Discrete, spaces.Box)):
        return f"got observations {observations}, allowed with a teacher are Box and Discrete"
    for name, its, here in (
        ("observations", teacher.observation_space, observations), ("actions", teacher.action_space, actions)
    ):  # fmt: skip
        if not _alike(its, here, bounds=name == "actions"):
            return f"{teacher.source} has {name} {_short(its)}, allowed are {_short(here)}"
    return None


def _alike(one: spaces.Space[Any], other: spaces.Space[Any], bounds: bool) -> bool:
    if isinstance(one, spaces.Discrete) or isinstance(other, spaces.Discrete):
        return one == other
    if not (isinstance(one, spaces.Box) and isinstance(other, spaces.Box) and one.shape == other.shape):
        return False
    pixels = [space.dtype == np.uint8 for space in (one, other)]
    return pixels[0] == pixels[1] and (
        not bounds or (np.allclose(one.low, other.low, 1e-4) and np.allclose(one.high, other.high, 1e-4))
    )


def _short(space: spaces.Space[Any]) -> str:
    return " ".join(str(space).split())


def unfit_loss(config: PolicyTeacherConfig, algorithm: str, teacher: PolicyTeacher) -> str | None:
    """Why ``config.loss`` is not allowed for a pupil of ``algorithm``; None if it is."""
    loss, chooses = config.loss_for(teacher.action_space), teacher.gives != "actions"
    both_value = algorithm == "DQN" and teacher.gives == "values"
    allowed = ["kl", "nll"] + ["mse"] * both_value if chooses else ["mse"] + ["nll"] * (algorithm in ("PPO", "A2C"))
    if loss in allowed:
        return None
    what = f"{algorithm} with {'Discrete' if chooses else 'Box'} actions"
    return f"loss: got {loss!r}, allowed for {what} from this teacher are {', '.join(allowed)}"


def _normalized(observations: NDArray[Any], statistics: Mapping[str, Any]) -> NDArray[np.float32]:
    """As VecNormalize does, with its default limits."""
    mean, var = (np.asarray(statistics["observation"][name]) for name in ("mean", "var"))
    return np.clip((observations - mean) / np.sqrt(var + _EPSILON), -_LIMIT, _LIMIT).astype(np.float32)


_EPSILON, _LIMIT = 1e-8, 10.0


def _digest(weights: Mapping[str, Tensor], normalization: Mapping[str, Any] | None, about: str) -> str:
    digest = hashlib.sha256(about.encode())
    for name, value in weights.items():
        digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    for part in (normalization or {}).values():
        digest.update(np.asarray(part["mean"]).tobytes() + np.asarray(part["var"]).tobytes())
    return digest.hexdigest()
