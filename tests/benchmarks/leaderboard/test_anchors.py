from __future__ import annotations

import json
from pathlib import Path

import pytest

from snn4.benchmarks.leaderboard.anchors import read_anchors
from snn4.benchmarks.record_schema import RecordError

GOOD = {
    "task": "CartPole-v1", "measure": "return", "network": "ANN", "method": "PPO", "value": 500.0, "source": "a paper",
    "url": "https://example.org", "read_in": "primary repository",
}  # fmt: skip


def test_every_anchor_has_a_source() -> None:
    anchors = read_anchors()
    assert len(anchors) > 50
    assert all(anchor.source and anchor.url.startswith("https://") and anchor.method for anchor in anchors)
    assert {anchor.read_in for anchor in anchors} == {"primary repository", "copy of a table"}
    assert {anchor.network for anchor in anchors} == {"SNN", "ANN"}


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "is no JSON"), ('{"a": 1}', "got no list"), ("[1]", "got no list"),
     (json.dumps([{key: GOOD[key] for key in GOOD if key != "source"}]), "0: .*source"),
     (json.dumps([GOOD, {**GOOD, "value": "many"}]), "1: value: got 'many'"),
     (json.dumps([{**GOOD, "measure": "accuracy"}]), "value: got 500.0, allowed is a fraction"),
     (json.dumps([{**GOOD, "measure": "loss"}]), "measure: got 'loss', allowed are return, accuracy"),
     (json.dumps([{**GOOD, "better": 1}]), "better")],
)  # fmt: skip
def test_bad_anchors_are_refused(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "anchors.json").write_text(content)
    with pytest.raises(RecordError, match=message):
        read_anchors(tmp_path / "anchors.json")


def test_no_anchors(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="cannot be read"):
        read_anchors(tmp_path / "anchors.json")
