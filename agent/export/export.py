"""The command ``export``: the network of a run, written for one of several targets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from snn4.agent.errors import why
from snn4.agent.export.bundle import write_lava
from snn4.agent.export.c import write_c
from snn4.agent.export.deployment import deployable, write_deploy
from snn4.agent.export.nir_file import write_nir_file
from snn4.agent.export.source import open_source
from snn4.agent.export.spinnaker import write_spinnaker
from snn4.agent.models.files import ModelError
from snn4.policies.export.description import NotExportable

OPTIONS: dict[str, tuple[str, ...]] = {
    "lava": ("bits",), "nir": ("readout", "allow_soft_reset"), "spinnaker": (), "c": ("bits",),
    "deploy": (),
}  # fmt: skip
"""What each target can be told."""


def export(run: str, target: str, out: Path, options: Mapping[str, Any], task: str | None = None) -> Path:
    """Write the network of ``run`` into ``out``, completely or not at all, and return the place.

    Args:
        run: see `open_source`; for deploy, see `deployable`.
        target: one of `OPTIONS`.
        out: a new folder or file.
        options: of the target, only those that were given.
        task: of a life with several tasks.

    Raises:
        ModelError: nothing can be exported from there, or the target cannot express it; ``out`` exists already.
    """
    if target not in OPTIONS:
        raise ModelError(f"--target: got {target}, allowed are {', '.join(OPTIONS)}")
    if unknown := [_typed(name) for name in options if name not in OPTIONS[target]]:
        allowed = ", ".join(map(_typed, OPTIONS[target])) or "none"
        raise ModelError(f"{unknown[0]}: is no option of --target {target}; allowed are {allowed}: leave it out")
    if out.exists():
        raise ModelError(f"{out}: is there already; allowed is a new place: take another -o, or remove it")
    source = deployable(run, task) if target == "deploy" else open_source(run, task)
    try:
        write(source, run, target, out, options)
    except NotExportable as error:
        raise ModelError(f"{run}: {error}") from error
    except OSError as error:
        raise ModelError(f"-o: cannot write {out} ({why(error)}); name another place") from error
    return out


def write(source: Any, run: str, target: str, out: Path, options: Mapping[str, Any]) -> None:
    """Write ``source``, which comes from ``run``, for ``target``: a `Source`, but for deploy a `Deployable`."""
    match target:
        case "deploy":
            write_deploy(source, out)
        case "lava":
            write_lava(source, run, out, **options)
        case "spinnaker":
            write_spinnaker(source, run, out)
        case "c":
            write_c(source, out, **options)
        case "nir":
            write_nir_file(source, out, options)
        case _:
            raise AssertionError(target)


def _typed(name: str) -> str:
    return f"--{name.replace('_', '-')}"
