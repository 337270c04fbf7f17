"""Reinforcement learning by stable-baselines3, in pieces that can be watched, checked, stopped and resumed."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.noise import (
    ActionNoise,
    NormalActionNoise,
    OrnsteinUhlenbeckActionNoise,
    VectorizedActionNoise,
)
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.utils import LinearSchedule, set_random_seed
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from snn4.policies.metering import Meter
from snn4.policies.sb3 import (
    PolicyConfig,
    SpikingActorCriticPolicy,
    SpikingDQNPolicy,
    SpikingSACPolicy,
    SpikingTD3Policy,
)


@dataclass(frozen=True)
class Algorithm:
    """An algorithm of SB3, the spiking policy for it, and the action spaces it can act in."""

    sb3: type[BaseAlgorithm]
    spiking_policy: type[BasePolicy]
    actions: tuple[type[spaces.Space[Any]], ...]


_ANY_ACTIONS = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)
ALGORITHMS = {
    "PPO": Algorithm(PPO, SpikingActorCriticPolicy, _ANY_ACTIONS),
    "A2C": Algorithm(A2C, SpikingActorCriticPolicy, _ANY_ACTIONS),
    "DQN": Algorithm(DQN, SpikingDQNPolicy, (spaces.Discrete,)),
    "SAC": Algorithm(SAC, SpikingSACPolicy, (spaces.Box,)),
    "TD3": Algorithm(TD3, SpikingTD3Policy, (spaces.Box,)),
}


@dataclass(frozen=True)
class LearnerConfig:
    """How the organism learns."""

    algorithm: Literal["PPO", "A2C", "DQN", "SAC", "TD3"] = "PPO"
    n_envs: int = 1
    """Copies of the environment that are lived in at once."""
    normalize: bool = False
    """Running normalisation of observations and rewards (SB3's VecNormalize)."""
    noise_std: float = 0.0
    """Standard deviation of noise on actions while learning (SAC, TD3)."""
    noise_type: Literal["normal", "ornstein-uhlenbeck"] = "normal"
    """Independent noise at every step, or noise that drifts and so explores further."""
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    """Arguments of the SB3 algorithm, in rl-zoo's notation: ``lin_1e-3`` falls linearly to 0 over the task."""
    policy_kwargs: dict[str, Any] = field(default_factory=dict)
    """Further ``policy_kwargs`` of SB3, for instance ``log_std_init``."""

    def __post_init__(self) -> None:
        if self.algorithm not in ALGORITHMS:
            raise ValueError(f"algorithm: got {self.algorithm!r}, allowed are {', '.join(ALGORITHMS)}")
        if self.n_envs < 1:
            raise ValueError(f"n_envs: got {self.n_envs}, allowed is a whole number >= 1")
        if not 0 <= self.noise_std < float("inf"):
            raise ValueError(f"noise_std: got {self.noise_std}, allowed is a finite number >= 0")
        if self.n_envs > 1 and "episode" in _as_list(self.hyperparameters.get("train_freq")):
            raise ValueError(f"n_envs: got {self.n_envs}, allowed is 1 where train_freq counts episodes")
        if self.noise_std and self.algorithm not in ("SAC", "TD3"):
            raise ValueError(f"noise_std: got {self.noise_std}, allowed is 0: {self.algorithm} draws its own noise")


@dataclass(frozen=True)
class Progress:
    """A piece of learning: where it stands and how it goes."""

    step: int
    episode_return: float | None
    """Mean return of the last 100 episodes, None before the first has ended."""
    spike_rates: list[float]
    losses: dict[str, float]
    seconds: float


class NotFinite(RuntimeError):
    """A NaN or infinity appeared where learning cannot go on."""


class ReinforcementLearner:
    """An SB3 algorithm around a spiking or ANN policy, for ``steps`` environment steps in ``env``.

    Learning between two calls of `begin` depends on nothing but the state at the first (`state`) and the seed given:
    environments are reset and all random generators seeded there. A life that is resumed from a saved state is
    therefore the life that was never interrupted.
    """

    def __init__(
        self, config: LearnerConfig, policy: PolicyConfig, env: VecEnv, steps: int, seed: int, device: str = "cpu"
    ) -> None:
        self.config, self.steps = config, steps
        if config.normalize:
            env = VecNormalize(env, gamma=config.hyperparameters.get("gamma", 0.99))
            env.observation_space = _policy_space(config, env)
        self.model = _make_model(config, policy, env, seed, device)
        self.model.set_logger(Logger(folder=None, output_formats=[]))
        # SB3 takes each `learn` for the whole of the learning; schedules here run over all of `steps`.
        self.model._update_current_progress_remaining = self._update_progress  # type: ignore[method-assign]

    @property
    def step(self) -> int:
        """Environment steps lived so far."""
        return self.model.num_timesteps

    def begin(self, seed: int) -> None:
        """Start of a stretch that can be repeated: fresh episodes, all randomness from ``seed``."""
        set_random_seed(seed)
        env = self.model.get_env()
        assert env is not None  # it was given to the constructor
        self.model.action_space.seed(seed)
        env.seed(seed)
        _cut_last_episode(self.model)
        if self.model.action_noise is not None:
            self.model.action_noise.reset()
        self.model.logger.name_to_value.clear()  # a resumed learner has no losses of before either
        self.model._last_obs = None  # SB3 resets the environments before it goes on

    def learn(self, until: int, stop: Callable[[], bool] = lambda: False) -> Iterator[Progress]:
        """Learn up to environment step ``until``, with a report about every two hundredth of the task.

        Raises:
            NotFinite: naming the tensor and the step.
        """
        watch = _Watch(stop, self.model.action_noise)
        while self.step < until and not watch.stopped:
            started = time.perf_counter()
            piece = min(max(1, self.steps // 200), until - self.step)
            # SB3 resets the noise at each `learn`, and so would not let it drift: it gets it back when that is done.
            self.model.action_noise = None
            try:
                self.model.learn(piece, callback=watch, log_interval=None, reset_num_timesteps=False)  # type: ignore[arg-type]
            except ValueError as error:
                _check_finite(self.model)
                if str(error).startswith("Expected parameter"):  # torch refuses what no weight shows, as a spread of 0
                    raise NotFinite(f"step {self.step}: action distribution: {str(error).splitlines()[0]}") from error
                raise
            _check_finite(self.model)
            yield self._progress(time.perf_counter() - started)

    def close(self) -> None:
        """Close the environments."""
        if (env := self.model.get_env()) is not None:
            env.close()

    def _progress(self, seconds: float) -> Progress:
        episodes = [info["r"] for info in self.model.ep_info_buffer or ()]
        with Meter(self.model.policy) as meter:
            self.model.policy.predict(self.model._last_obs, deterministic=True)  # type: ignore[arg-type]
        losses = {k: float(v) for k, v in self.model.logger.name_to_value.items() if k.startswith("train/")}
        mean = float(np.mean(episodes)) if episodes else None
        return Progress(self.step, mean, meter.spike_rates, losses, seconds)

    def _update_progress(self, num_timesteps: int, total_timesteps: int) -> None:
        self.model._current_progress_remaining = max(0.0, 1.0 - num_timesteps / self.steps)

    def normalize_as(self, statistics: dict[str, Any] | None) -> None:
        """Go on with the `normalization` that another learner came to."""
        if statistics is not None and (env := self.model.get_vec_normalize_env()) is not None:
            set_normalization(env, statistics)

    def normalization(self) -> dict[str, Any] | None:
        """Running statistics of observations and rewards, where the config asks for them."""
        env = self.model.get_vec_normalize_env()
        return None if env is None else get_normalization(env)

    def state(self) -> dict[str, Any]:
        """All that learning depends on: weights, optimisers, counters, statistics, replay buffer.

        The arrays are those in use, not copies: write them down before learning goes on.
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
            "replay": _replay_state(model),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from `state`, in a learner made with the same configs."""
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
        _load_replay(model, state["replay"])


_COUNTERS = ("num_timesteps", "_n_updates", "_n_calls", "_episode_num", "exploration_rate")
_REPLAY_ARRAYS = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


def _make_model(config: LearnerConfig, policy: PolicyConfig, env: VecEnv, seed: int, device: str) -> BaseAlgorithm:
    arguments = {name: _schedule(value) for name, value in config.hyperparameters.items()}
    if config.noise_std:
        kind = NormalActionNoise if config.noise_type == "normal" else OrnsteinUhlenbeckActionNoise
        size = env.action_space.shape or ()
        noise = kind(np.zeros(size), np.full(size, config.noise_std))
        arguments["action_noise"] = VectorizedActionNoise(noise, env.num_envs)
    return ALGORITHMS[config.algorithm].sb3(
        policy=_policy_class(config, policy),
        env=env,
        policy_kwargs={**policy.sb3_kwargs(config.algorithm), **config.policy_kwargs},
        seed=seed,
        device=device,
        **arguments,
    )


def make_policy(config: LearnerConfig, policy: PolicyConfig, env: VecEnv) -> BasePolicy:
    """The policy that a learner with these configs would train in ``env``, untrained, to act only."""
    arguments = {**policy.sb3_kwargs(config.algorithm), **config.policy_kwargs}
    if config.hyperparameters.get("use_sde"):
        arguments["use_sde"] = True
    return _policy_class(config, policy)(_policy_space(config, env), env.action_space, lambda _: 0.0, **arguments)


def _policy_space(config: LearnerConfig, env: VecEnv) -> spaces.Space[Any]:
    """What the policy observes: normalised values have no bounds, whatever those of the environment are."""
    space = env.observation_space
    if config.normalize and isinstance(space, spaces.Box):
        return spaces.Box(-np.inf, np.inf, space.shape, np.float32)
    return space


def _policy_class(config: LearnerConfig, policy: PolicyConfig) -> type[BasePolicy]:
    algorithm = ALGORITHMS[config.algorithm]
    return algorithm.spiking_policy if policy.kind == "spiking" else algorithm.sb3.policy_aliases["MlpPolicy"]


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _schedule(value: Any) -> Any:
    if isinstance(value, str) and value.startswith("lin_"):
        return LinearSchedule(float(value.removeprefix("lin_")), 0.0, 1.0)
    return tuple(value) if isinstance(value, list) else value


def _cut_last_episode(model: BaseAlgorithm) -> None:
    # n-step returns must not run from the last episode into the next: it counts as cut by a time limit.
    buffer = getattr(model, "replay_buffer", None)
    if buffer is not None and buffer.size():
        last = buffer.pos - 1
        going_on = buffer.dones[last] == 0
        buffer.dones[last][going_on] = 1.0
        if not buffer.optimize_memory_usage:  # which keeps no next observation whose value could be asked for
            buffer.timeouts[last][going_on] = 1.0


def _replay_state(model: BaseAlgorithm) -> dict[str, Any] | None:
    buffer = getattr(model, "replay_buffer", None)
    if buffer is None:
        return None
    # A buffer that keeps next observations among the observations has one more of them than transitions.
    filled = None if buffer.optimize_memory_usage else buffer.size()
    arrays = {name: getattr(buffer, name)[:filled] for name in _REPLAY_ARRAYS if hasattr(buffer, name)}
    return {"pos": buffer.pos, "full": buffer.full, **arrays}


def _load_replay(model: BaseAlgorithm, state: dict[str, Any] | None) -> None:
    buffer = getattr(model, "replay_buffer", None)
    if buffer is None or state is None:
        return
    buffer.pos, buffer.full = state["pos"], state["full"]
    for name in _REPLAY_ARRAYS:
        if name in state:
            getattr(buffer, name)[: len(state[name])] = state[name]


def get_normalization(env: VecNormalize) -> dict[str, Any]:
    """Running mean, variance and count of observations and of discounted returns, float64 arrays."""
    stats: dict[str, Any] = {"observation": env.obs_rms, "return": env.ret_rms}
    return {
        n: {"mean": np.asarray(s.mean), "var": np.asarray(s.var), "count": float(s.count)} for n, s in stats.items()
    }  # type: ignore[union-attr]


def set_normalization(env: VecNormalize, state: dict[str, Any]) -> None:
    """Put `get_normalization`'s statistics into ``env``."""
    for name, stats in (("observation", env.obs_rms), ("return", env.ret_rms)):
        stats.mean, stats.var = np.asarray(state[name]["mean"]), np.asarray(state[name]["var"])  # type: ignore[union-attr]
        stats.count = state[name]["count"]  # type: ignore[union-attr]


def _check_finite(model: BaseAlgorithm) -> None:
    for name, value in model.logger.name_to_value.items():
        if name.startswith("train/") and "loss" in name and not np.isfinite(value):
            raise NotFinite(f"step {model.num_timesteps}: {name} is {value}")
    for name, parameter in model.policy.named_parameters():
        if not torch.isfinite(parameter).all():
            raise NotFinite(f"step {model.num_timesteps}: parameter {name} of the policy holds NaN or infinity")


def require_finite(name: str, values: np.ndarray[Any, Any]) -> None:
    """Raise NotFinite, naming the place, if ``values`` (environments, …) hold NaN or infinity."""
    if not np.isfinite(values).all():
        index = np.argwhere(~np.isfinite(values))[0].tolist()
        raise NotFinite(f"{name} holds {values[tuple(index)]} (environment {index[0]}, index {index[1:]})")


class _Watch(BaseCallback):
    """Checks every observation and reward, and leaves a rollout when asked to stop."""

    def __init__(self, stop: Callable[[], bool], noise: ActionNoise | None) -> None:
        super().__init__()
        self.stop, self.noise, self.stopped, self.rollout_start = stop, noise, False, 0

    def _on_training_start(self) -> None:
        self.model.action_noise = self.noise

    def _on_rollout_start(self) -> None:
        self.rollout_start = self.model.num_timesteps
        self._require_finite("observation", self.model._last_obs)  # type: ignore[arg-type]

    def _on_step(self) -> bool:
        self._require_finite("observation", self.locals["new_obs"])
        self._require_finite("reward", self.locals["rewards"])
        if self.stop():
            # The steps of an unfinished rollout do not count: on-policy learners do not learn from them, and the life
            # must come to the same number of steps as one that was not stopped.
            self.stopped, self.model.num_timesteps = True, self.rollout_start
            return False
        return True

    def _require_finite(self, name: str, values: np.ndarray[Any, Any]) -> None:
        if not np.isfinite(values).all():
            _check_finite(self.model)  # broken weights act brokenly: they, not the environment, are to blame
            require_finite(f"step {self.model.num_timesteps}: {name}", values)
