from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stable_baselines3 import DQN, SAC, TD3

from snn4.policies.acting.mlp import SpikingMLP
from snn4.policies.neurons import NeuronConfig
from snn4.policies.sb3 import SpikingDQNPolicy, SpikingSACPolicy, SpikingTD3Policy

POLICIES: dict[Any, Any] = {DQN: SpikingDQNPolicy, SAC: SpikingSACPolicy, TD3: SpikingTD3Policy}


def network(algorithm: Any, arguments: dict[str, Any] | None = None, **policy: Any) -> Any:
    """The acting network of a policy of ``algorithm``."""
    env = "CartPole-v1" if algorithm is DQN else "Pendulum-v1"
    kwargs = {"net_arch": [24, 16], "T": 3, "neuron": {"v_threshold": 0.2}, **policy}
    more = {"buffer_size": 10, "device": "cpu", "seed": 0, **(arguments or {})}
    built = algorithm(POLICIES[algorithm], env, policy_kwargs=kwargs, **more).policy
    return built.q_net if algorithm is DQN else built.actor


@pytest.mark.parametrize(
    ("algorithm", "arguments", "policy"),
    [
        *((algorithm, {}, {"coding": "population"}) for algorithm in POLICIES),
        (SAC, {"use_sde": True}, {"coding": "latency"}),
    ],
    ids=str,
)
def test_saved_and_loaded_by_itself(algorithm: Any, arguments: Any, policy: Any, tmp_path: Path) -> None:
    saved, file = network(algorithm, arguments, **policy), str(tmp_path / "network")
    saved.save(file)
    loaded = type(saved).load(file, device="cpu")
    assert str(loaded) == str(saved)
    (body,) = (module for module in loaded.modules() if isinstance(module, SpikingMLP))
    assert (body.T, body.layers[1].config) == (3, NeuronConfig(v_threshold=0.2))
    x = np.random.default_rng(0).uniform(-1, 1, (40, *saved.observation_space.shape)).astype(np.float32)
    actions = [actor.predict(x, deterministic=True)[0] for actor in (saved, loaded)]
    np.testing.assert_array_equal(*actions)
    assert len(np.unique(actions[0], axis=0)) > 1
