"""``snn4-agent bench speed``: speed and memory of this project and its peers, in one run on this machine.

Every section runs in its own processes, in which contenders take turns; finished sections are kept. Training sections
run twice: with `keep_freed_memory`, which this project's command switches on, and with the C library's default
allocation, both for all contenders. Peers run in float32 and in their own memory format; this project's networks run
in channels_last.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from snn4.benchmarks import gpu
from snn4.benchmarks.acting import act_conv, act_mlp
from snn4.benchmarks.limit import CLOSE, LIMIT, convolutions
from snn4.benchmarks.peers import PEERS, forward_and_backward, layer_runs, snn4_net, training_step
from snn4.benchmarks.record_schema import SCHEMA
from snn4.benchmarks.sections import Kept, measure
from snn4.benchmarks.spikformer_peer import SpikingJellySpikformer, spikformer_config
from snn4.benchmarks.tables.speed import table as table
from snn4.benchmarks.timing import Times, fastest, ratio, take_turns
from snn4.policies.allocation import keep_freed_memory
from snn4.policies.networks.classifier import SpikingClassifier
from snn4.policies.networks.spikformer import Spikformer


@dataclass(frozen=True)
class Row:
    """One aim: a comparison of this project with the best other contender."""

    name: str
    against: str
    ratio: dict[str, float]
    """Factor by which this project is faster (or smaller) than ``against``: median and middle half of the rounds."""
    aim: float
    default_malloc: dict[str, float] | None = None
    """The same with the C library's default allocation."""
    as_it_comes: dict[str, float] | None = None
    """The same with each project's own allocation: this project's commands keep freed memory, the others do not."""

    @property
    def reached(self) -> bool:
        """Whether the median reaches the aim."""
        return self.ratio["median"] >= self.aim


class MissingPeers(ValueError):
    """Libraries or the device of the comparison are missing, or no section has the name."""

    exit_status = 2  # of the command line


def speed(rounds: int, only: str, folder: Path, fresh: bool = False, device: str = "cpu") -> dict[str, Any]:
    """All rows, and the seconds behind them.

    Args:
        rounds: turns of each contender.
        only: a part of the names of the sections to run; "" for all.
        folder: keeps finished sections; a later call with the same settings continues after them.
        fresh: whether to measure kept sections again.
        device: cpu; or cuda, for the sections of a GPU.

    Raises:
        MissingPeers: before any measurement.
    """
    chosen = {name: partial(_runs, name, rounds) for name in chosen_sections(only, device)}
    from snn4.agent.run.provenance import provenance  # slow to import, and sections run in other processes

    kept = Kept(folder, {"rounds": rounds, "threads": torch.get_num_threads(), **provenance()})
    try:
        seconds = measure(chosen, kept, Console(stderr=True), fresh)
    except KeyboardInterrupt:
        print(
            f"interrupted; finished sections are in {folder}, and the same command continues after them",
            file=sys.stderr,
        )
        raise
    rows = [row for name, runs in seconds.items() for row in _JUDGES[name](runs)]
    return {**kept.settings, "rows": [{**asdict(row), "reached": row.reached} for row in rows], "seconds": seconds}


