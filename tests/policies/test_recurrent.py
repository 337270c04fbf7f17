from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_contrib import RecurrentPPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.utils import obs_as_tensor

from snn4.policies.acting.memory import MemoryConfig
from snn4.policies.metering.meter import Meter
from snn4.policies.neurons import NeuronConfig
from snn4.policies.recurrent import SpikingRecurrentPolicy


class Recall(gym.Env[np.ndarray, int]):
    """A cue at the first step, nothing at the next two, and then a reward for the action that the cue named."""

    observation_space = spaces.Box(-1, 1, (2,))
    action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.cue, self.steps = int(self.np_random.integers(2)), 0
        return np.array([2 * self.cue - 1, 0], np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        is_question = self.steps == 3
        reward = float(is_question and action == self.cue)
        return np.array([0, self.steps == 2], np.float32), reward, is_question, False, {}


def model(env: Any = Recall, seed: int = 0, n_steps: int = 32, **policy: Any) -> RecurrentPPO:
    policy = {"net_arch": [16, 12], "neuron": NeuronConfig(tau_mem=3e-3, v_threshold=0.4), **policy}
    if not isinstance(env, str):
        env = env()
    arguments: dict[str, Any] = {"n_steps": n_steps, "batch_size": n_steps, "device": "cpu", "seed": seed}
    return RecurrentPPO(SpikingRecurrentPolicy, env, policy_kwargs=policy, **arguments)


NEURONS = {
    "lif": NeuronConfig(v_threshold=0.4, v_leak=0.1, reset="hard"),
    "multi": NeuronConfig("multi", v_threshold=0.4, v_leak=0.1),
    "cuba": NeuronConfig("cuba", v_threshold=0.4),
    "alif": NeuronConfig("alif", v_threshold=0.4),
    "plif": NeuronConfig("plif", v_threshold=0.4),
}


@pytest.mark.parametrize("neuron", NEURONS)
@pytest.mark.parametrize("critic", ["ann", "spiking"])
def test_it_learns_from_the_decisions_it_took(critic: str, neuron: str) -> None:
    """Before the first update, every probability equals the one at collection: sequences are those of the rollout."""
    ppo = model(critic=critic, neuron=NEURONS[neuron], n_steps=32)
    _, callback = ppo._setup_learn(64)
    for _ in range(2):  # the second rollout begins within an episode, with states
        ppo.collect_rollouts(ppo.env, callback, ppo.rollout_buffer, 32)
    tried = 0
    for batch in ppo.rollout_buffer.get(11):
        mask = batch.mask > 1e-8
        values, log_probs, _ = ppo.policy.evaluate_actions(
            batch.observations, batch.actions.flatten(), batch.lstm_states, batch.episode_starts
        )
        torch.testing.assert_close(log_probs[mask], batch.old_log_prob[mask], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(values.flatten()[mask], batch.old_values[mask], rtol=1e-4, atol=1e-5)
        tried += int(mask.sum())
    assert tried == 32
    before = {name: value.clone() for name, value in ppo.policy.state_dict().items()}
    ppo.train()
    changed = {name for name, value in ppo.policy.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == set(before), "every parameter learns"


def test_predict_carries_membranes_until_an_episode_starts() -> None:
    ppo, rng = model(net_arch=[32, 24]), np.random.default_rng(0)
    x = rng.uniform(-1, 1, (6, 3, 2)).astype(np.float32)
    state: Any = None
    states = []
    for now in x:
        actions, state = ppo.predict(now, state, np.zeros(3), deterministic=True)
        assert actions.shape == (3,)
        states.append(state[0])
    packed = torch.zeros(ppo.policy.lstm_hidden_state_shape).repeat(1, 3, 1)
    features, starts = torch.from_numpy(x).swapaxes(0, 1).flatten(0, 1), torch.zeros(18)
    with torch.no_grad():
        _, (last, _) = ppo.policy._process_sequence(features, (packed, packed), starts, ppo.policy.lstm_actor)
    np.testing.assert_allclose(states[-1], last.numpy(), rtol=1e-4, atol=1e-5)
    # An episode that starts has a state of its own; the other episodes continue.
    _, fresh = ppo.predict(x[0], None, deterministic=True)
    _, mixed = ppo.predict(x[0], state, np.array([True, False, True]), deterministic=True)
    np.testing.assert_allclose(mixed[0][:, [0, 2]], fresh[0][:, [0, 2]], rtol=1e-5, atol=1e-6)
    assert not np.allclose(mixed[0][:, 1], fresh[0][:, 1])
    action, single = ppo.predict(x[0, 0], None, deterministic=True)
    assert action.shape == ()
    np.testing.assert_allclose(single[0], fresh[0][:, :1], rtol=1e-5, atol=1e-6)


def test_save_and_load(tmp_path: Path) -> None:
    memory = MemoryConfig((1e-3, 5e-3), gain=2.0, tau_readout=1e-3)
    ppo = model(memory=memory, critic="spiking").learn(64)
    ppo.save(tmp_path / "model")
    ppo.policy.save(tmp_path / "policy")
    x = np.random.default_rng(0).uniform(-1, 1, (5, 2)).astype(np.float32)
    expected, state = ppo.predict(x, deterministic=True)
    loaded = RecurrentPPO.load(tmp_path / "model", env=ppo.env)
    for copied in (loaded, SpikingRecurrentPolicy.load(str(tmp_path / "policy"))):
        actions, states = copied.predict(x, deterministic=True)
        np.testing.assert_array_equal(actions, expected)
        np.testing.assert_array_equal(states, state)
        policy: Any = getattr(copied, "policy", copied)
        assert str(policy) == str(ppo.policy)
        assert policy.spiking == ppo.policy.spiking
    loaded.learn(32, reset_num_timesteps=False)
    assert loaded.num_timesteps == 96


def test_optimiser_has_all_parameters() -> None:
    policy = model().policy
    known = {id(p) for group in policy.optimizer.param_groups for p in group["params"]}
    assert known == {id(p) for p in policy.parameters()}
    assert not any("LSTM" in type(module).__name__ for module in policy.modules())


@pytest.mark.parametrize("backend", ["snntorch", "norse"])
def test_backends(backend: str) -> None:
    pytest.importorskip(backend)
    ppo, own = model(backend=backend), model()
    ppo.policy.load_state_dict(own.policy.state_dict())
    x = obs_as_tensor(np.random.default_rng(0).uniform(-1, 1, (12, 2)).astype(np.float32), "cpu")
    states = (torch.zeros(own.policy.lstm_hidden_state_shape).repeat(1, 3, 1),) * 2
    with torch.no_grad():
        outputs, expected = (
            policy._process_sequence(x, states, torch.zeros(12), policy.lstm_actor)
            for policy in (ppo.policy, own.policy)
        )
    torch.testing.assert_close(outputs, expected)
    ppo.learn(32)


def test_meter_counts_its_spikes() -> None:
    ppo = model()
    with Meter(ppo.policy) as meter:
        evaluate_policy(ppo.policy, ppo.env, 5)
    assert len(meter.spike_rates) == 2
    assert meter.cost().spikes_per_decision > 0


@pytest.mark.parametrize("kwargs", [{"use_sde": True}, {}])
def test_continuous_actions(kwargs: dict[str, Any]) -> None:
    ppo = RecurrentPPO(
        SpikingRecurrentPolicy, "Pendulum-v1", n_steps=16, batch_size=16, device="cpu",
        policy_kwargs={"net_arch": [8]}, **kwargs,
    )  # fmt: skip
    ppo.learn(32)
    action, _ = ppo.predict(np.zeros(3, np.float32), deterministic=True)
    assert ppo.action_space.contains(action)


def test_dendrites_may_be_left_out() -> None:
    model(memory=MemoryConfig(taus=())).learn(32)


def test_a_policy_that_has_learned_can_be_copied() -> None:
    learned = model().learn(32)
    copied, x = copy.deepcopy(learned.policy), np.zeros((1, 2), np.float32)
    assert copied.predict(x, deterministic=True)[0] == learned.policy.predict(x, deterministic=True)[0]


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"^critic: got 'none', allowed are spiking, ann"):
        model(critic="none")
    with pytest.raises(ValueError, match=r"^net_arch: got \[\], allowed is"):
        model(net_arch=[])
    with pytest.raises(ValueError, match=r"^neuron"):
        model(neuron=NeuronConfig("li"))
    with pytest.raises(ValueError, match=r"^n_lstm_layers: got 2, allowed is 1: there is no LSTM"):
        model(n_lstm_layers=2)
    with pytest.raises(ValueError, match="got NaN, allowed are numbers"):
        model().policy.predict(np.full((1, 2), np.nan, np.float32))


@pytest.mark.slow
def test_remembers_a_cue() -> None:
    """Without its membranes a policy is no better than a coin."""
    torch.manual_seed(0)
    ppo = RecurrentPPO(
        SpikingRecurrentPolicy, Recall(), n_steps=240, batch_size=120, learning_rate=5e-3, gamma=1.0, seed=0,
        device="cpu", policy_kwargs={"net_arch": [32], "neuron": NeuronConfig(tau_mem=5e-3, v_threshold=0.5)},
    ).learn(2400)  # fmt: skip
    remembered, _ = evaluate_policy(ppo, ppo.env, 60)
    assert remembered > 0.9
    forgetful, predict = 0, ppo.policy.predict
    env = Recall()
    for seed in range(60):
        x, _ = env.reset(seed=seed)
        for _ in range(3):
            action, _ = predict(x, None, deterministic=True)
            x, reward, *_ = env.step(int(action))
        forgetful += reward
    assert forgetful < 45
