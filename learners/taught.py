"""Reinforcement learning that begins with a teacher: the pupil learns its decisions first, then from rewards alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor, nn

from snn4.learners.algorithms import LearnerConfig
from snn4.learners.not_finite import NotFinite, check_network, require_finite
from snn4.learners.policy_distillation import PolicyTeacherConfig, returns
from snn4.learners.policy_teacher import PolicyTeacher
from snn4.learners.protection import acting_optimizer
from snn4.learners.pupil import Pupil
from snn4.learners.reinforcement import Progress, ReinforcementLearner
from snn4.policies.acting.spike_cost import free_spikes
from snn4.policies.sb3 import PolicyConfig

Lessons = dict[str, NDArray[Any]]
"""``observations`` of the environment (N, …), the teacher's ``advice`` (N, n), ``actions`` taken (N, m), ``goals``:
returns (N,)."""


class TaughtLearner(ReinforcementLearner):
    """A `ReinforcementLearner` whose first steps (``lessons.length``) are taught by ``teacher``.

    Learning up to the next `begin` depends only on the `state` there and the seed, as without a teacher. An algorithm
    with a replay buffer also keeps there what it meets with the teacher.
    """

    def __init__(
        self, config: LearnerConfig, policy: PolicyConfig, env: VecEnv, steps: int, seed: int, device: str,
        lessons: PolicyTeacherConfig, teacher: PolicyTeacher,
    ) -> None:  # fmt: skip
        super().__init__(config, policy, env, steps, seed, device)
        self.lessons = lessons
        self.taught_steps = lessons.length(steps)
        self.teacher = teacher
        self.pupil = Pupil(self.policy, lessons, teacher.gives == "values")
        self.data: Lessons = {}
        self._anchored = False  # while rewards teach
        if lessons.anchor:
            acting_optimizer(self.policy).register_step_pre_hook(lambda *_: self._repeat())

    def learn(self, until: int, stop: Callable[[], bool] = lambda: False) -> Iterator[Progress]:
        """As `ReinforcementLearner.learn`, with a report per round while the teacher is there."""
        end = min(until, self.taught_steps)
        while self.step < end:
            started = time.perf_counter()
            if not self._meet(min(self.lessons.round_steps, end - self.step), stop):
                return
            self._study()
            if self.step >= self.taught_steps:
                self._finish()
            yield self._progress(time.perf_counter() - started)
            self.model.logger.name_to_value.clear()
            if stop():
                return
        self._anchored = self.lessons.anchor > 0
        yield from super().learn(until, stop)
        self._anchored = False
        if self.step >= 2 * self.taught_steps:  # the anchor has come up
            self.data = {}

    def _finish(self) -> None:
        """End the lessons."""
        self.pupil.finish()
        if not self.lessons.anchor:
            self.data = {}

    def _repeat(self) -> None:
        """Add the gradient of the lessons' loss, just before an update by rewards."""
        weight = self.lessons.anchor * (2 - self.step / self.taught_steps)
        if not self._anchored or weight <= 0:
            return
        rows = torch.randint(len(self.data["goals"]), (self.lessons.batch_size,)).numpy()
        with torch.enable_grad(), free_spikes(self.policy):  # the loss of the update has charged them
            distance = self.pupil.distance(self._seen(self.data, rows), self._on_device(self.data["advice"][rows]))
            (weight * self.pupil.sharpness * distance).backward()  # type: ignore[no-untyped-call]

    def _meet(self, steps: int, stop: Callable[[], bool]) -> bool:
        """Act for a round, with the teacher's advice on every observation; False if it was stopped, and left out."""
        model, before = self.model, self.step
        model._setup_learn(0, None, reset_num_timesteps=False)
        share = self.lessons.share(before / self.taught_steps)
        met: dict[str, list[Any]] = {name: [] for name in ("observations", "advice", "actions", "rewards", "ends")}
        while self.step < before + steps:
            if stop():
                model.num_timesteps = before
                return False
            for name, value in zip(met, self._step(share), strict=True):
                met[name].append(value)
        rewards, ends = (torch.from_numpy(np.stack(met.pop(name))).float() for name in ("rewards", "ends"))
        last = self._values(self._present())
        goals = returns(rewards, ends, last, model.gamma).flatten().numpy()  # type: ignore[attr-defined]
        new = {name: np.concatenate(rows) for name, rows in met.items()} | {"goals": goals}
        self._judge(new, share)
        kept = {name: np.concatenate([self.data.get(name, rows[:0]), rows]) for name, rows in new.items()}
        self.data = {name: rows[-self.lessons.buffer :] for name, rows in kept.items()}
        return True

    def _step(self, share: float) -> tuple[Any, ...]:
        """One step of every environment: observations, advice, buffered actions, rewards, ends of episodes."""
        model, env = self.model, self.model.get_env()
        assert env is not None  # the constructor sets it
        seen, observations = model._last_obs, np.array(self._present())
        require_finite(f"step {self.step}: observation", observations)
        advice = self.teacher.advise(observations)
        own, best = self.policy.predict(seen)[0], self.teacher.actions(advice)  # type: ignore[arg-type]
        taught = (torch.rand(env.num_envs) < share).numpy()
        actions = np.where(taught.reshape(-1, *[1] * (best.ndim - 1)), best, own)
        following, rewards, ends, infos = env.step(actions)
        require_finite(f"step {self.step}: reward", rewards)
        model.num_timesteps += env.num_envs
        model._update_info_buffer(infos, ends)
        kept = self._kept(actions)
        if isinstance(model, OffPolicyAlgorithm):
            assert model.replay_buffer is not None
            model._store_transition(model.replay_buffer, kept, following, rewards, ends, infos)  # type: ignore[arg-type]
        model._last_obs, model._last_episode_starts = following, ends  # type: ignore[assignment]
        return observations, advice.numpy(), kept.reshape(len(kept), -1), self._beyond(rewards, infos), ends

    def _kept(self, actions: NDArray[Any]) -> NDArray[Any]:
        """Actions as buffers keep them: SAC's and TD3's from -1 to 1."""
        if isinstance(self.model, OffPolicyAlgorithm) and isinstance(self.policy.action_space, spaces.Box):
            return self.policy.scale_action(actions)  # type: ignore[no-any-return, attr-defined]
        return actions

    def _beyond(self, rewards: NDArray[Any], infos: list[dict[str, Any]]) -> NDArray[Any]:
        """``rewards`` with the value of what would have followed where a time limit cut the episode."""
        cut = [row for row, info in enumerate(infos) if info.get("TimeLimit.truncated", False)]
        if not cut:
            return rewards
        last = np.stack([infos[row]["terminal_observation"] for row in cut])  # normalised already
        rewards = rewards.copy()
        rewards[cut] += self.model.gamma * self.pupil.values(self._tensor(last)).cpu().numpy()  # type: ignore[attr-defined]
        return rewards

    def _judge(self, met: Lessons, share: float) -> None:
        """Report how far the pupil agrees with the teacher on what it met and has not studied yet."""
        rows = np.arange(len(met["goals"]))
        parts = np.array_split(rows, max(1, len(rows) // 256))
        agreements = [
            self.pupil.agreement(self._seen(met, part), self._on_device(met["advice"][part])) for part in parts
        ]
        mean = float(np.average(agreements, weights=[len(part) for part in parts]))
        self.model.logger.record("train/agreement", mean)
        self.model.logger.record("train/teacher_share", share)

    def _study(self) -> None:
        """Learn the data set, ``epochs`` times.

        Raises:
            NotFinite: naming the loss or the parameter, and the step.
        """
        for optimizer in self.pupil.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.lessons.learning_rate
        scale = max(1.0, float(self.data["goals"].var()))
        self.policy.set_training_mode(True)
        losses = [self._update(rows, scale) for _ in range(self.lessons.epochs) for rows in self._batches()]
        self.policy.set_training_mode(False)
        check_network(self.policy, f"step {self.step}: policy")
        names = ("distillation_loss", "distillation_value_loss")
        for name, value in zip(names, np.mean(losses, 0), strict=True):
            if not np.isfinite(value):
                raise NotFinite(f"step {self.step}: train/{name} is {value}")
            self.model.logger.record(f"train/{name}", float(value))

    def _batches(self) -> Iterator[NDArray[Any]]:
        """Rows of the data set in a random order; the last few of an epoch are left out."""
        order, size = torch.randperm(len(self.data["goals"])).numpy(), self.lessons.batch_size
        for start in range(0, max(1, len(order) - size + 1), size):
            yield order[start : start + size]

    def _update(self, rows: NDArray[Any], scale: float) -> tuple[float, float]:
        advice, actions, goals = (self._on_device(self.data[name][rows]) for name in ("advice", "actions", "goals"))
        distance, error = self.pupil.losses(self._seen(self.data, rows), advice, actions, goals)
        loss = self.pupil.sharpness * distance + self.lessons.value / scale * error
        for optimizer in self.pupil.optimizers:
            optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if (limit := getattr(self.model, "max_grad_norm", None)) is not None:
            nn.utils.clip_grad_norm_(self.policy.parameters(), limit)
        for optimizer in self.pupil.optimizers:
            optimizer.step()
        return distance.item(), error.item()

    def _present(self) -> Any:
        """The present observations, before normalisation."""
        env = self.model.get_vec_normalize_env()
        return self.model._last_obs if env is None else env.get_original_obs()

    def _values(self, observations: Any) -> Tensor:
        return self.pupil.values(self._normalized(observations)).float().cpu()

    def _seen(self, lessons: Lessons, rows: NDArray[Any]) -> Tensor:
        """Observations as the policy sees them today."""
        return self._normalized(lessons["observations"][rows])

    def _normalized(self, observations: NDArray[Any]) -> Tensor:
        env = self.model.get_vec_normalize_env()
        return self._tensor(observations if env is None else env.normalize_obs(observations))

    def _tensor(self, observations: Any) -> Tensor:
        return self.policy.obs_to_tensor(observations)[0]  # type: ignore[return-value]

    def _on_device(self, values: NDArray[Any]) -> Tensor:
        return torch.from_numpy(values).to(self.policy.device)

    def state(self) -> dict[str, Any]:
        """As `ReinforcementLearner.state`, with the data set."""
        return {**super().state(), "lessons": self.data}

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
        super().load_state(state)
        self.data = state["lessons"]
