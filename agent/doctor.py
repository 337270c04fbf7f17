"""``snn4-agent doctor``: installed packages, devices, and how to install what is missing."""

from __future__ import annotations

import os
import platform

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from snn4.agent.run.provenance import installed_version

_CORE = (
    "snn4-agent", "torch", "numpy", "numba", "gymnasium", "stable-baselines3", "sb3-contrib", "rich", "safetensors",
    "tensorboard",
)  # fmt: skip
_OPTIONAL = {
    "box2d": ("LunarLander and BipedalWalker", "pip install 'snn4-agent[box2d]'"),
    "snntorch": ("policy.backend=snntorch", "pip install 'snn4-agent[backends]'"),
    "norse": ("policy.backend=norse", "pip install 'snn4-agent[backends]'"),
    "avalanche-lib": ("streams of experiences", "pip install 'snn4-agent[continual]'"),
    "tonic": ("data of event cameras", "pip install 'snn4-agent[events]'"),
    "nir": ("NIR: export --target nir, convert model.nir", "pip install 'snn4-agent[nir]'"),
    "timm": ("models timm:NAME as teachers", "pip install timm"),
    "minatar": ("MinAtar's games", "pip install 'snn4-agent[minatar]'"),
    "mujoco": ("MuJoCo's robots: Hopper, HalfCheetah …", "pip install 'snn4-agent[mujoco]'"),
    "ray": ("trials of evolution on several machines", "pip install 'snn4-agent[ray]'"),
    "optuna-dashboard": ("pages on searches in a browser", "pip install 'snn4-agent[dashboard]'"),
    "spikingjelly": ("snn4-agent bench speed", "pip install 'snn4-agent[peers]'"),
}


def examine() -> None:
    """Print versions, devices and optional parts."""
    console = Console()
    console.print(_versions())
    console.print(_devices())
    console.print(_optional_parts())


def _versions() -> Table:
    table = Table("package", "version", title="versions")
    table.add_row("python", platform.python_version())
    for package in _CORE:
        table.add_row(package, installed_version(package) or "[red]missing: pip install snn4-agent[/red]")
    return table


def _devices() -> Table:
    import torch

    table = Table("device", "", title="devices")
    table.add_row(
        "cpu", f"{os.cpu_count()} cores, {platform.machine()}, {torch.get_num_threads()} torch threads by default"
    )
    for number in range(torch.cuda.device_count()):
        table.add_row(f"cuda:{number}", torch.cuda.get_device_name(number))
    if torch.backends.mps.is_available():
        table.add_row("mps", "Apple GPU")
    table.add_row("fused time loop", _fused_loop())
    return table


def _fused_loop() -> str:
    from snn4.policies.fused import is_fused

    return "compiled by numba" if is_fused() else "[yellow]no compiler: the slower, plain loop is used[/yellow]"


def _optional_parts() -> Table:
    table = Table("part", "for", "state", title="optional parts")
    for package, (purpose, command) in _OPTIONAL.items():
        version = installed_version(package)
        table.add_row(package, purpose, version or f"[yellow]missing: {escape(command)}[/yellow]")
    return table
