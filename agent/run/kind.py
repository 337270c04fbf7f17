"""The protocol of a kind of run: its configs, its work, and how both are shown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from rich.console import RenderableType

from snn4.agent.run.events import Event
from snn4.agent.run.place import Place
from snn4.agent.run.work import Processes, Work


class Config(Protocol):
    """The fields that the configs of all kinds share; each config is a frozen dataclass."""

    @property
    def name(self) -> str: ...
    @property
    def seed(self) -> int: ...
    @property
    def keep_checkpoints(self) -> int: ...


class Kind(Protocol):
    """A kind of run: the module ``kind`` of its package, or any object like it. `snn4.agent.kinds` lists all kinds."""

    name: str
    """The value of ``kind:`` in a config."""
    schema: type
    """The dataclass of its configs."""
    shorthands: Mapping[str, str]
    """The config key of each option of ``run``: ``backend`` -> ``policy.backend``."""
    options: Mapping[str, str | None]
    """The config key of each option of ``evaluate``; None for an option without a key."""

    def read(self, raw: dict[str, Any], source: str, overrides: Sequence[str]) -> Any:
        """The config in ``raw``; ConfigError lists all problems at once."""

    def processes(self, config: Any) -> Processes:
        """The processes that do the work together."""

    def prepare(self, config: Any, processes: Processes) -> Work:
        """The work before it has begun. Errors show here, before there is a folder."""

    def evaluate(self, config: Any, folder: Path, options: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """Test the run or model in ``folder``: the summary, and notes on which checkpoint was used.

        Raises:
            RunError, ModelError: there is nothing to test, or the model cannot take the data.
        """

    def about(self, config: Any) -> dict[str, Any]:
        """The subject of a run, for ``run.json``."""

    def title(self, config: Mapping[str, Any]) -> str:
        """The title of a page; ``config`` is the content of ``config.yaml``."""

    def tables(self, summary: Mapping[str, Any]) -> RenderableType:
        """The summary for terminals."""

    def sections(self, events: Iterable[Event], summary: Mapping[str, Any] | None) -> Iterator[str]:
        """The page, as HTML; ``summary`` is None before the end."""

    def plan(self, config: Any, places: Mapping[str, Place]) -> RenderableType:
        """The tasks in order, and how far a run is."""
