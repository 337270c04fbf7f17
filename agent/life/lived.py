"""The beings of a life in a run folder, as its newest checkpoint has them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snn4.agent.config.file import read as read_file
from snn4.agent.errors import BadInput
from snn4.agent.life.config import LifeConfig, read
from snn4.agent.life.organism import Organism
from snn4.agent.run import checkpoint
from snn4.agent.run.journal import CONFIG, require_run
from snn4.policies.gene import with_genes


class NotLived(BadInput):
    """The run folder holds no life, or not the being or the task that is wanted."""


@dataclass(frozen=True)
class Lived:
    """A life that has at least one checkpoint."""

    folder: Path
    config: LifeConfig
    states: dict[str, dict[str, Any]]
    """Of each organism, by the name of its being."""

    @classmethod
    def of(cls, folder: Path) -> Lived:
        """The life in ``folder``.

        Raises:
            NotLived, RunError, ConfigError, Damaged: there is none, or it cannot be read.
        """
        require_run(folder)
        raw, source = read_file(folder / CONFIG)
        if "world" not in raw:
            raise NotLived(f"{folder}: got a {raw.get('kind', 'training')}, allowed is the run folder of a life")
        config, saved = read(raw, source), checkpoint.newest(folder)
        if saved is None:
            raise NotLived(f"{folder}: has no checkpoint yet; wait for its first validation")
        states = zip(config.beings, saved.state["model"]["beings"], strict=True)
        return cls(folder, config, {name: state["organism"] for name, state in states})

    def organism(self, being: str) -> Organism:
        """The organism of ``being``."""
        organism = Organism(self.config_of(being).beings[being])
        organism.load_state(self.states[being])
        return organism

    def config_of(self, being: str) -> LifeConfig:
        """The config with the genes of ``being``, which evolution may have changed."""
        return with_genes(self.config, self.states[being].get("genes", {}))  # type: ignore[no-any-return]
