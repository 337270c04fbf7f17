"""Models in the package: ``snn4-agent evaluate zoo:NAME`` repeats their test.

    python -m snn4.benchmarks.zoo runs/fashion_mnist-20261124-150000

copies the model of a finished training to ``benchmarks/zoo/``: its config, and its weights in half precision.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from snn4.agent import kinds
from snn4.agent.config.file import dump
from snn4.agent.models.files import ZOO, ModelError, read_about, save_model
from snn4.agent.models.twins import networks
from snn4.agent.run.beings import NETWORK
from snn4.agent.training.config import TrainingConfig
from snn4.policies.metering.synaptic_operations import SYNAPSES

LARGEST = 5_000_000
"""Largest size of a model in bytes, since the repository and every installation contain it."""


def main() -> None:
    """Ship the models of the run folders on the command line."""
    parser = argparse.ArgumentParser(description="Put the models of finished trainings into the zoo.")
    parser.add_argument("runs", type=Path, nargs="+", help="run folders of trainings")
    for run in parser.parse_args().runs:
        print(ship(run))


def ship(run: Path, zoo: Path = ZOO) -> Path:
    """Copy the model in the folder ``run`` to a new folder in ``zoo``, named after its config; returns the new folder.

    Raises:
        ModelError: if there is no model, or it is too large.
    """
    _, config = kinds.load(run / "config.yaml")
    about, weights = read_about(run / "model.safetensors"), load_file(run / "model.safetensors")
    synapses = _synapses(config, about)
    small = {name: x.half() if name in synapses else x for name, x in weights.items()}
    size = sum(x.numel() * x.element_size() for x in small.values())
    if size > LARGEST:
        raise ModelError(f"{run}: got a model of {size / 1e6:.1f} MB, allowed in the zoo are {LARGEST / 1e6:.0f} MB")
    folder = zoo / config.name.replace("_", "-")
    folder.mkdir(parents=True, exist_ok=True)
    # The location of the data and a missing twin are irrelevant to the model.
    general = dataclasses.replace(config, data=dataclasses.replace(config.data, root=None), ann_twin=False)
    (folder / "config.yaml").write_text(dump(general), encoding="utf-8")
    save_model(folder / "model.safetensors", small, about)
    return folder


def _synapses(config: TrainingConfig, about: dict[str, Any]) -> set[str]:
    """Names of synaptic weights, which become half precision; norms and time constants are few and stay."""
    size = about["in_channels"], tuple(about["image_size"]), about["n_classes"]
    network = networks(config.network, size, config.seed, ann_twin=False)[NETWORK]
    return {f"{name}.weight" for name, layer in network.named_modules() if isinstance(layer, SYNAPSES)}


if __name__ == "__main__":
    main()
