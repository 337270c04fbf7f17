"""The target ``deploy``: one file with which `snn4.policies.deploy` acts without torch."""

from __future__ import annotations

from pathlib import Path

from stable_baselines3.common.policies import BasePolicy

from snn4.agent.export.normalizing import of_observations
from snn4.agent.export.source import open_policy
from snn4.agent.models.files import ModelError
from snn4.learners.saved_policy import read_policy
from snn4.policies.deploy import save
from snn4.policies.export.normalization import Normalization

Deployable = tuple[BasePolicy, Normalization | None]
"""A policy, and how its observations are normalised."""


def deployable(run: str, task: str | None) -> Deployable:
    """The policy in ``run``: the folder of a life or of its compression, or the zip of an agent.

    Raises:
        ModelError, BadAgent: there is none; the message names ``run``.
    """
    if not run.endswith(".zip"):
        trained = open_policy(run, task)
        return trained.policy, of_observations(trained.normalization)
    if task is not None:
        raise ModelError(f"--task: not allowed for {run}, which has one policy; leave it out")
    return read_policy(Path(run)), None


def write_deploy(source: Deployable, out: Path) -> None:
    """Write ``source`` into the new file ``out``, completely or not at all.

    Raises:
        ModelError: ``out`` is no name of such a file.
        NotExportable: a part of the policy cannot be deployed; the message names it.
    """
    if out.suffix != ".npz":
        raise ModelError(f"-o: got {out}, allowed with --target deploy is a file NAME.npz")
    policy, normalization = source
    save(policy, out, normalization)