def chosen_sections(only: str, device: str = "cpu") -> list[str]:
    """The sections of ``device`` whose names contain ``only``; MissingPeers if there are none, or if one cannot run."""
    if device not in ("cpu", "cuda"):
        raise MissingPeers(f"--device: got {device}, allowed are cpu, cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise MissingPeers("--device: got cuda, but torch sees no GPU; allowed here is cpu")
    sections = [name for name in _JUDGES if name.startswith("gpu") == (device == "cuda")]
    chosen = [name for name in sections if only in name]
    if not chosen:
        raise MissingPeers(f"--only: got {only!r}, allowed is a part of one of: {', '.join(sections)}")
    needed = PEERS if any(name.startswith(("train", "memory", "gpu")) for name in chosen) else ()
    if missing := [name for name in needed if importlib.util.find_spec(name) is None]:
        raise MissingPeers(f"{', '.join(missing)}: not installed; pip install 'snn4-agent[peers]' installs the peers")
    return chosen


def _runs(name: str, rounds: int) -> list[Any]:
    if name.startswith("train"):
        return [_section(name, rounds, keep_memory) for keep_memory in (False, True)]
    if name == "memory":
        return [_section(f"memory {library}", rounds, keep_memory=False) for library in ("snn4", "spikingjelly")]
    return [_section(name, rounds, keep_memory=True)]


def report(rounds: int, only: str, as_json: bool, results: Path, fresh: bool, device: str = "cpu") -> None:
    """Measure and print: a table, or everything as JSON."""
    measured = speed(rounds, only, results / "speed", fresh, device)
    about = {**SCHEMA, "suite": "speed", "config": "speed"}
    result = {**about, "command": shlex.join(["snn4-agent", *sys.argv[1:]]), **measured}
    print(json.dumps(result, indent=1) if as_json else table(result["rows"]))


def _section(name: str, rounds: int, keep_memory: bool) -> Any:
    command = [sys.executable, "-m", "snn4.benchmarks.speed", name, str(rounds), str(int(keep_memory))]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def _training_step(net: torch.nn.Module, bfloat16: bool = False) -> Callable[[], None]:
    """A function that does one step of SGD on 32 images of 32 x 32."""
    x, y = torch.randn(32, 3, 32, 32), torch.randint(0, 10, (32,))
    if isinstance(net, SpikingClassifier):
        net, x = net.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return training_step(net, x, y, bfloat16)


def train_conv(T: int, rounds: int) -> Times:
    """Seconds per training step of the convolutional network, beside those of its convolutions alone."""
    steps = {name: _training_step(make(T)) for name, make in {"snn4": snn4_net, **PEERS}.items()}
    steps["snn4 bf16"] = _training_step(snn4_net(T), bfloat16=True)
    steps |= {LIMIT: convolutions(T), f"{LIMIT} bf16": convolutions(T, bfloat16=True)}
    return take_turns(steps, rounds)


def train_spikformer(T: int, rounds: int) -> Times:
    """Seconds per training step of Spikformer-4-256."""
    config = spikformer_config(T)
    steps = {"snn4": _training_step(Spikformer(config))}
    steps["spikingjelly"] = _training_step(SpikingJellySpikformer(config))
    steps["snn4 bf16"] = _training_step(Spikformer(config), bfloat16=True)
    return take_turns(steps, rounds)


def train_layer(rounds: int) -> Times:
    """Seconds per forward and backward pass of one LIF layer, over (4, 32, 64, 32, 32)."""
    x = torch.randn(4, 32, 64, 32, 32, requires_grad=True)
    gradient = torch.ones_like(x)
    return take_turns({name: forward_and_backward(run, x, gradient) for name, run in layer_runs(x).items()}, rounds)


def memory(net: torch.nn.Module) -> float:
    """Bytes by which the process grows in a training step of ``net``."""
    import resource  # not on Windows

    step = _training_step(net)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    step()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024.0


def ppo(rounds: int) -> dict[str, Any]:
    """Seconds for 2,048 steps of PPO in CartPole, 64-64, with rl-zoo's sizes and a constant learning rate."""
    from stable_baselines3 import PPO
    from stable_baselines3.common.env_util import make_vec_env

    from snn4.policies.sb3 import SpikingActorCriticPolicy

    torch.set_num_threads(1)
    models: dict[str, Any] = {}
    for name, T in (("ann", None), ("snn4 T=4", 4), ("snn4 T=1", 1)):
        policy: Any = "MlpPolicy" if T is None else SpikingActorCriticPolicy
        kwargs = {"net_arch": [64, 64]} | ({} if T is None else {"T": T})
        models[name] = PPO(
            policy, make_vec_env("CartPole-v1", 8, seed=0), n_steps=32, batch_size=256, n_epochs=20, gae_lambda=0.8,
            gamma=0.98, learning_rate=1e-3, device="cpu", seed=0, policy_kwargs=kwargs,
        )  # fmt: skip
    runs = {name: lambda model=model: model.learn(2048, reset_num_timesteps=False) for name, model in models.items()}
    return {"times": take_turns(runs, rounds, warm_up=1), "compiling": _compiling()}  # type: ignore[arg-type]


def compiled_forward(rounds: int) -> Times:
    """Seconds per forward pass of vgg-small at T=4 for 8 images, as it is, and compiled as one graph."""
    from snn4.policies.networks.config import NetworkConfig
    from snn4.policies.networks.perception import make_network

    torch.set_num_threads(1)
    net: Any = make_network(NetworkConfig("vgg-small", T=4).resolve(3, (32, 32), n_classes=10), "torch").eval()
    net, x = net.to(memory_format=torch.channels_last), torch.randn(8, 3, 32, 32)
    x = x.to(memory_format=torch.channels_last)
    compiled = torch.compile(net, fullgraph=True)
    with torch.no_grad():
        return take_turns({"compiled": lambda: compiled(x), "eager": lambda: net(x)}, rounds, repeat=3)


def _compiling() -> dict[str, float]:
    """Extra seconds of the first training step of a spiking policy over the second, without and with cache."""
    with tempfile.TemporaryDirectory() as cache:
        command = [sys.executable, "-m", "snn4.benchmarks.speed", "compiling", "1", "1"]
        environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
        run = [
            subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True, env=environment).stdout
            for _ in range(2)
        ]
    first, cached = (json.loads(out.splitlines()[-1]) for out in run)
    return {"first": first, "cached": cached}


