"""The side environment is found in a fixed order, or a line says how to get it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from snn4.agent.errors import CannotGoOn
from snn4.agent.export import lava_env
from snn4.agent.export.lava_env import VARIABLE, VERSION, NoLava, cached, find_lava, make_environment


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without Lava and without a Python 3.10."""
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setattr(sys, "executable", str(says(tmp_path / "this", "3.13")))


def says(path: Path, text: str, status: int = 0) -> Path:
    """A program that prints ``text``, whatever it is asked."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho {text}\nexit {status}\n")
    path.chmod(0o755)
    return path


def test_the_option_comes_first_and_the_cache_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NoLava, match=r"found no Python with lava-nc .* snn4-agent lava-env"):
        find_lava()
    says(cached(), VERSION)
    assert find_lava() == cached()
    monkeypatch.setattr(sys, "executable", str(says(tmp_path / "with-lava", VERSION)))
    assert find_lava() == tmp_path / "with-lava"
    monkeypatch.setenv(VARIABLE, str(says(tmp_path / "variable", VERSION)))
    assert find_lava() == tmp_path / "variable"
    option = says(tmp_path / "option", VERSION)
    assert find_lava(option) == option


def test_a_python_that_was_asked_for_must_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    says(cached(), VERSION)
    monkeypatch.setenv(VARIABLE, str(says(tmp_path / "old", "0.9.0")))
    with pytest.raises(NoLava, match=rf"{VARIABLE}: got .*old with lava-nc 0\.9\.0, allowed is .* {VERSION}"):
        find_lava()
    with pytest.raises(NoLava, match=r"--lava-python: got .*/nothing with no lava-nc"):
        find_lava(tmp_path / "nothing")


def test_a_python_3_10_is_tried_before_it_is_used(tmp_path: Path) -> None:
    says(tmp_path / "pyenv" / "versions" / "3.10.9" / "bin" / "python", "3.10", status=127)
    with pytest.raises(NoLava, match=r"found no Python 3\.10 with venv"):
        make_environment()
    with pytest.raises(NoLava, match=r"found .*this, which is none"):
        make_environment(tmp_path / "this")
    assert not cached().exists()


def test_what_cannot_be_installed_leaves_nothing(tmp_path: Path) -> None:
    python = tmp_path / "pyenv" / "versions" / "3.10.9" / "bin" / "python"
    says(python, "3.10")
    with pytest.raises((CannotGoOn, FileNotFoundError)):  # this Python makes no environment
        make_environment()
    assert not list(cached().parents[2].iterdir())


def test_an_environment_that_is_there_is_kept() -> None:
    says(cached(), VERSION)
    assert make_environment() == cached()
    assert lava_env.find_lava() == cached()
