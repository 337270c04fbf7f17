"""The code on the pages for people who come from another library runs, and its assertions hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from doc_pages import ROOT, code_of

FOLDER = "docs/coming_from"
LIBRARIES = {
    "avalanche": "avalanche",
    "norse": "norse",
    "snntorch": "snntorch",
    "spikingjelly": "spikingjelly",
    "stable_baselines3": "stable_baselines3",
}


def test_every_page_is_tested() -> None:
    assert sorted(LIBRARIES) == sorted(path.stem for path in (ROOT / FOLDER).glob("*.md"))


@pytest.mark.parametrize("page", LIBRARIES)
@pytest.mark.filterwarnings("ignore")  # of other libraries
def test_code_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(LIBRARIES[page], exc_type=ImportError)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in code_of(f"{FOLDER}/{page}.md", "python"):
        exec(compile(block, f"{page}.md", "exec"), names)
