"""Errors that users can fix: the command line prints each in a few lines, without a traceback."""

from __future__ import annotations

import os


class BadInput(ValueError):
    """The input is wrong; exit status 2."""

    exit_status = 2


class CannotGoOn(RuntimeError):
    """A run cannot continue; exit status 1."""

    exit_status = 1


def why(error: OSError) -> str:
    """The reason in the words of the operating system, without the path, which the message around it names."""
    return os.strerror(error.errno) if error.errno else str(error)


def exit_status(error: BaseException) -> int | None:
    """The exit status of the command line; None for an error that should never happen.

    Errors of the layers below know nothing of commands, and carry an ``exit_status`` of their own.
    """
    return getattr(error, "exit_status", None)
