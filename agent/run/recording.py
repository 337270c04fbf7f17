"""Recording the end of a run: after its last step, an error, a second signal, or on a full disk."""

from __future__ import annotations

import errno
import shlex
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from snn4.agent.errors import CannotGoOn
from snn4.agent.run import checkpoint
from snn4.agent.run.events import Ended
from snn4.agent.run.journal import SUMMARY, Journal
from snn4.agent.run.signals import Signals
from snn4.agent.run.work import Work


class NoSpace(CannotGoOn):
    """The disk is full."""


@contextmanager
def recording(journal: Journal, signals: Signals, work: Work) -> Iterator[None]:
    """Open ``journal`` and record how the run of ``work`` ends."""
    with _threads_quiet_about_a_full_disk(), journal, signals.watching():
        try:
            yield
        except KeyboardInterrupt:  # a second signal: the run resumes from the checkpoint before it
            if not (journal.folder / SUMMARY).is_file():
                journal.finish("interrupted")
        except (checkpoint.Damaged, checkpoint.RunChanged):
            raise  # the folder of a run that cannot continue stays as it is
        except Exception as error:
            _fail(journal, error, work.age)
            raise


def resume_command(journal: Journal) -> str:
    """The command that continues the run, to be copied into a shell."""
    return f"snn4-agent resume {shlex.quote(str(journal.folder))}"


def _fail(journal: Journal, error: BaseException, age: int) -> None:
    """Record the error that ended a run, as far as the disk allows."""
    try:
        journal.write(Ended("failed", age, str(error)))
        journal.finish("failed")
    except OSError:
        pass  # a full disk; the user must see the error itself
    if _is_full_disk(error):
        raise NoSpace(
            f"the disk is full ({error}); the last checkpoint in {journal.folder} is intact: make room, then continue "
            f"with: {resume_command(journal)}"
        ) from error


def _is_full_disk(error: BaseException | None) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def _threads_quiet_about_a_full_disk() -> Iterator[None]:
    """Without the traceback of TensorBoard's writer thread: the run ends with the same error anyway."""
    before = threading.excepthook
    threading.excepthook = lambda args: None if _is_full_disk(args.exc_value) else before(args)
    try:
        yield
    finally:
        threading.excepthook = before
