"""Records: the published ones are valid, and bad ones are refused in one line each."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from snn4.benchmarks import records
from snn4.benchmarks.publishing import publish
from snn4.benchmarks.record_schema import RecordError, check
from snn4.benchmarks.records import RESULTS, contents, read_record, read_records, require_new

CARTPOLE = RESULTS / "control" / "cartpole.json"
STREAM = RESULTS / "continual" / "split_cifar10.json"


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def without(path: Path, *keys: Any) -> Any:
    """The record in ``path`` without the value at the place ``keys``."""
    content = read(path)
    inner = content
    for key in keys[:-1]:
        inner = inner[key]
    del inner[keys[-1]]
    return content


def with_value(path: Path, value: Any, *keys: Any) -> Any:
    content = without(path, *keys)
    inner = content
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    return content


def test_the_schema_is_a_schema() -> None:
    Draft202012Validator.check_schema(read(Path(records.__file__).with_name("record.schema.json")))


def test_published_records_are_valid() -> None:
    found = read_records(RESULTS)
    assert [record.path for record in found] == sorted(path.relative_to(RESULTS) for path in RESULTS.rglob("*.json"))
    assert {record.suite for record in found} >= {"control", "images", "continual", "speed"}
    assert contents(RESULTS / "control") == [record.content for record in found if record.suite == "control"]


@pytest.mark.parametrize(
    ("content", "message"),
    [(without(CARTPOLE, "schema"), "schema: missing, allowed is 1"),
     (with_value(CARTPOLE, 2, "schema"), "schema: got 2, allowed is 1, the version that this installation reads"),
     (without(CARTPOLE, "suite"), "suite: missing, allowed is the name of a suite"),
     (with_value(CARTPOLE, "sport", "suite"), 'suite: got "sport", allowed is the name of a suite'),
     (without(CARTPOLE, "config"), "config: missing, allowed is the name of a config, or the whole config"),
     (with_value(CARTPOLE, "", "config"), 'config: got "", allowed is the name of a config'),
     (without(CARTPOLE, "commit_hash"), "commit_hash: missing, allowed is the 40 hexadecimal digits of the commit"),
     (with_value(CARTPOLE, None, "commit_hash"), "commit_hash: got null, allowed is the 40 hexadecimal digits"),
     (with_value(CARTPOLE, "417302c", "commit_hash"), 'commit_hash: got "417302c", allowed is the 40'),
     (without(CARTPOLE, "machine"), "machine: missing, allowed is a mapping with system, processor and cores"),
     (without(CARTPOLE, "machine", "cores"), "machine.cores: missing"),
     (without(CARTPOLE, "seeds"), "seeds: missing, allowed is a list with the measurements of each seed"),
     (with_value(CARTPOLE, [], "seeds"), "seeds: got [], allowed is a list"),
     (without(CARTPOLE, "seeds", 1, "seed"), "seeds.1.seed: missing, allowed is a whole number >= 0"),
     (with_value(CARTPOLE, 0.5, "seeds", 1, "seed"), "seeds.1.seed: got 0.5, allowed is a whole number >= 0"),
     (with_value(CARTPOLE, 0, "seeds", 1, "seed"), "seeds.1: repeats seeds.0"),
     (with_value(CARTPOLE, "many", "seeds", 0, "tasks", "CartPole-v1", "return_mean"),
      'seeds.0.tasks.CartPole-v1.return_mean: got "many", allowed is the mean score, a number'),
     (with_value(CARTPOLE, -1, "seeds", 0, "tasks", "CartPole-v1", "effective_acs"),
      "seeds.0.tasks.CartPole-v1.effective_acs: got -1, allowed is a number >= 0"),
     (with_value(CARTPOLE, "a lot", "seeds", 0, "tasks", "CartPole-v1", "bytes"),
      'seeds.0.tasks.CartPole-v1.bytes: got "a lot"'),
     (without(STREAM, "strategies"), "strategies: missing, allowed is a mapping of strategies"),
     (without(STREAM, "strategies", "replay", "seeds"), "strategies.replay.seeds: missing"),
     (without(STREAM, "strategies", "replay", "commit_hash"), "strategies.replay.commit_hash: missing"),
     (without(STREAM, "strategies", "replay", "seeds", 0, "network"), "strategies.replay.seeds.0.network: missing"),
     (without(RESULTS / "speed.json", "rows"), "rows: missing, allowed is a list of comparisons"),
     ([], "got [], allowed is"), ("text", 'got "text", allowed is')],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)  # fmt: skip
def test_a_bad_record_is_refused_in_one_line(content: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(content))
    with pytest.raises(RecordError) as refused:
        read_record(path)
    assert str(refused.value).startswith(f"{path}: {message}")
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "is no JSON"), ("{", "is no JSON"), ("\x00", "is no JSON"), ('{"schema": NaN}', "NaN is not finite"),
     ('{"schema": 1e999}', "1e999 is not finite"), ('{"schema": 1, "schema": 1}', "'schema' is there twice"),
     ("[" * 100_000, "nested too deeply")],
    ids=["empty", "brace", "zero", "nan", "inf", "twice", "deep"],
)  # fmt: skip
def test_a_file_that_is_no_record(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(RecordError) as refused:
        read_record(path)
    assert message in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_all_bad_records_are_named(tmp_path: Path) -> None:
    shutil.copy(CARTPOLE, tmp_path / "good.json")
    (tmp_path / "one.json").write_text("{")
    (tmp_path / "two.json").write_bytes(b"\xff")
    with pytest.raises(RecordError) as refused:
        read_records(tmp_path)
    assert [line.partition(": ")[0] for line in str(refused.value).splitlines()] == [
        str(tmp_path / name) for name in ("one.json", "two.json")
    ]
    with pytest.raises(RecordError, match="has no records"):
        read_records(tmp_path / "nowhere")


def _better(content: Any) -> None:
    content["seeds"][0]["tasks"]["CartPole-v1"]["return_mean"] = 501.0


def _another_commit(content: Any) -> None:
    content["commit_hash"] = "0" * 40


def _fewer_seeds(content: Any) -> None:
    del content["seeds"][0]


@pytest.mark.parametrize(
    ("change", "duplicate"), [(_better, True), (_another_commit, False), (_fewer_seeds, False)]
)  # fmt: skip
def test_duplicates(change: Callable[[Any], None], duplicate: bool, tmp_path: Path) -> None:
    shutil.copy(CARTPOLE, tmp_path / "cartpole.json")
    content = read(CARTPOLE)
    change(content)
    (tmp_path / "again.json").write_text(json.dumps(content))
    if not duplicate:
        assert len(read_records(tmp_path)) == 2
        return
    with pytest.raises(RecordError, match=r"cartpole\.json: duplicate of .*again\.json"):
        read_records(tmp_path)
    with pytest.raises(RecordError, match=r"third\.json: duplicate of .*again\.json"):
        require_new(content, tmp_path / "third.json")
    with pytest.raises(RecordError, match=r"again\.json: is there already"):
        require_new(content, tmp_path / "again.json")


def test_what_is_published_is_a_record(tmp_path: Path) -> None:
    rows = copy.deepcopy(read(CARTPOLE)["seeds"])
    publish(tmp_path / "control" / "cartpole.json", "control", "cartpole", rows, {})
    content = read(tmp_path / "control" / "cartpole.json")
    assert (content["schema"], content["suite"], content["config"]) == (1, "control", "cartpole")
    if content["commit_hash"] is not None:  # in a checkout
        check(content, "cartpole.json")
    assert [path.name for path in (tmp_path / "control").iterdir()] == ["cartpole.json"]
