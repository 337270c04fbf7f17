"""Who takes part in a run, as events and summaries call them, and as people do."""

from __future__ import annotations

ORGANISM, NETWORK, ANN_TWIN = "organism", "network", "ann_twin"
NAMES = {ORGANISM: "SNN", NETWORK: "SNN", ANN_TWIN: "ANN twin"}


def name_of(being: str) -> str:
    """The name for people."""
    return NAMES.get(being, being.replace("_", " "))
