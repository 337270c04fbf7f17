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
"""How long processes wait for one another: the first one may have to download and read the data."""


class FabricProcesses:
    """Those of ``fabric``, which is launched."""

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
    """The processes of a training; each of them runs the whole command from its beginning."""
    f = config.fabric
    if f.accelerator == "cuda" and not torch.cuda.is_available():
        raise ConfigError(config.name, ["fabric.accelerator: got 'cuda', but torch sees no GPU here; allowed is cpu"])
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # ranks and backends are nobody's news
    several = f.devices > 1 or f.strategy == "ddp"
    if int(os.environ.get("LOCAL_RANK", 0)):
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    strategy = DDPStrategy(timeout=PATIENCE) if several else "auto"
    try:
        fabric = Fabric(accelerator=f.accelerator, devices=f.devices, strategy=strategy, precision=f.precision)
    except (RuntimeError, ValueError, MisconfigurationException) as error:
        raise ConfigError(config.name, [f"fabric: {error}; allowed is what this machine has"]) from error
    fabric.launch()
    if config.threads:
        torch.set_num_threads(config.threads)  # else Fabric has shared out the cores
    keep_freed_memory()
    return FabricProcesses(fabric)


def _end_with(parent: int) -> None:
    """A process that waits for a first one that was killed would wait long."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
