"""Policy distillation: how a pupil learns a teacher's decisions before its own reinforcement learning begins."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from gymnasium import spaces
from torch import Tensor
from torch.nn import functional as F

Loss = Literal["kl", "nll", "mse"]
Mix = Literal["linear", "exponential", "teacher", "pupil"]
LAST_SHARE = 0.01
"""The teacher's share of the actions at the end of an exponential mix."""


@dataclass(frozen=True)
class PolicyTeacherConfig:
    """A teacher, and how its decisions are learned in the first steps of a stay in a task.

    The data set grows by rounds (DAgger, Ross et al. 2011): teacher and pupil act by turns, the teacher labels every
    observation that they meet, and the pupil learns all labels so far.
    """

    source: str
    """Teacher: the run folder of a life, or a .zip that SB3 saved (PPO, A2C, DQN, SAC, TD3)."""
    being: Literal["organism", "ann_twin", "relu_twin"] | None = None
    """The teacher in a run folder; null takes the ANN twin if there is one, else the organism."""
    task: str | None = None
    """The task of the teacher's life; null takes the one of the same name, else one in the same environment."""
    steps: int | None = None
    """Environment steps with the teacher; null takes a tenth of the task's steps, of which they are part. Reinforcement
    learning has the rest."""
    mix: Mix = "linear"
    """Chance that the teacher acts: falling from 1 to 0 (linear) or to 0.01 (exponential), always 1 (teacher, which is
    behavioural cloning) or always 0 (pupil)."""
    mix_fraction: float = 0.5
    """linear, exponential: fraction of ``steps`` in which the chance falls; afterwards the pupil acts alone."""
    loss: Loss | None = None
    """kl: divergence from the teacher's action probabilities. nll: negative log-likelihood of its best action. mse:
    squared error of its action in units of half the range, or of its Q-values (DQN from DQN). The default is kl for
    Discrete and mse for Box actions."""
    temperature: float | None = None
    """kl: the teacher's logits or Q-values are divided by it (Rusu et al. 2016), and a DQN pupil's Q-values, too, which
    so keep their scale. The default is 1 for logits and 0.01 for Q-values."""
    value: float = 0.5
    """Weight of the critic's squared error, relative to the variance of the returns, which it learns from the rewards
    on the way (DQN: the Q-values of the actions taken). Reinforcement learning then begins with a critic that knows the
    pupil's returns. 0 leaves the critic untaught."""
    anchor: float = 0.0
    """Weight of the loss in the reinforcement learning that follows: at each update, the policy also repeats the
    teacher's decisions on a batch of the data set. It falls to 0 over as many steps as the lessons took."""
    learning_rate: float = 1e-3
    """Learning rate of the policy's optimizers in these steps."""
    batch_size: int = 128
    """Observations per update."""
    round_steps: int = 1_000
    """Environment steps in a round."""
    epochs: int = 4
    """Passes over the data set after each round."""
    buffer: int = 20_000
    """Size of the data set; the oldest observations leave it."""
    twins: bool = True
    """Whether the twins have the same teacher. Without one, they learn from rewards alone, for as many steps."""

    def __post_init__(self) -> None:
        if not self.source:
            raise ValueError("source: got '', allowed is a run folder of a life or a .zip that SB3 saved")
        for name, kinds in (("mix", Mix), ("loss", Loss)):
            if (value := getattr(self, name)) is not None and value not in get_args(kinds):
                raise ValueError(f"{name}: got {value!r}, allowed are {', '.join(get_args(kinds))}")
        for name in ("steps", "batch_size", "round_steps", "epochs", "buffer"):
            if (value := getattr(self, name)) is not None and not 1 <= value <= 10**9:
                raise ValueError(f"{name}: got {value}, allowed is a whole number >= 1 and <= 1,000,000,000")
        if self.batch_size > self.buffer:
            raise ValueError(f"batch_size: got {self.batch_size}, allowed is up to the buffer, {self.buffer}")
        if not 0 < self.mix_fraction <= 1:
            raise ValueError(f"mix_fraction: got {self.mix_fraction}, allowed is above 0, up to 1")
        for name in ("value", "anchor"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name}: got {getattr(self, name)}, allowed is a finite number >= 0")
        for name in ("learning_rate", "temperature"):
            if (value := getattr(self, name)) is not None and not 0 < value < math.inf:
                raise ValueError(f"{name}: got {value}, allowed is a finite number > 0")

    def length(self, steps: int) -> int:
        """Environment steps with the teacher in a task of ``steps``."""
        return max(1, steps // 10) if self.steps is None else self.steps

    def share(self, progress: float) -> float:
        """The chance that the teacher acts after this fraction of the steps with it."""
        done = progress / self.mix_fraction
        match self.mix:
            case "linear":
                return max(0.0, 1 - done)
            case "exponential":
                return float(LAST_SHARE**done) if done < 1 else 0.0
        return 1.0 if self.mix == "teacher" else 0.0

    def loss_for(self, actions: spaces.Space[Any]) -> Loss:
        """The loss in an action space."""
        return self.loss or ("kl" if isinstance(actions, spaces.Discrete) else "mse")


def preferences_divergence(pupil: Tensor, teacher: Tensor) -> Tensor:
    """Kullback-Leibler divergence of softmax(``pupil``) from softmax(``teacher``), both (B, n), averaged over B."""
    wanted = teacher.log_softmax(1)
    return (wanted.exp() * (wanted - pupil.log_softmax(1))).sum(1).mean()


def best_action_loss(pupil: Tensor, teacher: Tensor) -> Tensor:
    """Negative log-probability, under softmax(``pupil``), of the greatest output of ``teacher``, both (B, n)."""
    return F.cross_entropy(pupil, teacher.argmax(1))


def action_error(pupil: Tensor, teacher: Tensor, half_range: Tensor) -> Tensor:
    """Squared error of actions (B, n) in units of ``half_range`` (n,), averaged over all."""
    return (((pupil - teacher) / half_range) ** 2).mean()


def agreement(pupil: Tensor, teacher: Tensor, half_range: Tensor | None) -> float:
    """How far the pupil would act as the teacher, from 0 to 1.

    It is the share of equal best actions or, with the ``half_range`` of Box actions, 1 less the mean distance of
    actions in units of their range.
    """
    if half_range is None:
        return float((pupil.argmax(1) == teacher.argmax(1)).float().mean())
    distance = (pupil - teacher).abs() / (2 * half_range)
    return float(1 - distance.clamp(max=1).mean())


def returns(rewards: Tensor, ends: Tensor, last_value: Tensor, gamma: float) -> Tensor:
    """Discounted returns (t, n) of ``rewards`` (t, n), up to the ``ends`` (t, n) of episodes or to ``last_value`` (n,),
    the value of the observations after the last step."""
    following, result = last_value, torch.empty_like(rewards)
    for step in range(len(rewards) - 1, -1, -1):
        following = rewards[step] + gamma * following * (1 - ends[step])
        result[step] = following
    return result
