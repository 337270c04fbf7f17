"""The table of speed and memory beside peers."""

from __future__ import annotations

from typing import Any

from snn4.benchmarks.tables.markdown import markdown


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: one line per aim."""
    head = ["what", "against", "ratio (middle half)", "with default malloc", "each as it comes", "aim"]
    cells = [
        [row["name"], row["against"], *(_spread(row[key]) for key in ("ratio", "default_malloc", "as_it_comes")),
         f"{row['aim']:.1f}{'' if row['reached'] else ' (missed)'}"]
        for row in rows
    ]  # fmt: skip
    return markdown(head, cells)


def _spread(ratio: dict[str, float] | None) -> str:
    return "" if ratio is None else f"{ratio['median']:.2f} ({ratio['low']:.2f}-{ratio['high']:.2f})"
