"""The side environment in which Lava runs: it needs Python 3.10 and NumPy 1, which nothing else here does.

The first of these that is there is used: the Python of ``--lava-python``, that of ``SNN4_LAVA_PYTHON``, the one that
runs now (``pip install 'snn4-agent[lava]'`` with Python 3.10), and the environment in the user's cache, which
``snn4-agent lava-env`` makes once.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from snn4.agent.errors import BadInput, CannotGoOn

VERSION = "0.10.0"
"""Of lava-nc: the integer model is equal to the models of this version."""
PACKAGES = (f"lava-nc=={VERSION}", "gymnasium>=1.1")
WORLDS = ("--only-binary=:all:", "gymnasium[box2d]>=1.1")
"""For LunarLander and BipedalWalker, where there are wheels; Lava runs without."""
VARIABLE = "SNN4_LAVA_PYTHON"
HOW = (
    "make it once with: snn4-agent lava-env (it needs a Python 3.10: uv python install 3.10, pyenv install 3.10, or "
    "conda create -n lava python=3.10), or name one that has lava-nc with --lava-python or SNN4_LAVA_PYTHON"
)
_ASK_LAVA = "from importlib.metadata import version; print(version('lava-nc'))"
_ASK_PYTHON = "import sys, ensurepip, venv; print('%d.%d' % sys.version_info[:2])"


class NoLava(BadInput):
    """There is no Python with Lava."""


def find_lava(option: Path | None = None) -> Path:
    """The Python that runs Lava, found in the order given above.

    Args:
        option: the Python that was asked for, if one was.

    Raises:
        NoLava: there is none, or the one that was asked for has another version of Lava; the message says how to get
            it.
    """
    named = {"--lava-python": option, VARIABLE: os.environ.get(VARIABLE)}
    for origin, python in named.items():
        if python:
            answer = _ask(python, _ASK_LAVA)
            if answer != VERSION:
                got = f"lava-nc {answer}" if answer else "no lava-nc, or no Python that starts"
                raise NoLava(f"{origin}: got {python} with {got}, allowed is a Python with lava-nc {VERSION}; {HOW}")
            return Path(python)
    for here in (Path(sys.executable), cached()):
        if _ask(here, _ASK_LAVA) == VERSION:
            return here
    raise NoLava(f"lava: found no Python with lava-nc {VERSION}; {HOW}")


def cached() -> Path:
    """Where the Python of the cached environment is, or will be."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "snn4-agent" / "lava" / "bin" / "python"


def make_environment(option: Path | None = None) -> Path:
    """The Python of the cached environment, which is made if it is not there: about 350 MB, in about a minute.

    Args:
        option: the Python 3.10 to make it with; None looks for one.

    Raises:
        NoLava: there is no Python 3.10.
        CannotGoOn: the packages cannot be installed; the last lines of pip are in the message.
    """
    if _ask(cached(), _ASK_LAVA) == VERSION:
        return cached()
    base = _python310(option)
    place = cached().parents[1]
    place.parent.mkdir(parents=True, exist_ok=True)
    # A virtual environment may move as long as only its Python is used: so it is there completely, or not at all.
    partial = Path(tempfile.mkdtemp(prefix=".lava.partial-", dir=place.parent))
    try:
        _do([base, "-I", "-m", "venv", partial])
        _do([partial / "bin" / "python", "-I", "-m", "pip", "install", "--quiet", *PACKAGES])
        _output([partial / "bin" / "python", "-I", "-m", "pip", "install", "--quiet", *WORLDS])
        shutil.rmtree(place, ignore_errors=True)
        partial.rename(place)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return cached()


def _python310(option: Path | None) -> str | Path:
    for python in [option] if option else _candidates():
        if _ask(python, _ASK_PYTHON) == "3.10":  # pyenv's python3.10 is on the PATH even where it does not start
            return python
    got = f"{option}, which is none" if option else "no Python 3.10 with venv"
    raise NoLava(
        f"lava-env: found {got}; Lava {VERSION} needs one: uv python install 3.10, pyenv install 3.10, or conda create "
        f"-n lava python=3.10; then: snn4-agent lava-env --python PATH"
    )


def _candidates() -> Iterator[str | Path]:
    """Places where a Python 3.10 may be."""
    yield sys.executable
    if python := shutil.which("python3.10"):
        yield python
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from sorted(root.glob("versions/3.10*/bin/python"), reverse=True)
    if (uv := shutil.which("uv")) and (found := _output([uv, "python", "find", "3.10"])):
        yield found


def _ask(python: str | Path, question: str) -> str | None:
    """What ``python`` prints; None if it does not start, or fails."""
    return _output([python, "-I", "-c", question])


def _output(command: Sequence[str | Path]) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _do(command: Sequence[str | Path]) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        last = "\n".join(done.stdout.splitlines()[-5:])
        raise CannotGoOn(f"lava-env: {' '.join(map(str, command[:5]))} … ended with {done.returncode}:\n{last}")
