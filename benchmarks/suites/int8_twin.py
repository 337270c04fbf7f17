"""The ANN twin of a life in eight bits, as integer hardware would compute it: the rival that spikes must beat."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from stable_baselines3.common.policies import BasePolicy
from torch import Tensor, nn

from snn4.agent.evaluation.episodes import TEST_SEED, VALIDATION_SEED, Evaluator, evaluate, observe
from snn4.agent.life.lived import Lived
from snn4.agent.life.trained import trained_policy
from snn4.agent.run.beings import ANN_TWIN
from snn4.policies.acting.behaviour import head_outputs
from snn4.policies.compression.quantization import quantized

OBSERVATIONS = 512
"""Observations of validation episodes that set the ranges of the activations."""


def int8_twin(folder: Path) -> dict[str, Any]:
    """Test scores of the twin of the life in ``folder``, in simulated int8, by task; on the life's test episodes.

    Tasks without an environment, and twins with an LSTM, are left out.
    """
    life = Lived.of(folder)
    if life.config.policy.state == "carry":
        return {}
    evaluator, tests = Evaluator(life.config.evaluation.max_episode_steps), life.config.evaluation.test_episodes
    scores = {}
    for task in {task.label: task for task in life.config.world if task.data is None}.values():
        twin, env = trained_policy(folder, task.label, ANN_TWIN), evaluator.environment(task, tests)
        seen = observe(twin.policy, env, OBSERVATIONS, VALIDATION_SEED, twin.normalization)
        small = quantized(Acting(twin.policy), seen.split(64)).policy
        score = evaluate(small, env, tests, TEST_SEED, twin.normalization)
        scores[task.label] = {key: score[key] for key in ("return_mean", "return_std", "returns", "episodes")}
    return scores


class Acting(nn.Module):
    """The part of a policy that acts: its critics keep their precision, and are never asked."""

    def __init__(self, policy: BasePolicy) -> None:
        super().__init__()
        self.policy = policy
        explorer: Any = getattr(policy, "actor", policy)
        if getattr(explorer, "use_sde", False):
            with torch.no_grad():  # gSDE's noise is born with a graph, which cannot be copied
                explorer.reset_noise()

    def forward(self, observations: Tensor) -> Tensor:
        return head_outputs(self.policy, observations)
