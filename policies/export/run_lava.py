"""A spiking network of whole numbers under Lava's bit-accurate models of Loihi: needs lava-nc 0.10.0 and NumPy.

    python3.10 run_lava.py decide inputs.npy            scores and action for each row of an array
    python3.10 run_lava.py episodes 3 [--seed 0]        whole episodes in its environment; needs gymnasium, too
    python3.10 run_lava.py check FOLDER …               records every spike, u and v; for snn4-agent verify

`manifest.json` describes the network, `network.npz` holds its weights. A decision takes P = T + L steps, because each
of the L layers of synapses delivers one step later. Every layer is reset when a decision reaches it. The last layer
never spikes: after P steps, its membranes times `factor` are the scores.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from lava.magma.core.run_conditions import RunSteps
from lava.magma.core.run_configs import Loihi2SimCfg
from lava.proc.conv.process import Conv
from lava.proc.dense.process import Dense
from lava.proc.io.source import RingBuffer
from lava.proc.lif.process import LIF, LIFReset
from lava.proc.monitor.process import Monitor
from lava.utils.weightutils import SignMode
from numpy.typing import NDArray

Array = NDArray[Any]
Fields = dict[str, Any]


class Bundle:
    """The manifest and the arrays of a folder."""

    def __init__(self, folder: Path) -> None:
        self.manifest = json.loads((folder / "manifest.json").read_text())
        self.network = self.manifest["network"]
        self.steps = self.manifest["window"]
        """Of a decision: P."""
        with np.load(folder / "network.npz") as file:
            self.arrays = dict(file)

    def fields(self, fields: Fields, place: str) -> Fields:
        """A record of the manifest, with its arrays."""
        start = f"{place}."
        return {**fields, **{name[len(start) :]: x for name, x in self.arrays.items() if name.startswith(start)}}

    def driven(self, values: Array) -> Array:
        """What the host gives to the chip for one input: biases, or the spikes (steps, n) of a code."""
        return self.spikes(values) if self.network["host"] is None else self.biases(values)

    def biases(self, values: Array) -> Array:
        """The currents of one input, as mantissas of the first neurons' biases."""
        host = self.network["host"]
        outputs = {"input": np.asarray(values, np.float64)}
        for number, layer in enumerate(host["layers"]):
            part = self.fields(layer["part"], f"host.{number}")
            last = outputs[layer["name"]] = on_host(part, [outputs[name] for name in layer["inputs"]])
        return np.rint(last * (host["scale"] * 64 / 2 ** host["exponent"])).clip(-4095, 4095).astype(np.int32)

    def spikes(self, values: Array) -> Array:
        """The population code: Gaussian receptive fields drive neurons that integrate and fire, for T steps."""
        if self.network["coding"] != "population":
            raise SystemExit(f"the code {self.network['coding']} is not in this file; allowed are direct, population")
        code = self.fields({}, "code")
        distances = (np.asarray(values, np.float32)[:, None] - code["centres"]) * np.exp(-code["log_widths"])
        activity = np.exp(np.float32(-0.5) * distances**2).ravel()
        v = np.full_like(activity, 0.5)
        spikes = np.zeros((self.steps, len(v)), np.int32)
        for step in range(self.network["T"]):
            v += activity
            spikes[step] = v >= 1
            v -= spikes[step]
        return spikes


def on_host(part: Fields, inputs: list[Array]) -> Array:
    """A layer in float, for one input."""
    x = inputs[0]
    if part["type"] == "dense":
        return part["weight"].astype(np.float64) @ x + part["bias"]
    if part["type"] == "conv":
        return convolution(x, part) + part["bias"][:, None, None]
    if part["type"] == "pool":
        edge = 0.0 if part["kind"] == "average" else -np.inf
        seen = windows(x, part["size"], part["stride"], part["padding"], (1, 1), edge)
        return seen.mean((3, 4)) if part["kind"] == "average" else seen.max((3, 4))
    if part["type"] == "flatten":
        return x.ravel()
    return np.maximum(x, 0) if part["type"] == "rectify" else np.sum(inputs, 0)


def convolution(x: Array, part: Fields) -> Array:
    """(C, H, W) -> (C', H', W'), as torch computes it."""
    weight, groups = part["weight"].astype(np.float64), part["groups"]
    seen = windows(x, weight.shape[2:], part["stride"], part["padding"], part["dilation"], 0.0)
    pairs = zip(np.split(seen, groups), np.split(weight, groups), strict=True)
    return np.concatenate([np.einsum("chwij,ocij->ohw", inputs, kernel) for inputs, kernel in pairs])


def windows(x: Array, size: Any, stride: Any, padding: Any, dilation: Any, edge: float) -> Array:
    """(C, H, W) -> (C, H', W', *size)."""
    x = np.pad(x, ((0, 0), *((border, border) for border in padding)), constant_values=edge)
    reach = [(n - 1) * d + 1 for n, d in zip(size, dilation, strict=True)]
    seen = np.lib.stride_tricks.sliding_window_view(x, reach, (1, 2))
    return seen[:, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]


