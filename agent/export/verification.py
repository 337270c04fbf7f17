"""The command ``verify``: under Lava, a bundle does what its integer model does, and almost what was trained."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from snn4.agent.errors import BadInput
from snn4.agent.evaluation.episodes import TEST_SEED
from snn4.agent.export.lava import SILENCE, run_lava
from snn4.agent.export.lava_env import find_lava
from snn4.agent.export.source import ClassifierSource, PolicySource, Source, open_source
from snn4.policies.export.bundle import MANIFEST, BundleError, read_arrays, read_bundle
from snn4.policies.export.chip import Driven, drive, on_chip
from snn4.policies.export.integer_network import IntegerNetwork, Run
from snn4.policies.export.lava import NETWORK, SAMPLES, SCRIPT, read_network
from snn4.policies.modes import evaluating

COMPARED = ("spikes", "u", "v")
STEPS = 1_000
CODES = ("direct", "population")
"""Those that ``run_lava.py`` can make."""
MOST_VALUES = 500_000
"""Recorded by default. Lava hands out about 40,000 a second."""
Decide = Callable[[NDArray[Any]], NDArray[Any]]
"""Actions or classes of inputs (B, …)."""


class Bundle(NamedTuple):
    """What is verified."""

    folder: Path
    manifest: dict[str, Any]
    network: IntegerNetwork
    samples: dict[str, NDArray[Any]]


class Lava(NamedTuple):
    """How Lava is run."""

    python: Path
    silence: float = SILENCE


def verify(
    folder: Path, steps: int | None = None, episodes: int = 1, python: Path | None = None, silence: float = SILENCE
) -> dict[str, Any]:
    """Run a bundle under Lava and compare: every spike, u and v of all steps, and the actions of whole episodes.

    Args:
        steps: of time, rounded up to whole decisions; None for `STEPS`, or fewer of a large network.
        episodes: of a policy, in its environment.
        python: see `find_lava`.
        silence: see `run_lava`.

    Returns:
        Plain data; ``equal`` says whether everything was the same as in the integer model.

    Raises:
        BundleError: it is no bundle for Lava, or was altered.
        NoLava, LavaFailed: Lava could not run it.
    """
    manifest = read_bundle(folder)
    if manifest.get("target") != "lava":
        raise BundleError(f"{folder}: got a bundle for {manifest.get('target')}, allowed is lava")
    bundle = Bundle(folder, manifest, read_network(folder, manifest), read_arrays(folder / SAMPLES))
    lava = Lava(find_lava(python), silence)
    started = time.perf_counter()
    trained = _trained(manifest)
    result = {
        "bundle": str(folder),
        "name": manifest["name"],
        "bits": bundle.network.bits,
        **_steps(bundle, lava, steps),
    }
    result["samples"] = _samples(bundle, trained)
    if episodes and manifest["environment"] is not None:
        result["episodes"] = _episodes(bundle, lava, episodes, trained)
    result["seconds"] = time.perf_counter() - started
    compared = [row[name] for row in result["layers"] for name in COMPARED]
    played = result.get("episodes")
    result["equal"] = min(compared) == 1 and (played is None or played["equal"] == played["decisions"])
    return result


def _steps(bundle: Bundle, lava: Lava, steps: int | None) -> dict[str, Any]:
    """Lava beside the integer model at every step, in the steps between decisions, too."""
    network = bundle.network
    neurons = sum(int(np.prod(layer.neurons.shape)) for layer in network.layers)
    wanted = steps or max(1, min(STEPS, MOST_VALUES // (3 * neurons)))
    decisions = -(-wanted // network.window)
    driven = drive(network, _signal(bundle.samples)[:, np.arange(decisions) % len(bundle.samples["inputs"])])
    with tempfile.TemporaryDirectory() as place:
        case = Path(place) / "bundle"
        case.mkdir()
        for name in (MANIFEST, NETWORK):
            shutil.copy(bundle.folder / name, case / name)
        np.savez(case / "inputs.npz", **driven)  # type: ignore[arg-type]
        run_lava(lava.python, bundle.folder / SCRIPT, ["check", case], lava.silence)
        records = read_arrays(case / "records.npz")
    return {"steps": decisions * network.window, "decisions": decisions, "layers": compare(network, driven, records)}


def compare(network: IntegerNetwork, driven: Driven, records: Mapping[str, NDArray[Any]]) -> list[dict[str, Any]]:
    """For each layer: the fractions of spikes, u and v in Lava's ``records`` that are equal, over all steps."""
    rows = []
    for number, (layer, trace) in enumerate(zip(network.layers, on_chip(network, driven), strict=True)):
        equal = {
            name: float((getattr(trace, name)[:, 0] == records[f"{number}.{name}"]).mean()) for name in trace._fields
        }
        rate = float(trace.spikes.mean())
        rows.append({"name": layer.name, "neurons": int(np.prod(layer.neurons.shape)), "spike_rate": rate, **equal})
    return rows


