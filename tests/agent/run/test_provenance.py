from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from snn4.agent.run.provenance import commit


def test_the_commit_is_git_s(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    here = Path(__file__).resolve().parent
    git = subprocess.run(["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    monkeypatch.chdir(tmp_path)  # it is the code's, not the current folder's
    if git.returncode == 0:
        assert commit()["commit_hash"] == git.stdout.strip()
        assert isinstance(commit()["commit_dirty"], bool)
    else:
        assert commit() == {"commit_hash": None, "commit_dirty": None}
