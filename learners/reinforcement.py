"""Reinforcement learning by stable-baselines3, in pieces that can be watched, checked, stopped and resumed."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from snn4.learners.algorithms import LearnerConfig, make_model, policy_space
from snn4.learners.not_finite import NotFinite, check_model, require_finite
from snn4.learners.sb3_state import cut_last_episode, get_normalization, load_replay, replay_state, set_normalization
from snn4.policies.acting.waking import load_sleepers, sleepers, write_notes
from snn4.policies.metering.meter import Meter
from snn4.policies.sb3 import PolicyConfig


@dataclass(frozen=True)
class Progress:
    """A report on a piece of learning."""

    step: int
    episode_return: float | None
    """Mean return of the last 100 episodes; None before the end of the first episode."""
    spike_rates: list[float]
    losses: dict[str, float]
    seconds: float
    acting_seconds: float | None = None
    """Of these, in rollouts; the rest are updates. None where a learner does not tell."""


class ReinforcementLearner:
    """An SB3 algorithm with a spiking or ANN policy, for ``steps`` environment steps in ``env``.

    `begin` resets the environments and seeds all random generators. So learning up to the next `begin` depends only on
    the `state` there and the seed. A life resumed from a saved state therefore equals one that was never interrupted.
    """

    def __init__(
        self, config: LearnerConfig, policy: PolicyConfig, env: VecEnv, steps: int, seed: int, device: str = "cpu"
    ) -> None:
        self.config, self.steps = config, steps
        if config.normalize:
            env = VecNormalize(env, gamma=config.hyperparameters.get("gamma", 0.99))
            env.observation_space = policy_space(config, env)
        self.model = make_model(config, policy, env, seed, device)
        self.notes: list[str] = []
        """Notes for the reader that are not reported yet: layers that were silent at first."""
        write_notes(self.model.policy, self.notes)
        self.model.set_logger(Logger(folder=None, output_formats=[]))
        # In SB3, schedules run over one call of `learn`; here they run over all of `steps`.
        self.model._update_current_progress_remaining = self._update_progress  # type: ignore[method-assign]

    @property
    def policy(self) -> BasePolicy:
        """The policy that learns."""
        return self.model.policy  # type: ignore[no-any-return]

    @property
    def step(self) -> int:
        """Environment steps so far."""
        return self.model.num_timesteps

    def begin(self, seed: int) -> None:
        """Start a repeatable stretch: new episodes, and ``seed`` determines all randomness."""
        set_random_seed(seed)
        env = self.model.get_env()
        assert env is not None  # the constructor sets it
        self.model.action_space.seed(seed)
        env.seed(seed)
        cut_last_episode(self.model)
        if self.model.action_noise is not None:
            self.model.action_noise.reset()
        self.model.logger.name_to_value.clear()  # a resumed learner has no earlier losses either
        self.model._last_obs = None  # makes SB3 reset the environments

    def learn(self, until: int, stop: Callable[[], bool] = lambda: False) -> Iterator[Progress]:
        """Learn up to environment step ``until``, with about 200 reports per task.

        Raises:
            NotFinite: with the name of the tensor and the step.
        """
        watch = _Watch(stop, self.model.action_noise)
        while self.step < until and not watch.stopped:
            started = time.perf_counter()
            piece = min(max(1, self.steps // 200), until - self.step)
            # SB3 resets the noise at each `learn`, which would stop its drift; the callback restores it afterwards.
            self.model.action_noise = None
            try:
                self.model.learn(piece, callback=watch, log_interval=None, reset_num_timesteps=False)  # type: ignore[arg-type]
            except ValueError as error:
                check_model(self.model)
                if str(error).startswith(
                    "Expected parameter"
                ):  # torch rejects parameters such as a standard deviation of 0
                    raise NotFinite(f"step {self.step}: action distribution: {str(error).splitlines()[0]}") from error
                raise
            check_model(self.model)
            yield self._progress(time.perf_counter() - started, watch.taken())

    def skip(self, steps: int) -> None:
        """Count ``steps`` environment steps that were lived elsewhere; schedules go on after them."""
        self.model.num_timesteps += steps

    def adopt(self, before: dict[str, Any], normalization: dict[str, Any] | None) -> None:
        """Go on at the place of a learner of another policy in the same task, whose `state` was ``before``.

        Counters, schedules, episodes and the replay buffer go on; the optimizers, whose averages belong to other
        weights, begin anew.
        """
        own = self.state()
        going_on = ("counters", "episodes", "variables", "replay", "lessons")
        kept = {name: before[name] for name in going_on if name in before}
        self.load_state({**own, **kept, "normalization": normalization})

    def close(self) -> None:
        """Close the environments."""
        if (env := self.model.get_env()) is not None:
            env.close()

    def _progress(self, seconds: float, acting_seconds: float | None = None) -> Progress:
        episodes = [info["r"] for info in self.model.ep_info_buffer or ()]
        with Meter(self.model.policy) as meter:
            self.model.policy.predict(self.model._last_obs, self._membranes(), deterministic=True)  # type: ignore[arg-type]
        losses = {k: float(v) for k, v in self.model.logger.name_to_value.items() if k.startswith("train/")}
        mean = float(np.mean(episodes)) if episodes else None
        return Progress(self.step, mean, meter.spike_rates, losses, seconds, acting_seconds)

    def _membranes(self) -> tuple[NDArray[Any], ...] | None:
        """The current membranes of a policy that carries them."""
        states = getattr(self.model, "_last_lstm_states", None)
        return None if states is None else tuple(part.cpu().numpy() for part in states.pi)

    def _update_progress(self, num_timesteps: int, total_timesteps: int) -> None:
        self.model._current_progress_remaining = max(0.0, 1.0 - num_timesteps / self.steps)

    def normalize_as(self, statistics: dict[str, Any] | None) -> None:
        """Continue with the `normalization` of another learner."""
        if statistics is not None and (env := self.model.get_vec_normalize_env()) is not None:
            set_normalization(env, statistics)

    def normalization(self) -> dict[str, Any] | None:
        """Running statistics of observations and rewards; None if the config does not normalise."""
        env = self.model.get_vec_normalize_env()
        return None if env is None else get_normalization(env)

    def state(self) -> dict[str, Any]:
        """Everything that learning depends on: weights, optimisers, counters, statistics, replay buffer.

        The arrays are not copies: save them before learning continues.
        """
        model = self.model
        _, variables = model._get_torch_save_params()
        return {
            "parameters": model.get_parameters(),
            "variables": {
                n: getattr(model, n).detach() for n in variables or [] if getattr(model, n, None) is not None
            },
            "counters": {n: getattr(model, n) for n in _COUNTERS if hasattr(model, n)},
            "episodes": [[float(i["r"]), int(i["l"])] for i in model.ep_info_buffer or ()],
            "normalization": self.normalization(),
            "replay": replay_state(model),
            "sleepers": sleepers(model.policy),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from `state` of a learner with the same configs."""
        model = self.model
        model.set_parameters(state["parameters"], exact_match=True)
        for name, value in state["variables"].items():
            getattr(model, name).data.copy_(value)
        for name, value in state["counters"].items():
            setattr(model, name, value)
        window = ({"r": r, "l": n, "t": 0.0} for r, n in state["episodes"])
        model.ep_info_buffer = deque(window, maxlen=model._stats_window_size)
        model.ep_success_buffer = deque(maxlen=model._stats_window_size)
        self.normalize_as(state["normalization"])
        load_replay(model, state["replay"])
        load_sleepers(model.policy, state.get("sleepers", {}))  # checkpoints of 0.1 have none