class Chip:
    """The network as processes of Lava, which run from the first input until `stop`."""

    def __init__(self, bundle: Bundle, recorded: int = 0) -> None:
        """``recorded``: steps of which every spike, u and v is recorded."""
        self.bundle, self.recorded = bundle, recorded
        self.configuration = Loihi2SimCfg(select_tag="fixed_pt")
        self.neurons: list[LIF] = []
        self.inlet: Any = None
        self.monitors: list[dict[str, Any]] = []

    def start(self, first: Array) -> None:
        """``first``: biases of the first decision, or all spikes (steps, …) that come from outside."""
        self.inlet, self.neurons = connected(self.bundle, first.T)  # Lava's axes are (W, H, C), and time comes last
        if self.recorded:
            self.monitors = [monitors(neurons, self.recorded) for neurons in self.neurons]
        self.neurons[0].create_runtime(self.configuration)

    def run(self, steps: int) -> None:
        """Go on for some steps."""
        self.neurons[0].run(RunSteps(steps), self.configuration)

    def decide(self, driven: Array) -> Array:
        """Membranes of the readout for one input (`Bundle.driven`)."""
        if self.neurons:
            self.inlet.set(driven.T)
        else:
            self.start(driven)
        self.run(self.bundle.steps)
        return self.neurons[-1].v.get().astype(np.int64)  # type: ignore[no-any-return]

    def records(self) -> dict[str, Array]:
        """Spikes, u and v (steps, …) of every layer, by name."""
        records = {}
        for number, layer in enumerate(self.monitors):
            for name, (recorder, target) in layer.items():
                x = recorder.get_data()[target.process.name][target.name].astype(np.int32)
                records[f"{number}.{name}"] = x.transpose(0, *range(x.ndim - 1, 0, -1))
        return records

    def stop(self) -> None:
        """End the processes."""
        if self.neurons:
            self.neurons[0].stop()


def connected(bundle: Bundle, first: Array) -> tuple[Any, list[LIF]]:
    """The variable that takes inputs, and the layers of neurons, with their synapses between them."""
    layers, axons, done = bundle.network["layers"], None, []
    if layers[0]["synapses"] is not None:
        source = RingBuffer(data=first.astype(np.int32))
        inlet, axons = source.data, source.s_out
    for number, layer in enumerate(layers):
        fields = bundle.fields(layer["neurons"], f"layers.{number}.neurons")
        neurons = population(fields, first if axons is None else fields["bias_mant"].T)
        if axons is None:
            inlet = neurons.bias_mant
        else:
            connect(axons, bundle.fields(layer["synapses"], f"layers.{number}.synapses"), neurons)
        axons = neurons.s_out
        done.append(neurons)
    return inlet, done


def population(fields: Fields, biases: Array) -> LIF:
    """A layer of neurons."""
    shape = tuple(fields["shape"][::-1])
    constants = {name: fields[name] for name in ("vth", "dv", "du", "bias_exp")}
    resets = {name: fields[name] for name in ("reset_interval", "reset_offset")}
    biases = np.broadcast_to(biases, shape).astype(np.int32)
    if not fields["reset_interval"]:
        return LIF(shape=shape, bias_mant=biases, **constants)
    return LIFReset(shape=shape, bias_mant=biases, **constants, **resets)


def connect(axons: Any, fields: Fields, neurons: LIF) -> None:
    """Synapses from ``axons`` to ``neurons``; Lava's convolution flips its kernel, torch's does not."""
    weight, message_bits = fields["weight"].astype(np.int32), fields["message_bits"]
    if fields["type"] == "conv":
        geometry = {name: tuple(fields[name][::-1]) for name in ("stride", "padding", "dilation")}
        weight = weight[:, :, ::-1, ::-1].transpose(0, 3, 2, 1)
        synapses = Conv(
            weight=weight, input_shape=axons.shape, groups=fields["groups"], num_message_bits=message_bits, **geometry
        )
    else:
        signs = {} if fields["sign"] == "inferred" else {"sign_mode": SignMode[fields["sign"].upper()]}
        synapses = Dense(
            weights=weight, weight_exp=fields["exponent"], num_weight_bits=fields["bits"],
            num_message_bits=message_bits, **signs,
        )  # fmt: skip
        if len(axons.shape) == 3:
            axons = axons.transpose([2, 1, 0]).flatten()  # channels first, as in torch
    axons.connect(synapses.s_in)
    synapses.a_out.connect(neurons.a_in)


def monitors(neurons: LIF, steps: int) -> dict[str, Any]:
    """Recorders of spikes, u and v for ``steps``, with what they record."""
    recorders = {"spikes": (Monitor(), neurons.s_out), "u": (Monitor(), neurons.u), "v": (Monitor(), neurons.v)}
    for recorder, target in recorders.values():
        recorder.probe(target, steps)
    return recorders


def scored(bundle: Bundle, v: Array) -> Array:
    """Scores of the readout's membranes."""
    return v * bundle.network["readout"]["factor"]


