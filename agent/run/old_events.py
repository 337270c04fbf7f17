"""Translation of the events of version 0.1."""

from __future__ import annotations

from typing import Any

_ALL = 1_000_000
"""Finished tasks at the test of a life: version 0.1 did not write their number."""


def translated(data: dict[str, Any]) -> dict[str, Any]:
    """The same event with today's name and fields. Version 0.1 had separate events for images."""
    match data:
        case {"event": "began", "beings": beings} if "unit" not in data:
            of_images = {"unit": "images", "measure": "accuracy"}
            return {**data, **(of_images if "organism" not in beings else {})}
        case {"event": "evaluated", "final": final}:
            return {**data, "part": "test" if final else "validation", "number": _ALL if final else 0}
        case {"event": "compared", "scores": {"stream": row}} if "return_mean" not in row:
            return {**data, "scores": _average(data["scores"]), "ann_twin": _average(data["ann_twin"])}
        case {"event": "fitted"}:
            return _learned(data, 0, {"loss": data["loss"], "learning_rate": data["learning_rate"]})
        case {"event": "studied"}:
            return _learned(data, data["experience"], {"loss": data["loss"]})
        case {"event": "validated"}:
            scores = {"": {"return_mean": data["top1"], "loss": data["loss"]}}
            return {**data, **_EVALUATED, "age": data["images"], "number": data["epoch"], "scores": scores}
        case {"event": "recalled"}:
            scores = {
                str(number): {"return_mean": value, "spikes_per_decision": data["spikes"]}
                for number, value in enumerate(data["accuracies"])
            }
            return {**data, **_EVALUATED, "age": 0, "number": data["learned"], "scores": scores, "part": "test"}
    return data


_EVALUATED = {"event": "evaluated", "task": ""}


def _learned(data: dict[str, Any], number: int, losses: dict[str, float]) -> dict[str, Any]:
    images = data["images"]
    return {
        **data, "event": "learned", "task": "", "number": number, "step": images, "steps": data["total"],
        "age": images, "episode_return": data["accuracy"], "spike_rates": [], "losses": losses,
    }  # fmt: skip


def _average(scores: dict[str, Any]) -> dict[str, Any]:
    return {name: {**row, "return_mean": row["average_accuracy"], "energy_joules": {}} for name, row in scores.items()}
