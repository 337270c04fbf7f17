"""The result of ``verify`` for people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from snn4.agent.errors import CannotGoOn
from snn4.agent.show.tables import rich_table


class Mismatch(CannotGoOn):
    """Lava and the integer model differ."""


def show(result: Mapping[str, Any], as_json: bool = False) -> None:
    """Print what `verification.verify` has found.

    Raises:
        Mismatch: Lava did something else than the integer model.
    """
    if as_json:
        print(json.dumps(result, indent=1))
    else:
        console = Console()
        for table in tables(result):
            console.print(table)
        console.print(f"{result['seconds']:.0f} s")
    if not result["equal"]:
        raise Mismatch(f"{result['bundle']}: Lava differs from the integer model; please report it with the bundle")


def tables(result: Mapping[str, Any]) -> list[Table]:
    """Spikes and membranes of each layer, then decisions."""
    head = ["layer", "neurons", "spikes a step", "spikes equal", "u equal", "v equal"]
    layers = [
        [
            row["name"],
            f"{row['neurons']:,}",
            f"{row['spike_rate']:.3f}",
            *(_share(row[x]) for x in ("spikes", "u", "v")),
        ]
        for row in result["layers"]
    ]
    title = f"{result['name']}, {result['bits']} bits: Lava and the integer model, {result['steps']:,} steps"
    return [rich_table([head, *layers], title), rich_table([["", ""], *decisions(result)], "decisions")]


def decisions(result: Mapping[str, Any]) -> list[list[str]]:
    """Rows about actions and returns."""
    samples, played = result["samples"], result.get("episodes")
    rows = [["samples with saturated scores", f"{samples['saturated']} of {samples['samples']}"]]
    rows.append(["samples decided as trained", _agreement(samples)])
    if played is None:
        return rows
    if "skipped" in played:
        return [*rows, ["episodes in Lava", f"none: {played['skipped']}"]]
    rows.append([
        "actions in Lava's episodes equal to the integers'",
        f"{played['equal']:,} of {played['decisions']:,}",
    ])  # fmt: skip
    rows.append(["these actions as trained", _agreement(played)])
    for name, returns in played["returns"].items():
        what = {"lava": "inside Lava", "integers": "integer model", "trained": "trained policy"}[name]
        rows.append([f"return, {what}", f"{sum(returns) / len(returns):.1f}"])
    return rows


def _share(value: float) -> str:
    return "all" if value == 1 else f"{100 * value:.4f} %"


def _agreement(fields: Mapping[str, Any]) -> str:
    if (agreement := fields.get("as_trained")) is None:
        return "- (the run is not there)"
    if "equal" in agreement:
        return f"{100 * agreement['equal']:.2f} %"
    return f"mean distance {agreement['mean_distance']:.4g}"