def action(bundle: Bundle, scores: Array) -> Any:
    """The action of a policy, or the class."""
    actions = bundle.network["actions"]
    if actions is None or actions["kind"] == "discrete":
        return int(scores.argmax())
    low, high = np.array(actions["low"]), np.array(actions["high"])
    if actions["squashed"]:
        values = low + 0.5 * (np.tanh(scores) + 1) * (high - low)
    else:
        values = scores.clip(low, high)
    return values.astype(np.float32).reshape(actions["shape"])


def seen(bundle: Bundle, observation: Any) -> Array:
    """An observation as the network has learned to see it."""
    x = np.asarray(observation, np.float32).ravel()
    statistics = bundle.manifest["normalization"]
    if statistics is None:
        return x
    x = (x - np.array(statistics["mean"])) / np.sqrt(np.array(statistics["var"]) + statistics["epsilon"])
    return x.clip(-statistics["clip"], statistics["clip"]).astype(np.float32)


def decide(bundle: Bundle, inputs: Array) -> None:
    """Print scores and action for each input."""
    chip = Chip(bundle)
    for x in inputs:
        scores = scored(bundle, chip.decide(bundle.driven(x)))
        chosen = np.asarray(action(bundle, scores)).tolist()
        print(json.dumps({"action": chosen, "scores": scores.tolist()}), flush=True)
    chip.stop()


def episodes(bundle: Bundle, number: int, seed: int, out: Path | None) -> None:
    """Play whole episodes; every decision is recorded in the file ``out``."""
    env, chip = environment(bundle), Chip(bundle)
    decisions: list[tuple[Any, ...]] = []
    returns = []
    for episode in range(number):
        before = len(decisions)
        returns.append(play(bundle, env, chip, seed + episode, decisions))
        print(f"episode {episode + 1}: return {returns[-1]:g} in {len(decisions) - before} decisions", flush=True)
    chip.stop()
    if out is not None:
        x, driven, v, actions = (np.array(values) for values in zip(*decisions, strict=True))
        np.savez(out, observations=x, driven=driven, v=v, actions=actions, returns=np.array(returns))


def environment(bundle: Bundle) -> Any:
    """The environment in which the network has learned to act."""
    world = bundle.manifest["environment"]
    if world is None:
        raise SystemExit("this network has no environment of Gymnasium to act in")
    try:
        import gymnasium

        return gymnasium.make(world["id"], **world["kwargs"])
    except Exception as error:  # of a missing package, most often
        message = f"{world['id']} cannot be made ({error}): install what it needs beside Lava, or play no episodes"
        raise SystemExit(message) from error


def play(bundle: Bundle, env: Any, chip: Chip, seed: int, decisions: list[tuple[Any, ...]]) -> float:
    """The return of one episode; observations, inputs, membranes and actions are appended to ``decisions``."""
    observation, _ = env.reset(seed=seed)
    total, over = 0.0, False
    while not over:
        x = seen(bundle, observation)
        driven = bundle.driven(x)
        v = chip.decide(driven)
        chosen = action(bundle, scored(bundle, v))
        decisions.append((x, driven, v, chosen))
        observation, reward, terminated, truncated, _ = env.step(chosen)
        total, over = total + float(reward), terminated or truncated
        if len(decisions) % 100 == 0:
            print(f"{len(decisions)} decisions", flush=True)
    return total


def check(folder: Path) -> None:
    """Run the inputs of ``folder``/inputs.npz, and write what every neuron did to records.npz beside it."""
    bundle = Bundle(folder)
    with np.load(folder / "inputs.npz") as file:
        inputs = dict(file)
    if "messages" in inputs:  # (steps, …)
        steps = len(inputs["messages"])
        chip = Chip(bundle, steps)
        chip.start(inputs["messages"])
        chip.run(steps)
    else:  # biases of one decision after the other
        chip = Chip(bundle, len(inputs["biases"]) * bundle.steps)
        for number, biases in enumerate(inputs["biases"], start=1):
            chip.decide(biases)
            print(f"{folder.name}: decision {number} of {len(inputs['biases'])}", flush=True)
    records: Fields = chip.records()
    np.savez(folder / "records.npz", **records)
    chip.stop()
    print(f"{folder.name}: recorded", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="This folder's spiking network under Lava.")
    commands = parser.add_subparsers(dest="command", required=True)
    deciding = commands.add_parser("decide", help="scores and actions for the rows of an array")
    deciding.add_argument("inputs", type=Path)
    playing = commands.add_parser("episodes", help="whole episodes in the network's environment")
    playing.add_argument("number", type=int, nargs="?", default=1)
    playing.add_argument("--seed", type=int, default=0)
    playing.add_argument("--out", type=Path, help="a new file .npz for all observations, membranes and actions")
    checking = commands.add_parser("check", help="record every spike, u and v")
    checking.add_argument("folders", type=Path, nargs="+")
    arguments = parser.parse_args()
    here = Path(__file__).resolve().parent
    if arguments.command == "decide":
        decide(Bundle(here), np.load(arguments.inputs, allow_pickle=False))
    elif arguments.command == "episodes":
        episodes(Bundle(here), arguments.number, arguments.seed, arguments.out)
    else:
        for folder in arguments.folders:
            check(folder)


if __name__ == "__main__":
    main()
