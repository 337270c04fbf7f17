"""Where the trials of a generation run: in this process, in several processes, or on a Ray cluster."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

from snn4.agent.config.fields import check_least
from snn4.agent.evolution.trials import Workers as Workers
from snn4.agent.evolution.trials import WorkersLost as WorkersLost
from snn4.agent.evolution.trials import WorkersUnreachable as WorkersUnreachable


@dataclass(frozen=True)
class RayConfig:
    """The Ray cluster of ``engine: ray``."""

    address: str | None = None
    """Address of a running cluster: auto (that of this machine), HOST:6379, or ray://HOST:10001 for Ray's client; null
    starts a cluster on this machine for the run."""

    def __post_init__(self) -> None:
        if self.address not in (None, "auto") and not re.fullmatch(r"(ray://)?[^\s:/]+:\d{1,5}", self.address or ""):
            raise ValueError(f"address: got {self.address!r}, allowed are null, auto, HOST:6379 and ray://HOST:10001")


@dataclass(frozen=True)
class WorkersConfig:
    """Who runs the trials of a generation; their results are the same everywhere."""

    workers: int = 1
    """Trials at the same time on this machine; 1 runs them in the process of the life. A running Ray cluster takes as
    many as it has cores."""
    engine: Literal["processes", "ray"] = "processes"
    """Processes of this machine, or tasks of Ray on one or more machines (pip install 'snn4-agent[ray]')."""
    ray: RayConfig = field(default_factory=RayConfig)
    retries: int = 3
    """How often a trial is repeated whose worker has died, for instance for want of memory."""

    def __post_init__(self) -> None:
        check_least(self, 1, "workers")
        check_least(self, 0, "retries")


def make_workers(config: WorkersConfig, threads: int = 1) -> Workers:
    """The workers of ``config``; each trial has so many CPU ``threads``. Processes start at the first run."""
    from snn4.agent.evolution.attempts import OtherProcesses, ThisProcess, attempt  # torch, which configs do not need

    if config.engine == "ray":
        from snn4.agent.evolution.ray_workers import RayCluster

        return OtherProcesses(RayCluster(config.ray.address, config.workers, config.retries), threads)
    if config.workers == 1:
        return ThisProcess(threads)
    from snn4.agent.evolution.pool import Pool

    return OtherProcesses(Pool(attempt, config.workers, threads, config.retries), threads)


def check(config: WorkersConfig) -> None:
    """Connect to the Ray cluster of ``config``, if it has one, and leave it.

    Raises:
        WorkersUnreachable: Ray is not installed, there is no such cluster, or its machines have another version.
    """
    if config.engine != "ray":
        return
    from snn4.agent.evolution.ray_workers import RayCluster

    cluster = RayCluster(config.ray.address, config.workers, config.retries)
    if config.ray.address is None:
        cluster.look()  # it starts with the run
        return
    cluster.connect()
    cluster.close()
