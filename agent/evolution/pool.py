"""Processes of this machine that answer requests. One that dies costs only its own request, which is sent again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Mapping
from multiprocessing.connection import Connection, wait

from snn4.agent.evolution.child import Child
from snn4.agent.evolution.trials import POLL, Losses


class Pool:
    """So many processes that call ``answer`` with each request. They start at the first one, and stay."""

    def __init__(self, answer: Callable[[bytes], bytes], workers: int, threads: int, retries: int) -> None:
        self.answer, self.workers, self.threads, self.retries = answer, workers, threads, retries
        self._idle: list[Child] = []
        self._busy: dict[int, Child] = {}

    def answers(
        self, requests: Mapping[int, bytes], stop: Callable[[], bool]
    ) -> Generator[tuple[int, bytes], None, None]:
        waiting, losses = deque(requests), Losses(self.retries)
        try:
            while (waiting or self._busy) and not stop():
                self._hand_out(requests, waiting)
                answers = self._collect(waiting, losses)
                self._hand_out(requests, waiting)  # before the answers, as the next one may be asked for much later
                yield from answers.items()
        finally:
            if self._busy:
                self.close()

    def close(self) -> None:
        for child in (*self._idle, *self._busy.values()):
            child.close()
        self._idle, self._busy = [], {}

    def _hand_out(self, requests: Mapping[int, bytes], waiting: deque[int]) -> None:
        """Give every idle process a request that waits, after starting the processes that are missing."""
        while len(self._idle) < min(self.workers - len(self._busy), len(waiting)):
            self._idle.append(Child(_serve, self.answer, threads=self.threads))
        while self._idle and waiting:
            key = waiting.popleft()
            self._busy[key] = self._idle.pop()
            self._busy[key].send(requests[key])

    def _collect(self, waiting: deque[int], losses: Losses) -> dict[int, bytes]:
        """The answers that are there, by key. The requests of processes that have died wait again."""
        wait([child.connection for child in self._busy.values()], POLL)
        answers: dict[int, bytes] = {}
        for key, child in list(self._busy.items()):
            try:
                answer = child.receive()
            except EOFError:
                del self._busy[key]
                losses.add(key, child.end())
                waiting.appendleft(key)
                continue
            if answer is not None:
                answers[key] = answer
                self._idle.append(self._busy.pop(key))
        return answers


def _serve(connection: Connection, answer: Callable[[bytes], bytes]) -> None:
    while True:
        connection.send_bytes(answer(connection.recv_bytes()))
