"""The scores in a row of a record, suite by suite: which network reached what, in which task, at which costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from snn4.agent.run.beings import ANN_TWIN, NETWORK, RELU_TWIN, name_of

SNN, TWIN = name_of(NETWORK), name_of(ANN_TWIN)


class Scored(NamedTuple):
    """One network in one task, with one seed."""

    task: str
    config: str
    network: str
    measure: str
    """return or accuracy."""
    value: float
    costs: Mapping[str, Any]
    """The row of measurements, by the names of `snn4.policies.metering.cost.Cost`."""
    seed: Mapping[str, Any]
    """The row of the record."""


def lived(config: str, seed: Mapping[str, Any], _: Any = None) -> Iterator[Scored]:
    """Of a life: the organism and its twins in each task."""
    networks = {"tasks": SNN, ANN_TWIN: TWIN, "int8_twin": f"{TWIN} int8", RELU_TWIN: name_of(RELU_TWIN)}
    for key, network in networks.items():
        for task, score in seed.get(key, {}).items():
            yield Scored(task, config, network, "return", score["return_mean"], score, seed)


def classified(config: str, seed: Mapping[str, Any], _: Any = None) -> Iterator[Scored]:
    """Of a training: every network that was trained, in fp32 and in int8."""
    for row in seed["indicators"]:
        network = {"SNN": SNN, "ANN": TWIN}[row["name"]] + (" int8" if row["precision"] == "int8" else "")
        if row["top1_accuracy"] is not None:
            yield Scored(seed["data"], config, network, "accuracy", row["top1_accuracy"], row, seed)


def streamed(config: str, seed: Mapping[str, Any], record: Mapping[str, Any]) -> Iterator[Scored]:
    """Of a stream: the average accuracy after the last experience. The strategy is the config."""
    task = record["config"] if isinstance(record["config"], str) else record["config"]["name"]
    for key, network in ((NETWORK, SNN), (ANN_TWIN, TWIN)):
        if key in seed:
            yield Scored(task, config, network, "accuracy", seed[key]["average_accuracy"], seed[key], seed)


def converted(config: str, seed: Mapping[str, Any], _: Any = None) -> Iterator[Scored]:
    """Of the conversion of a classifier: the ANN, or its conversion after T steps."""
    network = "ANN" if seed["method"] == "ann" else f"SNN, {seed['method']}, {seed['neuron']}, T={seed['T']}"
    costs = {**seed, "latency_steps": seed.get("T", 1)}
    yield Scored(seed["data"], config, network, "accuracy", seed["top1_accuracy"], costs, seed)


def taught(config: str, seed: Mapping[str, Any], _: Any = None) -> Iterator[Scored]:
    """Of a run with a teacher: all that learned from it, and the same without one."""
    measure, task = ("accuracy", seed["data"]) if "data" in seed else ("return", seed["environment"])
    for key, how in (("taught", "with a teacher"), ("alone", "without the teacher")):
        for who, value in seed[key].items():
            yield Scored(task, config, f"{who}, {how}", measure, value, {}, seed)


def agents(config: str, seed: Mapping[str, Any], _: Any = None) -> Iterator[Scored]:
    """Of the conversion of an agent: both players."""
    for key, network in ((ANN_TWIN, f"ANN, {seed['algorithm']}"), (NETWORK, f"SNN, converted, {seed['neuron']}")):
        score, steps = seed["scores"][key], seed["T"] if key == NETWORK else 1
        named = f"{network}, T={steps}" if key == NETWORK else network
        costs = {"latency_steps": steps, **score}
        yield Scored(seed["environment"], config, named, "return", score["return_mean"], costs, seed)


def compressed(config: str, seed: Mapping[str, Any], _: Any = None) -> Iterator[Scored]:
    """Of a compression: the compressed network, on test data."""
    if "test" not in seed:  # the engine, which has no score
        return
    score, task = seed["test"]["after"], seed.get("environment") or seed["data"]
    network = ", ".join(["SNN", *(change.removeprefix("compress.") for change in seed["changes"])])
    measure = "return" if "environment" in seed else "accuracy"
    yield Scored(task, config, network, measure, score["return_mean"], score, seed)


def exported(config: str, seed: Mapping[str, Any], _: Any = None) -> Iterator[Scored]:
    """Of an export: the same network in float and in the integers of Loihi."""
    task = seed.get("environment") or seed["data"]
    measure, key = ("return", "return_mean") if "environment" in seed else ("accuracy", "top1_accuracy")
    yield Scored(
        task, config, f"SNN, Loihi's integers, {seed['bits']} bits", measure, seed["loihi"][key],
        {**seed["loihi"], "latency_steps": seed["steps_per_decision"]}, seed,
    )  # fmt: skip


def evolved(config: str, seed: Mapping[str, Any], _: Any = None) -> Iterator[Scored]:
    """Of evolving lives: policies with hand-set T, the evolved one, and that of random search."""
    networks = {f"SNN, {T}": score for T, score in seed["hand_set"].items()}
    networks |= {"SNN, evolved": seed["evolved"], "SNN, random search": seed["random"]}
    for network, score in networks.items():
        yield Scored(seed["environment"], config, network, "return", score["return_mean"], score, seed)


def drifted(config: str, seed: Mapping[str, Any], _: Any = None) -> Iterator[Scored]:
    """Of lives in a world that changes: the mean of the test in all its worlds. Operations are not split by kind."""
    for key, network in (("evolving", "SNN, evolving"), ("awake", "SNN, without evolution")):
        score = seed[key]
        costs = {"effective_acs": score["tested_synaptic_operations"]}
        yield Scored(f"{config} (all its worlds)", config, network, "return", score["tested_return_mean"], costs, seed)


def submitted(config: Any, seed: Mapping[str, Any], record: Mapping[str, Any]) -> Iterator[Scored]:
    """Of a submitted run, by the kind of the run."""
    yield from _RUNS[seed["kind"]](config["name"], seed, record)


def _strategy(config: str, seed: Mapping[str, Any], record: Mapping[str, Any]) -> Iterator[Scored]:
    return streamed(record["config"]["strategy"]["name"], seed, record)


def _transformed(config: str, seed: Mapping[str, Any], _: Any = None) -> Iterator[Scored]:
    """Of the conversion or compression of a policy."""
    networks = {"before": "SNN, before", "after": "SNN, compressed", NETWORK: "SNN, converted", ANN_TWIN: "ANN"}
    for key, score in (seed.get("comparison") or seed["scores"]).items():
        yield Scored(seed["environment"], config, networks[key], "return", score["return_mean"], score, seed)


def _searched(config: str, seed: Mapping[str, Any], record: Mapping[str, Any]) -> Iterator[Scored]:
    """Of an evolution over whole runs: what it has tested."""
    measure = "return" if seed["subject"]["kind"] == "life" else "accuracy"
    networks = {"hand_set": "SNN, hand-set", "chosen": "SNN, evolved"}
    for key, tasks in seed["test"].items():
        for task, score in tasks.items():
            network = networks.get(key) or name_of(key)
            yield Scored(task, config, network, measure, score["return_mean"], score, seed)


_RUNS: dict[str, Callable[[str, Any, Any], Iterator[Scored]]] = {
    "life": lived, "training": classified, "stream": _strategy, "transformation": _transformed, "evolution": _searched,
}  # fmt: skip
SUITES: dict[str, Callable[[Any, Any, Any], Iterator[Scored]]] = {
    "control": lived, "images": classified, "continual": streamed, "conversion": converted, "distillation": taught,
    "agents": agents, "compression": compressed, "export": exported, "evolution": evolved, "drift": drifted,
    "submitted": submitted,
}  # fmt: skip
"""The suites that measure scores."""
