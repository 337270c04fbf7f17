from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
from config_problems import by_key, problems_of

from snn4.agent import kinds
from snn4.agent.config.document import BYTES
from snn4.agent.config.file import CONFIGS, ConfigError, find


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("seed", "seed"),  # no value
        ("=3", "=3"),
        ("seed=[1", "seed"),  # no YAML
        ("world.5.steps=3", "world.5.steps"), ("world.first.steps=3", "world.first.steps"), ("seed.x=3", "seed"),
        ("name.x.y=3", "name.x.y"), ("polcy.T=3", "polcy"), ("seed=", "seed"), ("policy=3", "policy"),
        ("learner.hyperparameters=null", "learner.hyperparameters"),
        ("seed=4294967296", "seed"),  # NumPy's seeds end here
        ("name=..", "name"), ("seed=true", "seed"), ("world.0.steps=true", "world.0.steps"),
        ("policy..T=1", "policy..T"), (".seed=1", ".seed"), ("world.-1.steps=3", "world.-1.steps"),
        ("world.7.x=1", "world.7.x"), ("policy.7.x=1", "policy.7"), ("world.0.variation=word", "world.0.variation"),
        ("world.0.variation={physics: word}", "world.0.variation.physics"),
        ("policy.net_arch=[1, word]", "policy.net_arch.1"), ("learner.n_envs=1000000000", "learner.n_envs"),
        ("threads=1000000000", "threads"), ("policy.T=1000000000", "policy.T"),
        ("policy.net_arch=[1000000000000]", "policy.net_arch"),
        ("policy.net_arch=[1000000, 1000000]", "world.0"),  # more parameters than anyone has memory for
        ("learner.hyperparameters.n_steps=1000000000000", "learner.hyperparameters.n_steps"),
        ("'policy'=3", "'policy'"), ("policy.neuron.tau_mem=true", "policy.neuron.tau_mem"),
    ],
)  # fmt: skip
def test_bad_overrides(tiny_yaml: Path, override: str, key: str) -> None:
    assert list(by_key(tiny_yaml, override)) == [key]


def test_every_bad_override_is_told(tiny_yaml: Path) -> None:
    assert len(problems_of(tiny_yaml, "seed", "world.7.steps=1", "policy.T=0")) == 3
    assert len(problems_of(tiny_yaml, "seed=true", "threads=true", "policy.T=0")) == 3
    # Neither a default that is wrong (T with state: carry) nor a place in a list hides what else is wrong.
    assert len(problems_of(tiny_yaml, "policy.T=4", "policy.state=carry", "evaluation.every=0", "seed=-1")) == 3
    assert len(problems_of(tiny_yaml, "policy.net_arch=[word]", "policy.T=0", "seed=-1")) == 3


def test_an_override_goes_through_null(tiny_yaml: Path) -> None:
    _, config = kinds.load(tiny_yaml, ["world.0.variation=null", "world.0.variation.noise=0.5"])
    assert config.world[0].variation is not None
    assert config.world[0].variation.noise == 0.5


def test_problems_are_short(tiny_yaml: Path) -> None:
    lines = [*problems_of(tiny_yaml, f"seed={[1] * 10_000}"), *problems_of(tiny_yaml, f"{'x' * 10_000}=1")]
    lines += problems_of(tiny_yaml, ".".join("a" * 10_000) + "=1")
    lines += problems_of(tiny_yaml, '"a\\nb"=1', 'name="a\\nb"')
    assert max(map(len, lines)) < 1000


def test_a_file_that_is_too_large(written: Callable[[str], Path]) -> None:
    (problem,) = problems_of(written("name: x # " + "x" * BYTES))
    assert "too large, allowed are 4,000,000 bytes" in problem


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "got NoneType, allowed is a mapping"), (b"# only a comment\n", "allowed is a mapping"),
        (b"- a\n- b\n", "got list, allowed is a mapping"), (b"CartPole-v1", "got str, allowed is a mapping"),
        (b"name: [1\nworld: 2", "cannot be read"), (b"name: x\n\tworld: 3", "cannot be read"),
        (b"\x7fELF\x00\x01\xff\xfe", "cannot be read"), (b"!!python/object/apply:os.system [ls]", "cannot be read"),
    ],
)  # fmt: skip
def test_files_that_are_no_config(written: Callable[[bytes], Path], content: bytes, message: str) -> None:
    (problem,) = problems_of(written(content))
    assert message in problem


def test_an_unreadable_file(written: Callable[[str], Path]) -> None:
    path = written("name: x\nworld: [{environment: CartPole-v1, steps: 10}]\n")
    path.chmod(0)
    try:
        path.read_text()
    except PermissionError:
        assert "cannot be read" in problems_of(path)[0]
    else:
        pytest.skip("root reads everything")


@pytest.mark.parametrize("name", ["cartpol", "configs/cartpool.yaml", "Cartpole"])
def test_a_missing_file_with_a_suggestion(name: str) -> None:
    (problem,) = problems_of(name)
    assert problem.startswith("no such file; did you mean cartpole?")


def test_a_missing_file_without_one(tmp_path: Path) -> None:
    for name in ("qqqq", tmp_path):  # a folder is no file
        (problem,) = problems_of(str(name))
        assert "did you mean" not in problem
        assert "cartpole" in problem


def test_a_name_is_a_file_first_and_a_shipped_config_then(
    tiny_yaml: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find("cartpole") == CONFIGS / "cartpole.yaml"
    (tmp_path / "cartpole").write_text(tiny_yaml.read_text())
    assert kinds.load("cartpole")[1].name == "tiny"


def test_an_error_crosses_from_process_to_process() -> None:
    with pytest.raises(ConfigError) as error:
        kinds.load("cartpole", ["nothing=1", "seed=-1"])
    copy = pickle.loads(pickle.dumps(error.value))
    assert (str(copy), copy.problems) == (str(error.value), error.value.problems)
    assert len(copy.problems) == 2
