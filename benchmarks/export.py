"""Runs in Loihi's integers beside float, as published in ``benchmarks/results/export/``.

    python -m snn4.benchmarks.export runs/cartpole-0-… runs/cartpole-1-… --name cartpole --bits 8 6 4
    python -m snn4.benchmarks.export --table

Lives play 100 test episodes in float and on the chip, with the same seeds; classifiers see the whole test set. Each run
is kept in the result file as soon as it is measured.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import torch

from snn4.agent import kinds
from snn4.agent.evaluation.episodes import EvaluationConfig
from snn4.agent.export.evaluating import FLOAT, LOIHI, evaluated_classifier, evaluated_policy
from snn4.agent.export.source import PolicySource, open_source
from snn4.benchmarks.publishing import RESULTS, publish
from snn4.benchmarks.records import contents
from snn4.benchmarks.tables.export import table as table

EXPORT = RESULTS / "export"


def main() -> None:
    """Measure the runs of the command line, or print the table of all results."""
    parser = argparse.ArgumentParser(description="Runs in Loihi's integers, beside float.")
    parser.add_argument("runs", nargs="*", help="folders of runs that differ in their seed")
    parser.add_argument("--name", help="of the result file")
    parser.add_argument("--bits", type=int, nargs="+", default=[8, 6, 4])
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    if arguments.table:
        print(table(contents(EXPORT)))
        return
    if not arguments.runs or arguments.name is None:
        parser.error("got no runs or no --name, allowed are folders of runs and the name of the result")
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for run in arguments.runs:
        for bits in arguments.bits:
            rows.append(_measured(run, bits, arguments.episodes))
            print(json.dumps(rows[-1]), flush=True)
            publish(EXPORT / f"{arguments.name}.json", "export", arguments.name, rows, {})


def _measured(run: str, bits: int, episodes: int) -> dict[str, Any]:
    source = open_source(run)
    _, config = kinds.load(source.folder / "config.yaml")
    keys = ["spikes_per_decision", "effective_acs"]
    with torch.no_grad():
        if isinstance(source, PolicySource):
            summary = evaluated_policy(source, bits, EvaluationConfig(test_episodes=episodes))
            keys += ["return_mean", "return_std", "episodes"]
            about = {"environment": source.task.environment, "steps": config.world[0].steps}
        else:
            summary = evaluated_classifier(source, bits)
            keys += ["top1_accuracy"]
            about = {"data": source.data.name, "network": config.network.name}
    rows = {engine: {key: summary["rows"][engine][key] for key in keys} for engine in (FLOAT, LOIHI)}
    chip = {key: summary[key] for key in ("bits", "T", "steps_per_decision", "agreement", "saturated")}
    return {"seed": config.seed, **about, **chip, **rows}


if __name__ == "__main__":
    main()