_COUNTERS = ("num_timesteps", "_n_updates", "_n_calls", "_episode_num", "exploration_rate")


class _Watch(BaseCallback):
    """A callback that checks every observation and reward, and ends the rollout on request."""

    def __init__(self, stop: Callable[[], bool], noise: ActionNoise | None) -> None:
        super().__init__()
        self.stop = stop
        self.noise = noise
        self.stopped = False
        self.rollout_start = 0
        self.seconds, self.began = 0.0, 0.0
        """In rollouts since `taken`, and when the present one began."""

    def _on_training_start(self) -> None:
        self.model.action_noise = self.noise

    def _on_rollout_start(self) -> None:
        self.rollout_start, self.began = self.model.num_timesteps, time.perf_counter()
        self._require_finite("observation", self.model._last_obs)  # type: ignore[arg-type]

    def _on_rollout_end(self) -> None:
        self.seconds += time.perf_counter() - self.began

    def taken(self) -> float:
        """Seconds in rollouts since the last call."""
        seconds, self.seconds = self.seconds, 0.0
        return seconds

    def _on_step(self) -> bool:
        self._require_finite("observation", self.locals["new_obs"])
        self._require_finite("reward", self.locals["rewards"])
        if self.stop():
            # Steps of an unfinished rollout do not count: on-policy learners do not learn from them, and the life must
            # reach the same number of steps as one that was not stopped.
            self.stopped, self.model.num_timesteps = True, self.rollout_start
            return False
        return True

    def _require_finite(self, name: str, values: np.ndarray[Any, Any]) -> None:
        if not np.isfinite(values).all():
            check_model(self.model)  # broken weights give bad actions: report them, not the environment
            require_finite(f"step {self.model.num_timesteps}: {name}", values)