def _samples(bundle: Bundle, trained: Decide | None) -> dict[str, Any]:
    """How often the integer model decides as what was trained, on the samples of the bundle."""
    inputs = bundle.samples["inputs"]
    run = bundle.network.run_signal(_signal(bundle.samples))
    result: dict[str, Any] = {"samples": len(inputs), "saturated": int(run.saturated.sum())}
    if trained is not None:
        result["as_trained"] = _agreement(_chosen(bundle.network, run.scores), trained(inputs))
    return result


def _signal(samples: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    return samples["signal"] if "signal" in samples else samples["inputs"][None]


def _episodes(bundle: Bundle, lava: Lava, episodes: int, trained: Decide | None) -> dict[str, Any]:
    """Whole episodes inside Lava; the integer model and the trained policy also see each observation."""
    network = bundle.network
    if network.coding not in CODES:
        return {"episodes": 0, "decisions": 0, "equal": 0, "skipped": f"run_lava.py has no code {network.coding}"}
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "episodes.npz"
        arguments: list[str | Path] = ["episodes", str(episodes), "--seed", str(TEST_SEED), "--out", out]
        run_lava(lava.python, bundle.folder / SCRIPT, arguments, lava.silence)
        played = read_arrays(out)
    run = _integers_of(network, played)
    actions = _chosen(network, run.scores)
    same = (run.traces[-1].v[-1] == played["v"]).all(1)
    same &= np.isclose(actions, played["actions"], rtol=0, atol=1e-6).reshape(len(same), -1).all(1)
    result: dict[str, Any] = {
        "episodes": episodes, "decisions": len(same), "equal": int(same.sum()),
        "returns": {"lava": played["returns"].tolist()},
    }  # fmt: skip
    if network.host is not None:
        result["returns"]["integers"] = _returns(bundle, episodes, _integers(network))
    if trained is not None:
        result["as_trained"] = _agreement(actions, trained(played["observations"]))
        result["returns"]["trained"] = _returns(bundle, episodes, trained)
    return result


def _integers_of(network: IntegerNetwork, played: Mapping[str, NDArray[Any]]) -> Run:
    """The decisions of the integer model on the observations, or on their spikes where a code has made some."""
    if network.host is not None:
        return network.run(played["observations"])
    return network.run_signal(played["driven"][:, : network.T].swapaxes(0, 1))


def _returns(bundle: Bundle, episodes: int, decide: Decide) -> list[float]:
    """Returns of the same episodes, with decisions made here."""
    import gymnasium

    environment = bundle.manifest["environment"]
    env = gymnasium.make(environment["id"], **environment["kwargs"])
    returns = []
    for number in range(episodes):
        observation, _ = env.reset(seed=TEST_SEED + number)
        total, over = 0.0, False
        while not over:
            action = decide(normalized(observation, bundle.manifest["normalization"])[None])[0]
            observation, reward, terminated, truncated, _ = env.step(action)
            total, over = total + float(reward), terminated or truncated
        returns.append(total)
    env.close()
    return returns


def normalized(observation: Any, statistics: Mapping[str, Any] | None) -> NDArray[np.float32]:
    """A flat observation as the policy has learned to see it; as ``run_lava.py`` does it."""
    x = np.asarray(observation, np.float32).ravel()
    if statistics is None:
        return x
    x = (x - np.array(statistics["mean"])) / np.sqrt(np.array(statistics["var"]) + statistics["epsilon"])
    return x.clip(-statistics["clip"], statistics["clip"]).astype(np.float32)


def _integers(network: IntegerNetwork) -> Decide:
    return lambda inputs: _chosen(network, network.run(inputs).scores)


def _chosen(network: IntegerNetwork, scores: NDArray[Any]) -> NDArray[Any]:
    return scores.argmax(1) if network.actions is None else network.actions.chosen(scores)


def _agreement(actions: NDArray[Any], expected: NDArray[Any]) -> dict[str, float]:
    """The fraction of equal actions, or the mean distance of continuous ones."""
    if actions.dtype.kind == "i":
        return {"equal": float((actions == expected).mean())}
    return {"mean_distance": float(np.abs(actions - expected).mean())}


def _trained(manifest: Mapping[str, Any]) -> Decide | None:
    """The network of the run from which the bundle came, where it is still there."""
    try:
        source: Source = open_source(manifest["run"], manifest["task"])
    except (BadInput, OSError):
        return None
    if isinstance(source, PolicySource):
        policy, shape = source.policy, source.policy.observation_space.shape or ()
        return lambda inputs: policy.predict(inputs.reshape(-1, *shape), deterministic=True)[0]
    return _classes(source)


def _classes(source: ClassifierSource) -> Decide:
    network = source.network

    def classes(inputs: NDArray[Any]) -> NDArray[Any]:
        with torch.no_grad(), evaluating(network):
            return network(torch.from_numpy(inputs)).argmax(1).numpy()  # type: ignore[no-any-return]

    return classes
