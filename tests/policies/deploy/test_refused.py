"""What cannot be saved, loaded or acted on: one line, and no half-written file."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from sb3_cases import POLICIES, Tiny
from stable_baselines3 import PPO

from snn4.policies.deploy import DeployError, load, save
from snn4.policies.engine import compiled
from snn4.policies.export.description import NotExportable


def agent(actions: Any = None, observations: Any = None, **policy: Any) -> Any:
    env = Tiny(actions or spaces.Discrete(2), observations)
    return PPO(POLICIES[PPO], env, device="cpu", policy_kwargs={"net_arch": [8], **policy})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"readout": "first_spike"}, "got first_spike"),
        ({"residual": True}, "residual: got True"),
        ({"neuron": {"kind": "signed_if", "r": 1.0}}, "got kind signed_if"),
        ({"coding": "rate"}, r"coding.deterministic: got False"),
        ({"backend": "norse"}, "neurons of another library"),
        ({"actions": spaces.MultiBinary(2)}, "action_space: got MultiBinary"),
        ({"observations": spaces.Discrete(3)}, "observation_space: got Discrete"),
        ({"observations": spaces.Box(0, 255, (40, 40, 3), np.uint8)}, "allowed is a Box that is no image"),
    ],
)
def test_policies(arguments: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(NotExportable, match=message):
        save(agent(**arguments), tmp_path / "policy.npz")
    assert not list(tmp_path.iterdir())


def test_other_policies(tmp_path: Path) -> None:
    with pytest.raises(NotExportable, match="policy: got ActorCriticPolicy, allowed are the spiking policies"):
        save(PPO("MlpPolicy", "CartPole-v1", device="cpu"), tmp_path / "policy.npz")
    with pytest.raises(TypeError, match="normalization: got dict, allowed is VecNormalize"):
        save(agent(), tmp_path / "policy.npz", {})  # type: ignore[arg-type]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    save(agent(), tmp_path / "policy.npz")
    return tmp_path / "policy.npz"


def altered(file: Path, **changes: Any) -> Path:
    arrays = dict(np.load(file))
    np.savez(file, **{**arrays, **changes})
    return file


def about(file: Path, **changes: Any) -> Any:
    return np.array(json.dumps({**json.loads(str(np.load(file)["about"])), **changes}))


def test_files(file: Path) -> None:
    with pytest.raises(DeployError, match="no such file; allowed is a deployed policy"):
        load(file.with_name("other.npz"))
    whole = file.read_bytes()
    for damaged in (b"", b"no archive", whole[:300]):
        file.write_bytes(damaged)
        with pytest.raises(DeployError, match="is no deployed policy, or is damaged"):
            load(file)
    file.write_bytes(whole)
    with pytest.raises(DeployError, match="got format 2, allowed is 1; export the policy again"):
        load(altered(file, about=about(file, format=2)))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("layer0.weights", np.zeros((9, 8), np.float32)),
        ("layer0.bias", np.full(8, np.nan, np.float32)),
        ("layer0.decay", np.zeros((1, 8))),
        ("layer0.flags", np.array([3, 0, 0, 0])),
        ("head.weight", np.zeros((2, 4), np.float32)),
        ("decoder", np.zeros((2, 2), np.float32)),
        ("layer0.unknown", np.zeros(2)),
    ],
)
def test_arrays_that_do_not_fit(name: str, value: Any, file: Path) -> None:
    with pytest.raises(DeployError):
        load(altered(file, **{name: value}))


@pytest.mark.parametrize(
    ("observation", "message"),
    [
        (np.zeros(4), r"got shape \(4,\), allowed are \(3,\) and \(B, 3\)"),
        (np.zeros((2, 4)), r"got shape \(2, 4\)"),
        (np.zeros((0, 3)), r"got shape \(0, 3\)"),
        (np.zeros((1, 2, 3)), r"got shape \(1, 2, 3\)"),
        (1.0, r"got shape \(\)"),
        (np.array([0, np.nan, 0]), "observation: got NaN"),
    ],
)
def test_observations(observation: Any, message: str, file: Path) -> None:
    with pytest.raises(ValueError, match=message):
        load(file).act(observation)


def test_without_a_compiler_numba_decides(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected = load(file).act(np.ones(3))
    monkeypatch.setenv("SNN4_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CC", "false")
    compiled.c_function.cache_clear()
    try:
        with caplog.at_level(logging.INFO, "snn4.policies.engine.compiled"):
            assert load(file).act(np.ones(3)) == expected
            assert load(file).act(np.ones(3)) == expected
        assert len(caplog.messages) == 1
        assert "run in numba" in caplog.messages[0]
        with pytest.raises(OSError, match="there is no C compiler that works; allowed is numba"):
            load(file, "c").act(np.ones(3))
        assert not list((tmp_path / "cache" / "snn4-agent").iterdir())
    finally:
        compiled.c_function.cache_clear()
