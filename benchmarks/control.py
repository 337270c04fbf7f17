"""Control tasks: whole lives for several seeds, SNN beside ANN twin, as published in ``benchmarks/results/control/``.

    python -m snn4.benchmarks.control cartpole acrobot --seeds 0 1 2 --jobs 2
    python -m snn4.benchmarks.control --table

Every seed is a run folder of its own; what is finished is not lived again, what was interrupted is resumed.
Test returns are those of the weights that did best on validation episodes.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from snn4.agent.config import dump, load
from snn4.agent.events import Began, Evaluated, Saved
from snn4.agent.journal import Journal, provenance, read_events
from snn4.agent.session import resume, session

RESULTS = Path(__file__).parent / "results" / "control"


def main() -> None:
    """Live what the command line names and write one result file a config; or print the table of all results."""
    parser = argparse.ArgumentParser(description="Whole lives for several seeds, SNN beside ANN twin.")
    parser.add_argument("configs", nargs="*", help="names of shipped configs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=1, help="lives at a time")
    parser.add_argument("--runs-dir", type=Path, default=Path("runs/benchmarks"))
    parser.add_argument("--no-twin", action="store_true", help="do not raise the ANN twin, which may take far longer")
    parser.add_argument("--table", action="store_true", help="print the results as a Markdown table")
    arguments = parser.parse_args()
    where = (arguments.runs_dir, not arguments.no_twin)
    lives = [(config, seed, *where) for config in arguments.configs for seed in arguments.seeds]
    with ProcessPoolExecutor(arguments.jobs) as pool:
        rows = list(pool.map(live_seed, *zip(*lives, strict=True))) if lives else []
    for config in arguments.configs:
        write(config, [row for (name, *_), row in zip(lives, rows, strict=True) if name == config])
    if arguments.table:
        print(table(json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))))


def live_seed(config: str, seed: int, runs: Path, twin: bool = True) -> dict[str, Any]:
    """One life, lived, resumed or found finished in ``runs``: its summary, and how long it and its checkpoints took."""
    checked = load(config, [f"seed={seed}", f"ann_twin={str(twin).lower()}"])
    same = [path.parent for path in runs.glob(f"{checked.name}-*/config.yaml") if path.read_text() == dump(checked)]
    if not same:
        journal = Journal.create(runs, checked)
        same = [journal.folder]
        session(checked, journal, quiet=True)
    elif not (same[0] / "summary.json").is_file():
        resume(same[0], quiet=True)
    summary = json.loads((same[0] / "summary.json").read_text())
    rows = {key: summary[key] for key in ("seed", "commit_hash", "tasks", "ann_twin")}
    return {**rows, **_durations(same[0])}


def _durations(folder: Path) -> dict[str, float | None]:
    """Seconds from the organism's birth to the end of its test (None if it was interrupted), and of the checkpoints."""
    events = [(when, event) for when, event, _ in read_events(folder)]
    births = [when for when, event in events if isinstance(event, Began)]
    tests = [when for when, event in events if isinstance(event, Evaluated) and event.final]
    return {
        "organism_seconds": _between(births[0], tests[0]) if len(births) == 1 else None,
        "slowest_checkpoint_seconds": max(event.seconds for _, event in events if isinstance(event, Saved)),
    }


def _between(start: datetime, end: datetime) -> float:
    return (end - start).total_seconds()


def write(config: str, rows: list[dict[str, Any]]) -> None:
    """Publish the rows of ``config``, with their mean and spread over seeds, command, commit and machine."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    command = shlex.join(["python", "-m", "snn4.benchmarks.control", *sys.argv[1:]])
    result = {"config": config, "command": command, **provenance(), "summary": _summary(rows), "seeds": rows}
    (RESULTS / f"{config}.json").write_text(json.dumps(result, indent=1) + "\n")


def _summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    costs = ("spikes_per_decision", "effective_acs", "effective_macs")
    keys = ("return_mean", *costs, "env_steps_per_second")
    return {
        who: {
            task: {
                **{key: _mean_and_std([row[who][task][key] for row in rows], key not in costs) for key in keys},
                "energy_joules_45nm_fp32": _mean_and_std(
                    [row[who][task]["energy_joules"]["45nm_fp32"] for row in rows]
                ),
                "energy_joules_45nm_int8": _mean_and_std(
                    [row[who][task]["energy_joules"]["45nm_int8"] for row in rows]
                ),
            }
            for task in rows[0][who]
        }
        for who in ("tasks", "ann_twin")
        if rows[0][who]
    }


def _mean_and_std(values: list[float], more_is_better: bool = False) -> dict[str, float]:
    worst = min(values) if more_is_better else max(values)
    return {"mean": float(np.mean(values)), "std": float(np.std(values)), "worst": float(worst)}


def table(results: Iterable[dict[str, Any]]) -> str:
    """Markdown: one line for each task of each result."""
    head = (
        "task",
        "seeds",
        "steps",
        "SNN return",
        "ANN return",
        "SNN spikes",
        "SNN nJ fp32 (int8)",
        "ANN nJ fp32 (int8)",
    )
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for result in results:
        for task, snn in result["summary"]["tasks"].items():
            ann, first = result["summary"].get("ann_twin", {}).get(task), result["seeds"][0]["tasks"][task]
            cells = [task, str(len(result["seeds"])), f"{first['env_steps']:,}", _return(snn), _return(ann)]
            cells += [f"{snn['spikes_per_decision']['mean']:.0f}", _energy(snn), _energy(ann)]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _return(row: dict[str, Any] | None) -> str:
    return "not raised" if row is None else f"{row['return_mean']['mean']:.1f} ± {row['return_mean']['std']:.1f}"


def _energy(row: dict[str, Any] | None) -> str:
    if row is None:
        return "-"
    fp32, int8 = (row[f"energy_joules_45nm_{kind}"]["mean"] * 1e9 for kind in ("fp32", "int8"))
    return f"{fp32:.2f} ({int8:.2f})"


if __name__ == "__main__":
    main()