def compiling() -> float:
    """Extra seconds of the first forward, backward and decision of a policy over the second."""
    from snn4.policies.acting.mlp import SpikingMLP

    net, x = SpikingMLP(4, (64, 64)), torch.randn(64, 4)

    def run() -> float:
        started = time.perf_counter()
        net(x).sum().backward()
        with torch.no_grad():
            net(x[:1])
        return time.perf_counter() - started

    return run() - run()


_SECTIONS: dict[str, Callable[[int], Any]] = {
    "train layer": train_layer,
    "train conv T=4": lambda rounds: train_conv(4, rounds),
    "train conv T=16": lambda rounds: train_conv(16, max(2, rounds // 2)),
    "train spikformer": lambda rounds: train_spikformer(4, max(2, rounds // 2)),
    "memory snn4": lambda rounds: memory(snn4_net(32, checkpoint_steps=4)),
    "memory spikingjelly": lambda rounds: memory(PEERS["spikingjelly"](32)),
    "act mlp 1": lambda rounds: act_mlp(1, rounds),
    "act mlp 8": lambda rounds: act_mlp(8, rounds),
    "act conv T=4": lambda rounds: act_conv(4, rounds),
    "act conv T=2": lambda rounds: act_conv(2, rounds),
    "ppo": ppo,
    "compiled": compiled_forward,
    "compiling": lambda rounds: compiling(),
    "gpu layer": gpu.train_layer,
    "gpu conv T=4": lambda rounds: gpu.train_conv(4, rounds),
}


def _judge_training(what: str, aims: dict[str, float]) -> Callable[[list[Times]], list[Row]]:
    def judge(runs: list[Times]) -> list[Row]:
        default, kept = runs
        peers = [peer for peer in PEERS if peer in kept]
        best, best_by_default = fastest(kept, peers), fastest(default, peers)
        mixed = {**{name: kept[name] for name in aims}, best_by_default: default[best_by_default]}
        rows = [
            Row(
                f"{what}{name}", best, ratio(kept, name, best), aim, ratio(default, name, best_by_default),
                ratio(mixed, name, best_by_default),
            )
            for name, aim in aims.items()
        ]  # fmt: skip
        limits = {name: name.replace("snn4", LIMIT) for name in aims}
        return rows + [
            Row(f"{what}{name}", limit, ratio(kept, name, limit), CLOSE, ratio(default, name, limit))
            for name, limit in limits.items() if limit in kept
        ]  # fmt: skip

    return judge


def _judge_acting(batch: int, predict: dict[str, float], deployed: dict[str, float]) -> Callable[[Any], list[Row]]:
    """Aims of the policy's ``predict``, and of the deployed policy."""

    def judge(runs: list[Times]) -> list[Row]:
        what = f"decision, 64-64, T=8, batch {batch}"
        rows = [Row(what, other, ratio(runs[0], "snn4 predict", other), aim) for other, aim in predict.items()]
        return rows + [
            Row(f"{what}, deployed", other, ratio(runs[0], "snn4 deployed", other), aim)
            for other, aim in deployed.items()
        ]

    return judge


def _judge_conv(T: int) -> Callable[[list[Any]], list[Row]]:
    def judge(runs: list[Any]) -> list[Row]:
        times = runs[0]["times"]
        best, what = fastest(times, ["ann", "ann folded"]), f"conv net, T={T}, batch 1"
        return [Row(f"decision, {what}, {runs[0]['sparsity']:.1%} sparsity", best, ratio(times, "snn4", best), 1.0)]

    return judge


def _judge_ppo(runs: list[Any]) -> list[Row]:
    aims = {"snn4 T=4": 0.9, "snn4 T=1": 1.1}
    return [
        Row(f"PPO in CartPole, {name}", "SB3's ANN", ratio(runs[0]["times"], name, "ann"), aim)
        for name, aim in aims.items()
    ]


def _judge_gpu(what: str, aims: dict[str, float]) -> Callable[[list[Times]], list[Row]]:
    def judge(runs: list[Times]) -> list[Row]:
        times = runs[0]
        best = fastest(times, [name for name in times if not name.startswith("snn4")])
        return [Row(f"{what}{name}", best, ratio(times, name, best), aim) for name, aim in aims.items()]

    return judge


def _judge_compiled(runs: list[Times]) -> list[Row]:
    return [Row("torch.compile, vgg-small forward, T=4", "eager", ratio(runs[0], "compiled", "eager"), 1.0)]


def _judge_memory(runs: list[float]) -> list[Row]:
    quotient = runs[1] / runs[0]
    same = {"median": quotient, "low": quotient, "high": quotient}
    return [Row("peak of a training step, T=32, recomputing", "spikingjelly", same, 2.0)]


_JUDGES: dict[str, Callable[[list[Any]], list[Row]]] = {
    "train layer": _judge_training("LIF layer, forward and backward: ", {"snn4": 5.0}),
    "train conv T=4": _judge_training("conv net, T=4: ", {"snn4": 2.0, "snn4 bf16": 3.0}),
    "train conv T=16": _judge_training("conv net, T=16: ", {"snn4": 2.0}),
    "train spikformer": _judge_training("Spikformer-4-256, T=4: ", {"snn4": 2.0, "snn4 bf16": 2.0}),
    "memory": _judge_memory,
    "act mlp 1": _judge_acting(
        1, {"sb3 forward": 1 / 0.3, "sb3 actor": 1 / 0.3, "sb3 predict": 4.0}, {"sb3 actor": 4.0, "sb3 predict": 8.0}
    ),
    "act mlp 8": _judge_acting(
        8, {"sb3 forward": 1.0, "sb3 actor": 1.0, "sb3 predict": 1.0}, {"sb3 actor": 1.0, "sb3 predict": 1.0}
    ),
    "act conv T=4": _judge_conv(4),
    "act conv T=2": _judge_conv(2),
    "ppo": _judge_ppo,
    "compiled": _judge_compiled,
    "gpu layer": _judge_gpu("GPU, LIF layer, forward and backward: ", {"snn4": 1.0}),
    "gpu conv T=4": _judge_gpu("GPU, conv net, T=4: ", {"snn4": 1.0, "snn4 bf16": 1.0}),
}


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback: the parent process reports the interruption
    section, number, keep = sys.argv[1:]
    if int(keep):
        keep_freed_memory()
    print(json.dumps(_SECTIONS[section](int(number))))
