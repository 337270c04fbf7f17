"""The kind ``evolution``: whole runs of another kind with other genes; see `snn4.agent.run.kind.Kind`."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from snn4.agent.config.document import parse
from snn4.agent.config.file import ConfigError, checked, dump
from snn4.agent.evolution.config import SearchConfig
from snn4.agent.run import checkpoint
from snn4.agent.run.events import Event
from snn4.agent.run.journal import RunError
from snn4.agent.run.kind import Kind
from snn4.agent.run.place import Place
from snn4.agent.run.work import OneProcess, Processes, Work
from snn4.agent.search import page
from snn4.agent.search.config import SUBJECTS, EvolveConfig
from snn4.agent.search.trial import KindOf, changed


class Evolution:
    """The kind; its subjects are of other kinds, which are handed down, since this one stands beside them.

    Args:
        kind_of: the kind of a raw config from a source.
    """

    name = "evolution"
    schema: type = EvolveConfig
    shorthands: Mapping[str, str] = {}
    options: Mapping[str, str | None] = {}

    def __init__(self, kind_of: KindOf) -> None:
        self.kind_of = kind_of

    def read(self, raw: dict[str, Any], source: str, overrides: Sequence[str]) -> EvolveConfig:
        """See `Kind.read`; the subject has all its fields then, so that other defaults do not change it later."""
        config: EvolveConfig = checked(raw, source, overrides, EvolveConfig)
        _, subject = self._subject(config, source)
        problems = [*_unfit(subject), *(f"search.{problem}" for problem in config.search.problems(subject))]
        if problems:
            raise ConfigError(source, problems)
        return dataclasses.replace(config, subject=_plain(subject))

    def _subject(self, config: EvolveConfig, source: str) -> tuple[Kind, Any]:
        """Kind and checked config of the subject; ConfigError with the keys as they are in ``config``."""
        raw = copy.deepcopy(config.subject)
        try:
            kind = self.kind_of(raw, source)
            if kind.name not in SUBJECTS:
                raise ConfigError(source, [f"kind: got {kind.name}, allowed are {', '.join(SUBJECTS)}"])
            return kind, kind.read(raw, source, [])
        except ConfigError as error:
            _, problems = error.args
            raise ConfigError(source, [f"subject.{problem}" for problem in problems]) from error

    def processes(self, config: EvolveConfig) -> OneProcess:
        return OneProcess()

    def prepare(self, config: EvolveConfig, processes: Processes) -> Work:
        """ConfigError for workers and a database that cannot be reached, and for a subject that cannot be lived."""
        from snn4.agent.evolution.database import problems
        from snn4.agent.search.search import Search, Subject

        if unreachable := list(problems(config.search, "search")):
            raise ConfigError(config.name, unreachable)
        kind, subject = self._subject(config, config.name)
        alone = changed(subject, ann_twin=False, relu_twin=False)
        work = kind.prepare(alone, kind.processes(alone))
        about = Subject(
            self.kind_of, kind.name, subject, work.beings[0].name, work.tasks, work.unit, work.measure,
            work.fingerprint, work.notes,
        )  # fmt: skip
        return Search(config, about)

    def evaluate(
        self, config: EvolveConfig, folder: Path, options: Mapping[str, Any]
    ) -> tuple[dict[str, Any], list[str]]:
        """The summary as far as the evolution has come; to test again would take whole runs."""
        from snn4.agent.search.search import Search, Subject

        saved = checkpoint.newest(folder)
        if saved is None:
            raise RunError(f"{folder}: has no checkpoint yet, so there is nothing to show")
        kind, subject = self._subject(config, config.name)
        search = Search(config, Subject(self.kind_of, kind.name, subject))
        search.load_state(saved.state)
        return search.summary(), saved.notes

    def about(self, config: EvolveConfig) -> dict[str, Any]:
        return {"subject": config.subject["name"]}

    def title(self, config: Mapping[str, Any]) -> str:
        return f"{config['name']}: evolution of {config['subject']['name']}, seed {config.get('seed', 0)}"

    def tables(self, summary: Mapping[str, Any]) -> RenderableType:
        return page.tables(summary)

    def sections(self, events: Iterable[Event], summary: Mapping[str, Any] | None) -> Iterator[str]:
        return page.sections(events, summary)

    def plan(self, config: EvolveConfig, places: Mapping[str, Place]) -> RenderableType:
        """The genes that evolve, and the plan of the subject, which each candidate lives."""
        kind, subject = self._subject(config, config.name)
        search = config.search
        table = Table(title=f"{config.name}, seed {config.seed}: genes")
        for column in ("gene", "hand-set", "range"):
            table.add_column(column)
        for name, locus in search.loci(subject).items():
            table.add_row(Text(name), Text(f"{locus.value}"), Text(str(locus.gene)))
        lines = [
            f"{search.generations} generations of {search.population} candidates, proposed by {search.sampler}",
            f"objectives: {', '.join(search.objectives)}; preferred: {search.prefer}",
            f"each candidate lives the {kind.name} below, up to its test:",
        ]
        return Group(table, *map(Text, lines), kind.plan(subject, {}))


def raw_of(subject: Any) -> dict[str, Any]:
    """The raw config of an evolution of ``subject``, a checked config, with the settings of its own ``evolution``."""
    own = getattr(subject, "evolution", None)
    names = [field.name for field in dataclasses.fields(SearchConfig)]
    search = {} if own is None else {name: value for name, value in _plain(own).items() if name in names}
    return {
        "name": f"{subject.name}-evolution", "kind": Evolution.name, "seed": subject.seed,
        "keep_checkpoints": subject.keep_checkpoints, "subject": _plain(changed(subject, evolution=None)),
        "search": search,
    }  # fmt: skip


def _plain(config: Any) -> dict[str, Any]:
    """As a file would give it: with lists in place of tuples."""
    return parse(dump(config))  # type: ignore[no-any-return]


def _unfit(subject: Any) -> Iterator[str]:
    """What a subject must not have."""
    if getattr(subject, "evolution", None) is not None:
        yield "subject.evolution: not allowed, because trials keep their genes; set null"
    fabric = getattr(subject, "fabric", None)
    if fabric is not None and (fabric.devices > 1 or fabric.strategy != "auto"):
        got = f"subject.fabric: got {fabric.devices} devices, {fabric.strategy}"
        yield f"{got}, allowed is 1, auto; search.workers sets how many trials run at the same time"
