"""Names of the beings in a run: in events and summaries, and for users."""

from __future__ import annotations

ORGANISM, NETWORK = "organism", "network"
"""The spiking being: in a life, and in all other kinds."""
ANN_TWIN, RELU_TWIN = "ann_twin", "relu_twin"
TWINS = (ANN_TWIN, RELU_TWIN)
NAMES = {ORGANISM: "SNN", NETWORK: "SNN", ANN_TWIN: "ANN twin", RELU_TWIN: "ReLU twin"}


def name_of(being: str) -> str:
    """The name for users."""
    return NAMES.get(being, being.replace("_", " "))
