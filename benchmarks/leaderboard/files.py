"""The files that follow from the records: the leaderboard, and the tables of README and docs/."""

from __future__ import annotations

import json
from pathlib import Path

from snn4.agent.errors import CannotGoOn
from snn4.benchmarks.leaderboard.anchors import read_anchors
from snn4.benchmarks.leaderboard.board import JAPANESE, as_json, board, first_rows
from snn4.benchmarks.leaderboard.pages import BOARD, BOARD_JA, PAGES, tables
from snn4.benchmarks.leaderboard.rows import rows_of
from snn4.benchmarks.records import RESULTS, read_records, write

ROOT = RESULTS.parents[1]
MARKDOWN, JSON = "LEADERBOARD.md", "leaderboard.json"


class Disagrees(CannotGoOn):
    """Files say something else than the records."""


def command(results: Path, check: bool, print_json: bool) -> None:
    """The command ``snn4-agent leaderboard``.

    Raises:
        RecordError: a record is refused; no file changes.
        Disagrees: with ``check``, files differ from what the records say.
    """
    texts = generated(results)
    stale = [path for path, text in texts.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    if not check:
        for path in stale:
            write(path, texts[path])
    if print_json:
        disagreeing = json.dumps({"disagree": list(map(str, stale))}) + "\n"
        print(disagreeing if check else texts[results.parent / JSON], end="")
    elif not check:
        for path in texts:
            print(f"{_short(path)}: {'written' if path in stale else 'unchanged'}")
    if check and stale:
        raise Disagrees("\n".join(_disagreement(path, results) for path in stale))


def generated(results: Path) -> dict[Path, str]:
    """The text of every file: the leaderboard beside ``results``; for the published records, README and docs/, too."""
    records, anchors = read_records(results), read_anchors()
    rows = rows_of(records)
    texts = {
        results.parent / MARKDOWN: board(rows, anchors, records),
        results.parent / JSON: as_json(rows, anchors),
    }
    if results.resolve() == RESULTS:
        boards = {BOARD: first_rows(rows, anchors), BOARD_JA: first_rows(rows, anchors, JAPANESE)}
        written = tables(records, boards)
        texts |= {ROOT / page: written((ROOT / page).read_text(encoding="utf-8")) for page in PAGES}
    return texts


def _disagreement(path: Path, results: Path) -> str:
    return f"{_short(path)}: disagrees with {_short(results)}; write it again with: snn4-agent leaderboard"


def _short(path: Path) -> str:
    """The path as one would type it here."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
