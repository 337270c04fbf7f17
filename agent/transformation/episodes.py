"""The test episodes of a policy that was converted or compressed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import nn

from snn4.agent.evaluation.episodes import TEST_SEED, Evaluator, evaluate
from snn4.agent.models.policies import TrainedPolicy
from snn4.agent.run.beings import NETWORK
from snn4.agent.run.journal import SUMMARY
from snn4.agent.transformation.comparison import grid_of, size_of
from snn4.agent.transformation.config import TransformationConfig
from snn4.agent.transformation.policy import AGENT
from snn4.envs.world import TaskConfig
from snn4.learners.algorithms import ALGORITHMS
from snn4.policies.sb3 import acting_modules


def played_by_compressed(trained: TrainedPolicy, config: TransformationConfig) -> dict[str, Any]:
    """The score of ``trained`` in the test episodes of ``config``."""
    assert config.compress is not None
    env = Evaluator(trained.max_episode_steps).environment(trained.task, config.episodes)
    score = evaluate(trained.policy, env, config.episodes, TEST_SEED, trained.normalization)
    size = size_of(nn.ModuleList(acting_modules(trained.policy)), grid_of(config.compress))
    return {"environment": trained.task.label, "scores": {NETWORK: {**score, **size}}, "part": "test"}


def played_by_converted(folder: Path, config: TransformationConfig) -> dict[str, Any]:
    """The score of the spiking agent in ``folder`` in the test episodes of ``config``."""
    assert config.environment is not None
    algorithm = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))["algorithm"]
    model = ALGORITHMS[algorithm].sb3.load(folder / AGENT, device="cpu")
    task = TaskConfig(config.environment, config.convert.images)
    env = Evaluator().environment(task, config.episodes)
    score = evaluate(model.policy, env, config.episodes, TEST_SEED)
    return {"environment": task.label, "scores": {NETWORK: score}, "part": "test"}
