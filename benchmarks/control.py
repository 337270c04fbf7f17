"""Control tasks: whole lives for several seeds, SNN and ANN twin, as published in ``benchmarks/results/control/``.

    python -m snn4.benchmarks.control cartpole acrobot --seeds 0 1 2 --jobs 2
    python -m snn4.benchmarks.control control_stream protection.kind=none name=control_stream_unprotected --seeds 0
    python -m snn4.benchmarks.control --table

Every seed has its own run folder: finished lives are not repeated, interrupted lives are resumed. Test returns are
those of the weights with the best validation return.
"""

from __future__ import annotations

import argparse
import json
from datetime import datetime
from pathlib import Path
from typing import Any

from snn4.agent.evaluation.returns import normalized
from snn4.agent.run.beings import ANN_TWIN, ORGANISM
from snn4.agent.run.events import Began, Evaluated, Saved
from snn4.agent.run.journal import read_events
from snn4.benchmarks.publishing import RESULTS, at_least, done_once, mean_and_std, publish, side_by_side, typed
from snn4.benchmarks.records import contents
from snn4.benchmarks.tables.control import table as table

CONTROL = RESULTS / "control"
_BEINGS = {"tasks": ORGANISM, "ann_twin": ANN_TWIN}


def main() -> None:
    """Run the lives of the command line and write one result file per config; or print the table of all results."""
    parser = argparse.ArgumentParser(description="Whole lives for several seeds, SNN and ANN twin.")
    parser.add_argument("configs", nargs="*", help="names of shipped configs; and key=value, for all of them")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=at_least(1), default=1, help="lives that run at the same time")
    parser.add_argument("--runs-dir", type=Path, default=Path("runs/benchmarks"))
    parser.add_argument("--no-twin", action="store_true", help="do not train the ANN twin, which may take far longer")
    parser.add_argument("--table", action="store_true", help="print the results as a Markdown table")
    arguments = parser.parse_intermixed_args()
    configs, changes = typed(parser, arguments.configs)
    changes.append(f"ann_twin={str(not arguments.no_twin).lower()}")
    lives = [(name, [*changes, f"seed={seed}"], arguments.runs_dir) for name in configs for seed in arguments.seeds]
    rows = list(side_by_side(live_once, lives, arguments.jobs))
    for typed_name, config in configs.items():
        rows_of_config = [row for (owner, *_), row in zip(lives, rows, strict=True) if owner == typed_name]
        publish(CONTROL / f"{config.name}.json", "control", config.name, rows_of_config, summary(rows_of_config))
    if arguments.table:
        print(table(contents(CONTROL)))


def live_once(config: str, changes: list[str], runs: Path) -> dict[str, Any]:
    """The summary and durations of one life, which is run or resumed unless it is finished in ``runs``."""
    folder = done_once(config, changes, runs)
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    kept = ("seed", "commit_hash", "tasks", "ann_twin", "retention")  # retention: only with several tasks
    return {**{key: summary[key] for key in kept if key in summary}, **_durations(folder)}


def _durations(folder: Path) -> dict[str, float | None]:
    """Seconds from birth to the end of the organism's test (None if interrupted), and of the slowest checkpoint."""
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
    """Mean and spread over seeds; for several tasks also ``normalized``, the retention of each task at the end."""
    costs = ("spikes_per_decision", "effective_acs", "effective_macs")
    keys = ("return_mean", *costs, "env_steps_per_second")
    return {
        who: {
            task: {
                **{key: mean_and_std([row[who][task][key] for row in rows], key not in costs) for key in keys},
                **_retention(rows, who, task),
                "energy_joules_45nm_fp32": mean_and_std([row[who][task]["energy_joules"]["45nm_fp32"] for row in rows]),
                "energy_joules_45nm_int8": mean_and_std([row[who][task]["energy_joules"]["45nm_int8"] for row in rows]),
            }
            for task in rows[0][who]
        }
        for who in ("tasks", "ann_twin")
        if rows[0][who]
    }


def _retention(rows: list[dict[str, Any]], who: str, task: str) -> dict[str, Any]:
    """Test returns on a scale from chance (0) to the reference of the task (1), if the config has one."""
    values = [
        normalized(row[who][task]["return_mean"], retention["chance"][task], retention["reference"][task])
        for row in rows
        if (retention := row.get("retention", {}).get(_BEINGS[who]))
    ]
    returns = [value for value in values if value is not None]
    return {"normalized": mean_and_std(returns, True)} if returns else {}


if __name__ == "__main__":
    main()
