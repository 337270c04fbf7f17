"""An integer network as the files of a bundle for Lava."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn4.policies.export.bundle import read_arrays
from snn4.policies.export.integer_files import from_arrays, to_arrays
from snn4.policies.export.integer_network import IntegerNetwork

NETWORK, SAMPLES, SCRIPT = "network.npz", "samples.npz", "run_lava.py"


def network_files(
    network: IntegerNetwork, code: Mapping[str, NDArray[Any]] | None = None
) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Arrays and script of a bundle by file name, and what its manifest says about ``network``.

    The layers have their resets for one decision after the other, so that Lava runs them as they are.

    Args:
        code: arrays of the code, for the script: of ``population``, the fields' ``centres`` and ``log_widths`` (n, k).
    """
    arrays, about = to_arrays(dataclasses.replace(network, layers=network.windowed()))
    arrays |= {f"code.{name}": values for name, values in (code or {}).items()}
    script = Path(__file__).with_name(SCRIPT).read_bytes()
    return {NETWORK: npz(arrays), SCRIPT: script}, {"window": network.window, "network": about}


def read_network(folder: Path, manifest: Mapping[str, Any]) -> IntegerNetwork:
    """The network of a bundle that `bundle.read_bundle` has checked, without its code."""
    return from_arrays(read_arrays(folder / NETWORK), manifest["network"])


def npz(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """``arrays`` as the content of an ``.npz`` file, without objects: nothing in it is unpickled."""
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()
