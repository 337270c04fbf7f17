"""The processes of a training, launched by lightning-fabric."""

from __future__ import annotations

import logging
import os
import threading
import time
from datetime import timedelta

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from lightning_fabric.utilities.exceptions import MisconfigurationException

from snn4.agent.config.file import ConfigError
from snn4.agent.run.work import Value
from snn4.agent.training.config import TrainingConfig
from snn4.policies.allocation import keep_freed_memory

PATIENCE = timedelta(hours=2)
"""How long processes wait for one another; the first one may have to download and read the data."""


class FabricProcesses:
    """The processes of a launched ``fabric``."""

    def __init__(self, fabric: Fabric) -> None:
        self.fabric = fabric

    @property
    def leads(self) -> bool:
        return self.fabric.is_global_zero

    def broadcast(self, value: Value) -> Value:
        return self.fabric.broadcast(value)

    def barrier(self) -> None:
        self.fabric.barrier()


def launched(config: TrainingConfig) -> FabricProcesses:
    """Launch the processes of a training; each runs the whole command from its beginning."""
    wanted = config.fabric
    if wanted.accelerator == "cuda" and not torch.cuda.is_available():
        raise ConfigError(config.name, ["fabric.accelerator: got 'cuda', but torch sees no GPU here; allowed is cpu"])
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # without lines on ranks and backends
    several = wanted.devices > 1 or wanted.strategy == "ddp"
    if int(os.environ.get("LOCAL_RANK", 0)):
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    strategy = DDPStrategy(timeout=PATIENCE) if several else "auto"
    try:
        fabric = Fabric(
            accelerator=wanted.accelerator, devices=wanted.devices, strategy=strategy, precision=wanted.precision
        )
    except (RuntimeError, ValueError, MisconfigurationException) as error:
        raise ConfigError(config.name, [f"fabric: {error}; allowed are the devices of this machine"]) from error
    fabric.launch()
    if config.threads:
        torch.set_num_threads(config.threads)  # otherwise Fabric has shared the cores among the processes
    keep_freed_memory()
    return FabricProcesses(fabric)


def _end_with(parent: int) -> None:
    """End this process when its ``parent`` is gone; otherwise it would wait for `PATIENCE`."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
