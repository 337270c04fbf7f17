"""The protocol of a kind of run: what its configs are, what is done, and how that is shown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from rich.console import RenderableType

from snn4.agent.run.events import Event
from snn4.agent.run.place import Place
from snn4.agent.run.work import Processes, Work


class Config(Protocol):
    """What the configs of all kinds have: a frozen dataclass."""

    @property
    def name(self) -> str: ...
    @property
    def seed(self) -> int: ...
    @property
    def keep_checkpoints(self) -> int: ...


class Kind(Protocol):
    """A kind of run: the module ``kind`` of its room, or any object like it. `snn4.agent.kinds` names all."""

    name: str
    """As ``kind:`` in a config."""
    schema: type
    """The dataclass of its configs."""
    shorthands: Mapping[str, str]
    """Keys that options of ``run`` stand for: ``backend`` -> ``policy.backend``."""
    options: Mapping[str, str | None]
    """Options of ``evaluate``: the key that each stands for; None for what is no key."""

    def read(self, raw: dict[str, Any], source: str, overrides: Sequence[str]) -> Any:
        """The config in ``raw``; ConfigError tells all problems at once."""

    def processes(self, config: Any) -> Processes:
        """Those that do the work together."""

    def prepare(self, config: Any, processes: Processes) -> Work:
        """The work before it has begun. What is wrong shows here, before there is a folder."""

    def evaluate(self, config: Any, folder: Path, options: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """The summary of a test of what lies in ``folder``, and notes on how that was found.

        Raises:
            RunError, ModelError: there is nothing to test, or it cannot take the data.
        """

    def about(self, config: Any) -> dict[str, Any]:
        """What a run is about, for ``run.json``."""

    def title(self, config: Mapping[str, Any]) -> str:
        """Of a page; ``config`` as it stands in ``config.yaml``."""

    def tables(self, summary: Mapping[str, Any]) -> RenderableType:
        """The summary for terminals."""

    def sections(self, events: Iterable[Event], summary: Mapping[str, Any] | None) -> Iterator[str]:
        """The page, as HTML; ``summary`` is None before the end."""

    def plan(self, config: Any, places: Mapping[str, Place]) -> RenderableType:
        """What comes in which order, and where a run is in it."""
