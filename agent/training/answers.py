"""A teacher's answers to all training samples, on disk: they stay the same where nothing changes the samples."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor

from snn4.learners.teachers import Teacher
from snn4.policies.modes import device

MOST = 2**28
"""Numbers that are kept at most: one GiB."""


def read(path: Path, shape: tuple[int, ...]) -> Tensor | None:
    """The answers in ``path``; None if there are none, or they are damaged."""
    with suppress(OSError, SafetensorError, KeyError):
        answers = load_file(path)["logits"]
        if tuple(answers.shape) == shape and torch.isfinite(answers).all():
            return answers
    return None


def keep(path: Path, answers: Tensor) -> bool:
    """Write ``answers`` completely or not at all; False if the disk does not take them."""
    partial = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            partial = file.name
            file.write(to_bytes({"logits": answers.contiguous()}))
            file.flush()
            os.fsync(file.fileno())
        Path(partial).replace(path)
    except BaseException as error:
        Path(partial or path.with_suffix(".none")).unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        return False
    return True


def asked(teacher: Teacher, batches: Iterable[Tensor], stop: Callable[[], bool]) -> Tensor | None:
    """The logits (teachers, N, classes) for all samples in ``batches``, on the CPU; None if ``stop`` asks to end."""
    where = device(teacher)
    answers: list[Tensor] = []
    for x in batches:
        answers.append(teacher.logits(x.to(where)).cpu())
        if stop():
            return None
    return torch.cat(answers, 1)
