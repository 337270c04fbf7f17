"""Trials of a generation: any module-level function of one job, both of which can be pickled, and who runs them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Protocol, TypeVar

from snn4.agent.errors import BadInput, CannotGoOn

Job = TypeVar("Job")
Result = TypeVar("Result")

POLL = 0.1
"""Seconds between two looks at a request to stop."""


class Workers(Protocol):
    """Who runs trials: this process, other processes, or a Ray cluster. The results are the same."""

    def run(
        self, trial: Callable[[Job], Result], jobs: Mapping[int, Job], stop: Callable[[], bool]
    ) -> Iterator[tuple[int, Result]]:
        """Key and result of each job, as they finish.

        Ends early once ``stop()`` is true; jobs that are not finished are dropped. An exception of a trial is raised
        as it is. The global generators of a trial start from its key, a whole number >= 0.

        Raises:
            WorkersLost: workers died too often.
        """

    def close(self) -> None:
        """End all processes; a later `run` starts them again."""


class Answerers(Protocol):
    """Processes that answer requests: a pool, or a Ray cluster."""

    def answers(
        self, requests: Mapping[int, bytes], stop: Callable[[], bool]
    ) -> Generator[tuple[int, bytes], None, None]:
        """Key and answer of each request, as they come; whoever closes it drops the rest."""

    def close(self) -> None: ...


class WorkersLost(CannotGoOn):
    """Workers died more often than their jobs may be retried, or the cluster is gone."""


class WorkersUnreachable(BadInput):
    """There is no cluster that can run the trials."""


class Losses:
    """How often each job has lost its worker."""

    def __init__(self, retries: int) -> None:
        self.retries = retries
        self._times: Counter[int] = Counter()

    def add(self, key: int, cause: str) -> None:
        """Count one more loss of job ``key``.

        Raises:
            WorkersLost: it has been retried often enough.
        """
        self._times[key] += 1
        if self._times[key] > self.retries:
            raise WorkersLost(
                f"trial {key}: its worker died {self._times[key]} times (at last: {cause}), allowed is once and "
                f"retries: {self.retries} more; if memory is short, set fewer workers"
            )
