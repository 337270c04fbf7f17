"""Pupils learn what a teacher decides, in a way that can be resumed, and go on with rewards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from run_folders import through_disk
from stable_baselines3.common.vec_env import VecNormalize
from teachers import balancer, swinger

from snn4.envs.control import make_control
from snn4.learners.algorithms import LearnerConfig
from snn4.learners.policy_distillation import PolicyTeacherConfig, preferences_divergence
from snn4.learners.policy_teacher import (
    PolicyTeacher,
    misfit,
    teacher_from,
    teacher_in_zip,
    unfit_loss,
)
from snn4.learners.protection import acting_optimizer
from snn4.learners.reinforcement import ReinforcementLearner
from snn4.learners.sb3_zip import BadAgent
from snn4.learners.taught import TaughtLearner
from snn4.policies.acting.mlp import SpikingMLP
from snn4.policies.sb3 import PolicyConfig

OFF = {"buffer_size": 1000, "learning_starts": 0, "batch_size": 16, "train_freq": 8}
HYPERPARAMETERS: dict[str, dict[str, Any]] = {
    "PPO": {"n_steps": 32, "batch_size": 32, "n_epochs": 1}, "A2C": {"n_steps": 8}, "DQN": OFF, "SAC": OFF, "TD3": OFF,
}  # fmt: skip
PUPILS = ["PPO", "A2C", "DQN", "SAC", "TD3", "PPO, Box", "A2C, Box"]
"""SAC and TD3 act in Pendulum, like those with Box; the others in CartPole."""


def lessons(**changes: Any) -> PolicyTeacherConfig:
    return PolicyTeacherConfig(
        **{"source": "x", "steps": 480, "round_steps": 120, "batch_size": 32, "epochs": 8, "buffer": 400, **changes}
    )


def pupil(
    name: str, teacher: PolicyTeacher, kind: Any = "spiking", normalize: bool = False, steps: int = 640, **changes: Any
) -> TaughtLearner:
    algorithm: Any = name.split(",")[0]
    place = "Pendulum-v1" if algorithm in ("SAC", "TD3") or "Box" in name else "CartPole-v1"
    config = LearnerConfig(algorithm, 2, normalize=normalize, hyperparameters=HYPERPARAMETERS[algorithm])
    policy = PolicyConfig(kind=kind, net_arch=(16, 16), T=2)
    return TaughtLearner(config, policy, make_control(place, 2), steps, 0, "cpu", lessons(**changes), teacher)


def teacher_of(name: str, folder: Path) -> PolicyTeacher:
    if name.split(",")[0] in ("SAC", "TD3") or "Box" in name:
        return teacher_in_zip(swinger(folder))
    return teacher_in_zip(balancer(folder, "DQN" if name == "DQN" else "PPO"))


def agreements(learner: TaughtLearner, until: int) -> list[float]:
    return [row.losses["train/agreement"] for row in learner.learn(until) if "train/agreement" in row.losses]


def observations(learner: TaughtLearner) -> Any:
    """As they come in CartPole, near balance, or in Pendulum: cosine, sine and speed."""
    random = np.random.default_rng(0)
    if learner.policy.observation_space.shape == (4,):
        return random.normal(0, 0.1, (200, 4)).astype(np.float32)
    angles, speeds = random.uniform(-np.pi, np.pi, 200), random.uniform(-4, 4, 200)
    return np.stack([np.cos(angles), np.sin(angles), speeds], 1).astype(np.float32)


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


@pytest.mark.parametrize("kind", ["spiking", "ann"])
@pytest.mark.parametrize("name", PUPILS)
def test_a_pupil_comes_closer_to_its_teacher(name: str, kind: Any, tmp_path: Path) -> None:
    """On the same observations, before and after, by the loss that it learned."""
    teacher = teacher_of(name, tmp_path)
    learner = pupil(name, teacher, kind, learning_rate=3e-3)
    learner.begin(1)
    met = observations(learner)
    advice, tensor = teacher.advise(met), learner.policy.obs_to_tensor(met)[0]
    rest = torch.zeros(200, 1), torch.zeros(200)

    def distance() -> float:
        with torch.no_grad():
            return learner.pupil.losses(tensor, advice, *rest)[0].item()  # type: ignore[arg-type]

    before = distance()
    assert list(learner.learn(480))
    assert distance() < before
    assert (learner.step, learner.data) == (480, {})


@pytest.mark.parametrize("name", PUPILS)
def test_rewards_teach_the_rest(name: str, tmp_path: Path) -> None:
    learner = pupil(name, teacher_of(name, tmp_path))
    learner.begin(1)
    reports = list(learner.learn(640))
    taught = [report for report in reports if report.step <= 480]
    assert [report.step for report in taught] == [120, 240, 360, 480]
    names = {"train/agreement", "train/teacher_share", "train/distillation_loss", "train/distillation_value_loss"}
    assert all(report.losses.keys() == names for report in taught)
    assert [report.losses["train/teacher_share"] for report in taught] == [1, 0.5, 0, 0]
    later = reports[4:]
    assert later
    assert not any(names & report.losses.keys() for report in later)
    assert any("loss" in key for key in later[-1].losses)
    if name in ("DQN", "SAC", "TD3"):
        assert learner.model.replay_buffer.size() * 2 == learner.step  # type: ignore[attr-defined]  # 2 environments


@pytest.mark.parametrize(("normalize", "until"), [(False, 240), (True, 240), (True, 560)])
@pytest.mark.parametrize("name", ["PPO", "DQN", "SAC"])
def test_resumed_is_uninterrupted(name: str, normalize: bool, until: int, tmp_path: Path) -> None:
    """Within the lessons, and while their anchor holds."""
    teacher = teacher_of(name, tmp_path)
    whole = pupil(name, teacher, normalize=normalize, anchor=1.0)
    whole.begin(1)
    list(whole.learn(until))
    saved = through_disk(whole.state(), tmp_path)
    whole.begin(2)
    rest = list(whole.learn(640))
    resumed = pupil(name, teacher, normalize=normalize, anchor=1.0)
    resumed.load_state(saved)
    resumed.begin(2)
    again = list(resumed.learn(640))
    assert [(row.step, row.losses) for row in rest] == [(row.step, row.losses) for row in again]
    assert same(whole.state()["parameters"], resumed.state()["parameters"])


@pytest.mark.parametrize("name", ["PPO", "SAC", "DQN"])
def test_an_anchor_adds_the_gradient_of_the_lessons(name: str, tmp_path: Path) -> None:
    """To each update by rewards, with a weight that falls over as many steps as the lessons took."""
    learner = pupil(name, teacher_of(name, tmp_path), anchor=3.0, steps=1200)
    learner.begin(1)
    list(learner.learn(480))
    assert len(learner.data["goals"]) == 400
    optimizer = acting_optimizer(learner.policy)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    found = {}
    learner.policy.set_training_mode(True)
    for body in (module for module in learner.policy.modules() if isinstance(module, SpikingMLP)):
        body.spike_cost = 5.0  # which the loss of the update has charged already
    for step, anchored in ((480, True), (720, True), (960, True), (480, False)):
        learner.model.num_timesteps, learner._anchored = step, anchored
        optimizer.zero_grad()
        torch.manual_seed(5)
        for hook in optimizer._optimizer_step_pre_hooks.values():
            hook(optimizer, (), {})
        grads = [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in parameters]
        found[step, anchored] = torch.cat([grad.flatten() for grad in grads])
    learner.policy.set_training_mode(False)
    torch.manual_seed(5)
    rows = torch.randint(400, (32,)).numpy()
    seen = learner.policy.obs_to_tensor(learner.data["observations"][rows])[0]
    loss = learner.pupil.distance(seen, torch.from_numpy(learner.data["advice"][rows]))  # type: ignore[arg-type]
    plain = torch.autograd.grad(loss * learner.pupil.sharpness, parameters, allow_unused=True)
    parts = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, plain, strict=True)]
    whole = torch.cat([part.flatten() for part in parts])
    assert whole.abs().max() > 0
    assert torch.allclose(found[480, True], 3 * whole, rtol=1e-4, atol=1e-7)
    assert torch.allclose(found[720, True], 1.5 * whole, rtol=1e-4, atol=1e-7)
    assert not found[960, True].any()
    assert not found[480, False].any(), "the lessons themselves have no anchor"


def test_an_anchor_lets_the_data_set_go(tmp_path: Path) -> None:
    learner = pupil("PPO", teacher_of("PPO", tmp_path), anchor=1.0, steps=1200)
    learner.begin(1)
    list(learner.learn(900))
    assert learner.data
    list(learner.learn(1000))
    assert learner.data == {}


@pytest.mark.parametrize("loss", ["kl", "nll", "mse"])
@pytest.mark.parametrize("name", PUPILS)
def test_both_ways_to_the_loss_agree(name: str, loss: Any, tmp_path: Path) -> None:
    teacher = teacher_of(name, tmp_path)
    learner = pupil(name, teacher, loss=loss)
    if unfit_loss(learner.lessons, name.split(",")[0], teacher) is not None:
        return
    met = observations(learner)
    advice, tensor = teacher.advise(met), learner.policy.obs_to_tensor(met)[0]
    with torch.no_grad():
        both = learner.pupil.losses(tensor, advice, torch.zeros(200, 1), torch.zeros(200))  # type: ignore[arg-type]
        alone = learner.pupil.distance(tensor, advice)  # type: ignore[arg-type]
    assert both[0].item() == pytest.approx(alone.item(), rel=1e-5)


def test_the_likelihood_is_that_of_the_gaussians(tmp_path: Path) -> None:
    teacher = teacher_of("PPO, Box", tmp_path)
    learner = pupil("PPO, Box", teacher, loss="nll")
    met = observations(learner)
    advice, tensor = teacher.advise(met), torch.from_numpy(met)
    with torch.no_grad():
        found = learner.pupil.distance(tensor, advice).item()
        mean, std = learner.pupil.decide(tensor), learner.policy.log_std.exp()  # type: ignore[operator, union-attr]
    plain = 0.5 * ((advice - mean) / std) ** 2 + std.log() + 0.5 * np.log(2 * np.pi)
    assert found == pytest.approx(plain.sum(1).mean().item(), rel=1e-5)


def test_the_seed_decides(tmp_path: Path) -> None:
    teacher = teacher_of("PPO", tmp_path)
    runs = []
    for seed in (1, 1, 2):
        learner = pupil("PPO", teacher)
        learner.begin(seed)
        runs.append([*agreements(learner, 480), float(learner.policy.state_dict()["action_net.weight"].sum())])
    assert runs[0] == runs[1] != runs[2]


def test_a_stopped_round_is_left_out(tmp_path: Path) -> None:
    learner = pupil("PPO", teacher_of("PPO", tmp_path))
    learner.begin(1)
    calls = iter(range(10**6))
    reports = list(learner.learn(640, lambda: next(calls) > 100))
    assert [report.step for report in reports] == [120]
    assert learner.step == 120
    assert len(learner.data["goals"]) == 120


def test_the_data_set_keeps_the_newest(tmp_path: Path) -> None:
    learner = pupil("PPO", teacher_of("PPO", tmp_path), steps=2000, buffer=200)
    learner.begin(1)
    list(learner.learn(240))
    before = learner.data["observations"]
    list(learner.learn(360))
    assert {name: len(rows) for name, rows in learner.data.items()} == dict.fromkeys(learner.data, 200)
    assert np.array_equal(learner.data["observations"][:80], before[-80:])


def test_the_critic_learns_the_returns(tmp_path: Path) -> None:
    """CartPole pays 1 a step: the value of a pupil that learned it is nearer to the returns than that of one that did
    not."""
    errors = {}
    for value in (0.0, 1.0):
        learner = pupil("PPO", teacher_of("PPO", tmp_path), value=value, steps=2000)
        learner.begin(1)
        errors[value] = [row.losses["train/distillation_value_loss"] for row in learner.learn(480)][-1]
    assert errors[1.0] < errors[0.0]


def test_targets_follow_at_the_end(tmp_path: Path) -> None:
    learner = pupil("TD3", teacher_of("TD3", tmp_path))
    learner.begin(1)
    list(learner.learn(480))
    policy: Any = learner.policy
    assert same(dict(policy.actor.state_dict()), dict(policy.actor_target.state_dict()))
    assert same(dict(policy.critic.state_dict()), dict(policy.critic_target.state_dict()))
    assert not policy.actor.optimizer.state


def test_a_teacher_sees_observations_as_it_learned_them(tmp_path: Path) -> None:
    """A normalised teacher gets the environment's observations by its own statistics, not by the pupil's."""
    env = make_control("CartPole-v1", 2)
    config = LearnerConfig("PPO", 2, normalize=True, hyperparameters=HYPERPARAMETERS["PPO"])
    before = ReinforcementLearner(config, PolicyConfig(kind="ann", net_arch=(8,)), env, 256, 0)
    before.begin(0)
    list(before.learn(256))
    teacher = teacher_from("life", before.policy, env.observation_space, before.normalization())
    seen = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    normal = before.model.get_vec_normalize_env()
    assert isinstance(normal, VecNormalize)
    expected = before.policy.predict(normal.normalize_obs(seen), deterministic=True)[0]
    assert np.array_equal(teacher.actions(teacher.advise(seen)), expected)


@pytest.mark.parametrize("algorithm", ["PPO", "SAC", "TD3"])
def test_teachers_of_boxes_give_actions_of_the_environment(algorithm: str, tmp_path: Path) -> None:
    path = swinger(tmp_path, algorithm)
    from stable_baselines3 import PPO, SAC, TD3

    model = {"PPO": PPO, "SAC": SAC, "TD3": TD3}[algorithm].load(path, device="cpu")  # type: ignore[attr-defined]
    seen = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    expected = model.predict(seen, deterministic=True)[0]
    of_zip, of_life = teacher_in_zip(path), teacher_from("x", model.policy, model.observation_space, None)
    for teacher in (of_zip, of_life):
        assert np.allclose(teacher.actions(teacher.advise(seen)), expected, atol=1e-5)
        assert np.abs(expected).max() <= 2


def test_kl_with_temperature_is_rusus(tmp_path: Path) -> None:
    """The Q-values of the teacher are divided by the temperature; those of a DQN pupil as well."""
    teacher = teacher_of("DQN", tmp_path)
    for name, own in (("DQN", 0.05), ("PPO", 1.0)):
        learner = pupil(name, teacher, temperature=0.05)
        seen = torch.randn(30, 4, generator=torch.Generator().manual_seed(0)) / 20
        advice = teacher.advise(seen.numpy())
        with torch.no_grad():
            found, _ = learner.pupil.losses(seen, advice, torch.zeros(30, 1), torch.zeros(30))
            expected = preferences_divergence(learner.pupil.decide(seen) / own, advice / 0.05)
        assert found.item() == pytest.approx(expected.item(), rel=1e-5)


# Teachers that do not fit


def test_what_does_not_fit_is_told(tmp_path: Path) -> None:
    teacher = teacher_in_zip(balancer(tmp_path))
    pole, pendulum, acrobot = (make_control(name) for name in ("CartPole-v1", "Pendulum-v1", "Acrobot-v1"))
    assert misfit(teacher, pole.observation_space, pole.action_space) is None
    message = misfit(teacher, acrobot.observation_space, acrobot.action_space)
    assert message is not None
    assert "has observations Box(" in message
    message = misfit(teacher, pole.observation_space, pendulum.action_space)
    assert message is not None
    assert "has actions Discrete(2), allowed are Box(-2.0, 2.0, (1,), float32)" in message
    assert unfit_loss(lessons(loss="mse"), "DQN", teacher) == (
        "loss: got 'mse', allowed for DQN with Discrete actions from this teacher are kl, nll"
    )
    values = teacher_in_zip(balancer(tmp_path, "DQN"))
    assert unfit_loss(lessons(loss="mse"), "DQN", values) is None
    assert unfit_loss(lessons(loss="nll"), "TD3", teacher_in_zip(swinger(tmp_path))) is not None


def test_a_teacher_with_nan_or_a_memory_is_refused(tmp_path: Path) -> None:
    env = make_control("CartPole-v1")
    hyper = {"n_steps": 32, "batch_size": 32}
    for policy, message in (
        (PolicyConfig(kind="ann", net_arch=(8,)), "action_net.bias holds NaN"),
        (PolicyConfig(net_arch=(8,), T=1, state="carry"), "got a policy with state: carry"),
    ):
        learner = ReinforcementLearner(LearnerConfig(hyperparameters=hyper), policy, env, 64, 0)
        learner.policy.action_net.bias.data[0] = float("nan")  # type: ignore[union-attr]
        with pytest.raises(BadAgent, match=message):
            teacher_from("life", learner.policy, env.observation_space, None)
