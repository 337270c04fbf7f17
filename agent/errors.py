"""Errors that people can mend: the command line tells each in a few lines, without a traceback."""

from __future__ import annotations


class BadInput(ValueError):
    """Something that was given is wrong; exit status 2."""

    exit_status = 2


class CannotGoOn(RuntimeError):
    """A run cannot go on from here; exit status 1."""

    exit_status = 1


def exit_status(error: BaseException) -> int | None:
    """The status with which the command line ends; None for what should never happen.

    Errors of the layers below, which know nothing of commands, carry an ``exit_status`` of their own.
    """
    return getattr(error, "exit_status", None)
