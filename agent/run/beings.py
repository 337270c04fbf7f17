"""Who takes part in a run, as events and summaries call them, and as people do."""

from __future__ import annotations

ORGANISM, NETWORK = "organism", "network"
"""Who spikes: in a life, and in all else."""
ANN_TWIN, RELU_TWIN = "ann_twin", "relu_twin"
TWINS = (ANN_TWIN, RELU_TWIN)
NAMES = {ORGANISM: "SNN", NETWORK: "SNN", ANN_TWIN: "ANN twin", RELU_TWIN: "ReLU twin"}


def name_of(being: str) -> str:
    """The name for people."""
    return NAMES.get(being, being.replace("_", " "))
