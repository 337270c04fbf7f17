"""Compressed networks beside their uncompressed selves, as published in ``benchmarks/results/compression/``.

    python -m snn4.benchmarks.compression zoo:fashion-mnist compress.shrink=0.3 finetune.epochs=2 --seeds 0
    python -m snn4.benchmarks.compression runs/cartpole-… compress.prune=0.83 --name cartpole --seeds 0 1 2
    python -m snn4.benchmarks.compression --engine
    python -m snn4.benchmarks.compression --table networks

Settings are chosen on validation data. Test data are used once per cell, a setting with a seed; each cell is kept in
the result file as soon as it is measured, and is not measured again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from stable_baselines3 import PPO

from snn4.agent import command_configs, kinds, runner
from snn4.agent.models.files import read_about
from snn4.agent.models.other_data import read_for
from snn4.agent.transformation.test import beside
from snn4.benchmarks.publishing import RESULTS, at_least, publish
from snn4.benchmarks.records import contents, data_name
from snn4.benchmarks.tables.compression import engine_table, network_table
from snn4.benchmarks.timing import take_turns
from snn4.policies.deploy import Deployed, load, save
from snn4.policies.sb3 import SpikingActorCriticPolicy

COMPRESSION = RESULTS / "compression"
ENGINE = COMPRESSION / "engine.json"
UNPRUNED = "128-128"
CONTENDERS: dict[str, tuple[tuple[int, int], float]] = {
    UNPRUNED: ((128, 128), 0.0), "80 % of synapses removed": ((128, 128), 0.8),
    "95 % of synapses removed": ((128, 128), 0.95), "57-57, 80 % fewer synapses": ((57, 57), 0.0),
    "26-26, 80 % fewer neurons": ((26, 26), 0.0),
}  # fmt: skip
"""Widths and sparsity of the policies that the engine runs."""


def main() -> None:
    """Measure the cells of the command line, or print the tables of all results."""
    parser = argparse.ArgumentParser(description="Compression of classifiers and policies.")
    parser.add_argument("model", nargs="?", help="the run folder of a life, training or conversion, or zoo:NAME")
    parser.add_argument("changes", nargs="*", help="compress.bits=8 finetune.epochs=2 …")
    parser.add_argument("--name", help="of the result file; default: the model's name")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--runs-dir", type=Path, default=Path("runs/benchmarks/compression"))
    parser.add_argument("--engine", action="store_true", help="measure the event-driven engine instead")
    parser.add_argument("--rounds", type=at_least(1), default=500)
    parser.add_argument("--table", choices=["networks", "engine"], help="measure nothing; print published results")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.table:
        results = contents(COMPRESSION)
        print(network_table(results) if arguments.table == "networks" else engine_table(results))
    elif arguments.engine:
        publish(ENGINE, "compression", "engine", engine_rows(arguments.rounds), {})
    elif arguments.model is None:
        parser.error("model: got none, allowed is the run folder of a life, training or conversion, or zoo:NAME")
    else:
        _measure_all(arguments)


def _measure_all(arguments: argparse.Namespace) -> None:
    name = arguments.name or Path(arguments.model).name.removeprefix("zoo:")
    path = COMPRESSION / f"{name}.json"
    rows = json.loads(path.read_text(encoding="utf-8"))["seeds"] if path.is_file() else []
    for seed in arguments.seeds:
        cell = {"changes": sorted(arguments.changes), "seed": seed}
        if any(all(row[key] == value for key, value in cell.items()) for row in rows):
            continue
        rows.append({**cell, **compressed(arguments.model, [*arguments.changes, f"seed={seed}"], arguments.runs_dir)})
        print(json.dumps({**cell, **_scores(rows[-1])}), flush=True)
        publish(path, "compression", name, rows, {})


def compressed(model: str, changes: Sequence[str], runs: Path) -> dict[str, Any]:
    """What `measured` says of a new compression."""
    runs.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(dir=runs))  # of its own, because others may begin runs beside it
    runner.begin(*command_configs.compression_of(model, {}, ["threads=1", *changes]), place, quiet=True)
    (folder,) = place.iterdir()
    return measured(folder)


def measured(folder: Path) -> dict[str, Any]:
    """The indicators of a compression on test data and, of classifiers, on validation data."""
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    if summary["part"] == "test":
        about = {"environment": summary["environment"], "compressed": summary["compressed"]}
        return {**about, "test": summary["comparison"]}
    config = kinds.load(folder / "config.yaml")[1]
    file = folder / "model.safetensors"
    data = read_for(file, read_about(file), config.data, config.name)
    test = beside(config.compress, folder, data)
    about = {"data": data_name(summary["config"]["data"]), "compressed": summary["compressed"]}
    return {**about, "epochs": summary["recovered_epochs"], "validation": summary["comparison"], "test": test}


def _scores(row: dict[str, Any]) -> dict[str, Any]:
    return {
        f"{part}_{name}": row[part][name]["return_mean"]
        for part in ("validation", "test")
        if part in row
        for name in ("before", "after")
    }


def engine_rows(rounds: int) -> list[dict[str, Any]]:
    """Seconds per decision of deployed policies with random weights, in the fastest of ``rounds``, taken in turns.

    All of them spike alike: weights of sparse layers are larger, so that currents have the spread of dense ones.
    """
    rows = []
    observations = np.random.default_rng(0).standard_normal((20, 8)).astype(np.float32)
    for steps in (4, 16):
        policies = {name: _policy(widths, sparsity, steps) for name, (widths, sparsity) in CONTENDERS.items()}
        deployed = {name: _decisions(_deployed(policy), observations) for name, policy in policies.items()}
        times = take_turns(deployed, rounds)
        seconds = {name: min(times[name]) / len(observations) for name in policies}
        for name, policy in policies.items():
            body: Any = policy.policy.mlp_extractor.policy_net
            with torch.no_grad():
                rates = [float(spikes.mean()) for spikes in body.spikes(torch.from_numpy(observations))]
            rows.append({
                "seed": None, "policy": name, "T": steps, "seconds": seconds[name], "spike_rates": rates,
                "times_as_fast": seconds[UNPRUNED] / seconds[name],
            })  # fmt: skip
            print(json.dumps(rows[-1]), flush=True)
    return rows


def _policy(widths: tuple[int, int], sparsity: float, steps: int) -> PPO:
    """With 8 values and 4 actions, as in LunarLander."""
    kwargs = {"net_arch": list(widths), "T": steps, "sparsity": sparsity}
    model = PPO(SpikingActorCriticPolicy, _Nowhere(), policy_kwargs=kwargs, seed=0, device="cpu")
    torch.manual_seed(0)
    body: Any = model.policy.mlp_extractor.policy_net
    for layer in body.layers[::2]:
        layer.weight.data.mul_(2 * len(layer.weight) ** 0.5 / layer.weight.norm())
    return model


class _Nowhere(gymnasium.Env[Any, Any]):
    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (8,))
    action_space = gymnasium.spaces.Discrete(4)


def _deployed(model: PPO) -> Deployed:
    with tempfile.TemporaryDirectory() as place:
        save(model, Path(place) / "policy.npz")
        return load(Path(place) / "policy.npz")


def _decisions(policy: Deployed, observations: Any) -> Any:
    def decide() -> None:
        for x in observations:
            policy.act(x)

    return decide


if __name__ == "__main__":
    main()
