from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from snn4.agent.show.page import heading, html_table, write_page


def test_what_it_says_is_text(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_page(path, "a & <b>", [heading("<h>"), html_table([["<th>", '"'], ["<td>", "&"]])])
    page = path.read_text(encoding="utf-8")
    assert page.count("a &amp; &lt;b&gt;") == 2  # the title, and above the page
    for text in ("<h2>&lt;h&gt;</h2>", "<th>&lt;th&gt;</th>", "<td>&lt;td&gt;</td><td>&amp;</td>"):
        assert text in page
    assert list(tmp_path.iterdir()) == [path]


def test_a_page_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")

    def full(self: Path, *_: Any, **__: Any) -> None:
        self.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space"):
        write_page(path, "x", [])
    assert (path.read_text(), list(tmp_path.iterdir())) == ("old", [path])
