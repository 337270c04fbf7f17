"""Acting in the episodes that count: copies of an environment end theirs at different times."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.policies import BasePolicy

from snn4.learners.not_finite import require_finite


class Counted:
    """``policy`` and callback for SB3's ``evaluate_policy``, which steps all copies until the last one is done.

    Only those copies that still owe an episode are decided for, so that whoever watches the policy sees the decisions
    of the counted episodes and no others. The rest repeat the action of one of them.

    Args:
        policy: decides.
        episodes: in all.
        copies: of the environment.
    """

    def __init__(self, policy: BasePolicy, episodes: int, copies: int) -> None:
        self.policy = policy
        self._counts, self._targets = np.zeros(copies, int), (episodes + np.arange(copies)) // copies

    def __call__(self, local: dict[str, Any], _: dict[str, Any]) -> None:
        """Called back after a step of a copy that counts, with the evaluation's own variables."""
        require_finite("observation", local["new_observations"])
        self._counts, self._targets = local["episode_counts"], local["episode_count_targets"]

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[NDArray[Any], Any]:
        """As SB3's policies do, for all copies."""
        rows = np.flatnonzero(self._counts < self._targets)
        if len(rows) == len(self._counts):
            return self.policy.predict(observation, state, episode_start, deterministic)
        mine = None if state is None else tuple(part[:, rows] for part in state)
        actions, after = self.policy.predict(observation[rows], mine, episode_start[rows], deterministic)
        everyone = np.repeat(actions[:1], len(self._counts), 0)
        everyone[rows] = actions
        return everyone, None if after is None else tuple(self._whole(part, rows) for part in after)

    def _whole(self, part: NDArray[Any], rows: NDArray[Any]) -> NDArray[Any]:
        """A state (layers, copies, n), of zeros for those that are not in ``rows``."""
        whole = np.zeros((len(part), len(self._counts), *part.shape[2:]), part.dtype)
        whole[:, rows] = part
        return whole
