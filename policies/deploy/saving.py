"""Write a policy for deployment; only this needs torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from snn4.policies.deploy.file import write_network


def save(model: Any, path: str | Path, normalization: Any = None) -> None:
    """Write the acting part of a spiking policy into the file ``path``, completely or not at all.

    Args:
        model: an agent of stable-baselines3 or sb3-contrib with a policy of this project, or the policy itself.
        path: of the file, ``NAME.npz``; a file that is there is replaced.
        normalization: the `VecNormalize` through which the policy saw observations, or a `Normalization`; None if it
            saw them as they were.

    Raises:
        NotExportable: a part of the policy cannot be deployed; the message names it and says what is allowed.
    """
    from snn4.policies.deploy.from_policy import network_of

    write_network(network_of(getattr(model, "policy", model), normalization), Path(path))
