"""The lineage of a run as a file in its folder, or in a database, for other readers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from snn4.agent.evolution.config import SearchConfig
from snn4.agent.evolution.lineage import Lineage, mirror, unreachable
from snn4.agent.evolution.trials import WorkersUnreachable
from snn4.agent.evolution.workers import check
from snn4.agent.run.events import Noted
from snn4.agent.run.work import File

DATABASE = "evolution.db"


def problems(search: SearchConfig, place: str) -> Iterator[str]:
    """Workers and a database that cannot be reached, one line each.

    Args:
        search: at the key ``place`` of its config.
    """
    try:
        check(search)
    except WorkersUnreachable as error:
        yield f"{place}.ray: {error}"
    if search.storage is not None and (why := unreachable(search.storage)) is not None:
        allowed = "allowed is the URL of a database: sqlite:///FILE, postgresql://USER:PASSWORD@HOST/NAME"
        yield f"{place}.storage: got {search.storage}, which cannot be opened ({why}); {allowed}"


def written(lineage: Lineage, suffix: str = "") -> Iterator[File | Noted]:
    """The lineage for other readers, as a study with the run folder's name and ``suffix``.

    A database that is lost does not end a run.
    """
    problems: list[str] = []

    def write(path: Path) -> None:
        url = lineage.config.storage or f"sqlite:///{path}"
        try:
            mirror(lineage.study, url, path.parent.name + suffix)
        except (SQLAlchemyError, OSError, ImportError) as error:
            problems.append(" ".join(str(error).split()))

    yield File(DATABASE, write)
    for problem in problems:
        yield Noted(f"evolution: the lineage cannot be written ({problem}); the next generation tries again")
