"""Control tasks: whole lives for several seeds, SNN beside ANN twin, as published in ``benchmarks/results/control/``.

    python -m snn4.benchmarks.control cartpole acrobot --seeds 0 1 2 --jobs 2
    python -m snn4.benchmarks.control control_stream protection.kind=none name=control_stream_unprotected --seeds 0
    python -m snn4.benchmarks.control --table

Every seed is a run folder of its own; what is finished is not lived again, what was interrupted is resumed.
Test returns are those of the weights that did best on validation episodes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

from snn4.agent.evaluation.returns import normalized
from snn4.agent.run.beings import ANN_TWIN, ORGANISM
from snn4.agent.run.events import Began, Evaluated, Saved
from snn4.agent.run.journal import read_events
from snn4.benchmarks.publishing import RESULTS, at_least, done_once, markdown, mean_and_std, publish, spread, typed
from snn4.policies.metering.energy import counted

CONTROL = RESULTS / "control"
_BEINGS = {"tasks": ORGANISM, "ann_twin": ANN_TWIN}


def main() -> None:
    """Live what the command line names and write one result file a config; or print the table of all results."""
    parser = argparse.ArgumentParser(description="Whole lives for several seeds, SNN beside ANN twin.")
    parser.add_argument("configs", nargs="*", help="names of shipped configs; and key=value, for all of them")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=at_least(1), default=1, help="lives at a time")
    parser.add_argument("--runs-dir", type=Path, default=Path("runs/benchmarks"))
    parser.add_argument("--no-twin", action="store_true", help="do not train the ANN twin, which may take far longer")
    parser.add_argument("--table", action="store_true", help="print the results as a Markdown table")
    arguments = parser.parse_intermixed_args()
    configs, changes = typed(parser, arguments.configs)
    changes.append(f"ann_twin={str(not arguments.no_twin).lower()}")
    lives = [(config, [*changes, f"seed={seed}"], arguments.runs_dir) for config in configs for seed in arguments.seeds]
    with ProcessPoolExecutor(arguments.jobs) as pool:
        rows = list(pool.map(live_once, *zip(*lives, strict=True))) if lives else []
    for config, checked in configs.items():
        mine = [row for (owner, *_), row in zip(lives, rows, strict=True) if owner == config]
        publish(CONTROL / f"{checked.name}.json", "control", checked.name, mine, summary(mine))
    if arguments.table:
        print(table(json.loads(path.read_text(encoding="utf-8")) for path in sorted(CONTROL.glob("*.json"))))


def live_once(config: str, changes: list[str], runs: Path) -> dict[str, Any]:
    """One life, lived, resumed or found finished in ``runs``: its summary, and how long it and its checkpoints took."""
    folder = done_once(config, changes, runs)
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    kept = ("seed", "commit_hash", "tasks", "ann_twin", "retention")  # the last, where there are several tasks
    return {**{key: summary[key] for key in kept if key in summary}, **_durations(folder)}


def _durations(folder: Path) -> dict[str, float | None]:
    """Seconds from the organism's birth to the end of its test (None if it was interrupted), and of the checkpoints."""
    events = [(when, event) for when, event, _ in read_events(folder)]
    births = [when for when, event in events if isinstance(event, Began)]
    tests = [when for when, event in events if isinstance(event, Evaluated) and event.part == "test"]
    return {
        "organism_seconds": _between(births[0], tests[0]) if len(births) == 1 else None,
        "slowest_checkpoint_seconds": max(event.seconds for _, event in events if isinstance(event, Saved)),
    }


def _between(start: datetime, end: datetime) -> float:
    return (end - start).total_seconds()


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and spread over seeds; of a stream also ``normalized``, what is left of each task at its end."""
    costs = ("spikes_per_decision", "effective_acs", "effective_macs")
    keys = ("return_mean", *costs, "env_steps_per_second")
    return {
        who: {
            task: {
                **{key: mean_and_std([row[who][task][key] for row in rows], key not in costs) for key in keys},
                **_left(rows, who, task),
                "energy_joules_45nm_fp32": mean_and_std([row[who][task]["energy_joules"]["45nm_fp32"] for row in rows]),
                "energy_joules_45nm_int8": mean_and_std([row[who][task]["energy_joules"]["45nm_int8"] for row in rows]),
            }
            for task in rows[0][who]
        }
        for who in ("tasks", "ann_twin")
        if rows[0][who]
    }


def _left(rows: list[dict[str, Any]], who: str, task: str) -> dict[str, Any]:
    """Test returns on the scale from chance (0) to the task's reference (1), where the config of a stream has one."""
    values = [
        normalized(row[who][task]["return_mean"], found["chance"][task], found["reference"][task])
        for row in rows
        if (found := row.get("retention", {}).get(_BEINGS[who]))
    ]
    known = [value for value in values if value is not None]
    return {"normalized": mean_and_std(known, True)} if known else {}


def table(results: Iterable[dict[str, Any]]) -> str:
    """Markdown: one line for each task of each result; of a stream, with what is left of the task in percent.

    Below it stands what its energies hold.
    """
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
    lines, measured = list[list[str]](), list[dict[str, Any]]()
    for result in results:
        measured += [row for seed in result["seeds"] for who in _BEINGS for row in seed[who].values()]
        for task, snn in result["summary"]["tasks"].items():
            ann, first = result["summary"].get("ann_twin", {}).get(task), result["seeds"][0]["tasks"][task]
            name = task if len(result["summary"]["tasks"]) == 1 else f"{result['config']}: {task}"
            cells = [name, str(len(result["seeds"])), f"{first['env_steps']:,}", _return(snn), _return(ann)]
            cells += [f"{snn['spikes_per_decision']['mean']:.0f}", _energy(snn), _energy(ann)]
            lines.append(cells)
    return f"{markdown(head, lines)}\n\n{counted(measured)}"


def _return(row: dict[str, Any] | None) -> str:
    if row is None:
        return "not trained"
    told = spread(row["return_mean"], 1)
    return f"{told} ({100 * row['normalized']['mean']:.0f} %)" if "normalized" in row else told


def _energy(row: dict[str, Any] | None) -> str:
    if row is None:
        return "-"
    fp32, int8 = (row[f"energy_joules_45nm_{kind}"]["mean"] * 1e9 for kind in ("fp32", "int8"))
    return f"{fp32:.2f} ({int8:.2f})"


if __name__ == "__main__":
    main()
