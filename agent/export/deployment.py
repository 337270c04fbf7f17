"""The target ``deploy``: one file with which `snn4.policies.deploy` acts without torch."""

from __future__ import annotations

from pathlib import Path

from snn4.agent.export.normalizing import of_observations
from snn4.agent.models.files import ModelError
from snn4.agent.models.policies import TrainedPolicy
from snn4.policies.deploy import save


def write_deploy(trained: TrainedPolicy, out: Path) -> None:
    """Write the policy of a run into the new file ``out``, completely or not at all.

    Raises:
        ModelError: ``out`` is no name of such a file.
        NotExportable: a part of the policy cannot be deployed; the message names it.
    """
    if out.suffix != ".npz":
        raise ModelError(f"-o: got {out}, allowed with --target deploy is a file NAME.npz")
    save(trained.policy, out, of_observations(trained.normalization))
