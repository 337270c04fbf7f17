"""A separate random state for a piece of work, independent of other draws."""

from __future__ import annotations

import random
from types import TracebackType
from typing import Any

import numpy as np
import torch


class Randomness:
    """Inside ``with`` blocks, the global generators of torch, NumPy and Python have their own state: it starts from
    ``key`` and continues from block to block. Outside, they are unaffected.

    Libraries draw from the global generators, so that only this makes their work repeatable.
    """

    def __init__(self, *key: int) -> None:
        outer = _states()
        seeds = np.random.SeedSequence(key).generate_state(3)
        torch.manual_seed(int(seeds[0]))
        np.random.seed(seeds[1])  # noqa: NPY002  # Avalanche uses the global generator
        random.seed(int(seeds[2]))
        self._other = _states()
        _set(outer)

    def __enter__(self) -> None:
        self._swap()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._swap()

    def _swap(self) -> None:
        present = _states()
        _set(self._other)
        self._other = present


def _states() -> tuple[Any, ...]:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return torch.get_rng_state(), cuda, np.random.get_state(), random.getstate()  # noqa: NPY002


def _set(states: tuple[Any, ...]) -> None:
    torch.set_rng_state(states[0])
    if states[1]:
        torch.cuda.set_rng_state_all(states[1])
    np.random.set_state(states[2])  # noqa: NPY002
    random.setstate(states[3])
