"""A finished run as a record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from snn4.agent import kinds
from snn4.agent.config.file import read
from snn4.agent.run.journal import CONFIG, RUN, SUMMARY, RunError, require_run
from snn4.benchmarks.leaderboard.rows import rows_of
from snn4.benchmarks.record_schema import SCHEMA, RecordError, check
from snn4.benchmarks.records import RESULTS, Record, data_name, require_new, write

SUBMITTED = RESULTS / "submitted"
LEFT_OUT = ("config", "classes", "confusion", "activity", "layers", "test_curve", "tested", "front")
"""Parts of a summary that are long, or follow from the rest."""


def submit(run: Path, results: Path = SUBMITTED) -> Path:
    """Write the record of the finished run in the folder ``run`` into ``results``; returns its file.

    Raises:
        RunError: the folder is no run folder, or its run is not finished, not repeatable, or not tested on test data.
        RecordError: the record is not valid, or the same run is there already.
    """
    require_run(run)
    if not (run / SUMMARY).is_file():
        raise RunError(f"{run}: is not finished, allowed is a finished run; continue with: snn4-agent resume {run}")
    content = record_of(run, _read(run / SUMMARY))
    path = results / f"{run.resolve().name}.json"
    check(content, str(run))
    try:
        rows = rows_of([Record(path, content)])
    except RecordError as error:
        raise RunError(f"{run}: its summary has no scores ({error})") from error
    if not rows:
        raise RunError(f"{run}: its summary has no scores, allowed is a run that was tested")
    require_new(content, path)
    write(path, json.dumps(content, indent=1) + "\n")
    return path


def record_of(run: Path, summary: dict[str, Any]) -> dict[str, Any]:
    """The record of the run in the folder ``run`` with its ``summary``."""
    about = _read(run / RUN)
    kind = kinds.kind_of(*read(run / CONFIG)).name
    _require_repeatable(run, summary, about)
    _require_tested(run, kind, summary)
    config = _general({"kind": kind, **summary["config"]})
    origin: dict[str, Any] = {key: about[key] for key in ("versions", "machine") if key in about}
    origin.update({key: summary[key] for key in ("commit_hash", "commit_dirty") if key in summary})
    row = {"seed": summary["seed"], "run": run.resolve().name, "kind": kind, **_short(summary)}
    row |= {"data": data_name(config["data"])} if kind == "training" else {}
    return {
        **SCHEMA, "suite": "submitted", "config": config, "command": "snn4-agent run config.yaml", **origin,
        "summary": {}, "seeds": [row],
    }  # fmt: skip


def _require_repeatable(run: Path, summary: dict[str, Any], about: dict[str, Any]) -> None:
    """Refuse a run that nobody can repeat."""
    config, seed = summary.get("config"), summary.get("seed")
    if not isinstance(config, dict) or not isinstance(config.get("name"), str):
        raise RunError(f"{run}: config: missing in summary.json, allowed is a run with its config; run it again")
    if type(seed) is not int:
        raise RunError(f"{run}: seed: got {seed!r}, allowed is a whole number; run it again")
    if not summary.get("commit_hash"):
        raise RunError(
            f"{run}: commit_hash: got {summary.get('commit_hash')!r}, allowed is a run of a checkout; run it again in "
            "a clone of the repository"
        )
    if summary.get("commit_dirty") or about.get("commit_dirty"):
        raise RunError(
            f"{run}: commit_dirty: got true (files had been changed and not committed), allowed is false; commit them, "
            "then run it again"
        )


def _require_tested(run: Path, kind: str, summary: dict[str, Any]) -> None:
    """Refuse scores on validation data."""
    part = summary.get("stream", {}).get("tested_on", "test") if kind == "stream" else summary.get("part", "test")
    if part != "test":
        raise RunError(f"{run}: got scores on {part} data, allowed are scores on test data")
    if kind == "transformation" and "environment" not in summary:
        raise RunError(
            f"{run}: got a transformed classifier, which is not tested as it ends; allowed are lives, trainings, "
            "streams, evolutions, and conversions and compressions of policies"
        )


def _short(value: Any) -> Any:
    """Without `LEFT_OUT`."""
    if isinstance(value, dict):
        return {key: _short(inner) for key, inner in value.items() if key not in LEFT_OUT}
    return [_short(inner) for inner in value] if isinstance(value, list) else value


def _general(value: Any) -> Any:
    """Without the place of data on this machine."""
    if isinstance(value, dict):
        return {key: None if key == "root" else _general(inner) for key, inner in value.items()}
    return [_general(inner) for inner in value] if isinstance(value, list) else value


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: cannot be read ({error}), allowed is the file of a run") from error
    return content if isinstance(content, dict) else {}
