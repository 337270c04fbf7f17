"""One attempt at a trial, the same wherever it runs: random states and threads of its own, a copy of its job."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import torch

from snn4.agent.evolution.trials import Answerers, Job, Result
from snn4.learners.randomness import Randomness


class ThisProcess:
    """Trials in this process, one after the other."""

    def __init__(self, threads: int) -> None:
        self.threads = threads

    def run(
        self, trial: Callable[[Job], Result], jobs: Mapping[int, Job], stop: Callable[[], bool]
    ) -> Iterator[tuple[int, Result]]:
        for key, job in jobs.items():
            if stop():
                return
            yield key, _attempted(_request(trial, job, key, self.threads))

    def close(self) -> None:
        """There is nothing to end."""


class OtherProcesses:
    """Trials in processes of this machine or of others, which answer with `attempt`."""

    def __init__(self, answerers: Answerers, threads: int) -> None:
        self.answerers, self.threads = answerers, threads

    def run(
        self, trial: Callable[[Job], Result], jobs: Mapping[int, Job], stop: Callable[[], bool]
    ) -> Iterator[tuple[int, Result]]:
        requests = {key: _request(trial, job, key, self.threads) for key, job in jobs.items()}
        with closing(self.answerers.answers(requests, stop)) as answers:
            for key, answer in answers:
                yield key, _result(answer)

    def close(self) -> None:
        self.answerers.close()


class WorkerTraceback(Exception):
    """The traceback of an exception in a worker, as the cause of this exception here."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


@dataclass(frozen=True)
class _Failed:
    error: BaseException
    where: str


def attempt(request: bytes) -> bytes:
    """Run the trial of a request: the answer is its result or its exception."""
    try:
        return pickle.dumps(_attempted(request))
    except BaseException as error:  # what ends a trial must not end its worker
        return pickle.dumps(_Failed(_picklable(error), traceback.format_exc()))


def _request(trial: Callable[[Job], Result], job: Job, key: int, threads: int) -> bytes:
    return pickle.dumps((trial, job, key, threads))  # copies tensors; multiprocessing's own pickles would share them


def _attempted(request: bytes) -> Any:
    """The result of a trial; this process goes on afterwards as if there had been none."""
    trial, job, key, threads = pickle.loads(request)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with Randomness(key):
            return trial(job)
    finally:
        torch.set_num_threads(before)


def _result(answer: bytes) -> Any:
    """The result in an answer; raises the trial's exception."""
    content = pickle.loads(answer)
    if isinstance(content, _Failed):
        raise content.error from WorkerTraceback(content.where)
    return content


def _picklable(error: BaseException) -> BaseException:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # constructors raise whatever they like
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
