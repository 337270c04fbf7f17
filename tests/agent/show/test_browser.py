"""Reports in a real browser: they fit on a phone, and are readable in light and dark."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from run_folders import only

from snn4.agent import runner
from snn4.agent.life import kind

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PHONE = (390, 844)
"""Pixels."""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="needs chromium on the PATH"),
]


@pytest.fixture(scope="module")
def page(tiny: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    runner.begin(kind, tiny("world.0.steps=128", "ann_twin=true"), runs, quiet=True)  # type: ignore[arg-type]
    return only(runs) / "report.html"


def browse(page: Path, *options: str) -> str:
    assert BROWSER is not None
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", *options, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def test_nothing_is_wider_than_a_phone(page: Path, tmp_path: Path) -> None:
    """Wide tables scroll inside their own box. A frame is as narrow as a phone, which windows cannot be."""
    frame = (
        f'<iframe id="f" src="{page.as_uri()}" style="width:{PHONE[0]}px;height:{PHONE[1]}px;border:0"></iframe>'
        "<script>f.onload = () => { const page = f.contentDocument; document.title = "
        '`${page.documentElement.scrollWidth} ${page.querySelectorAll("svg").length}` }</script>'
    )
    (tmp_path / "frame.html").write_text(f"<!DOCTYPE html><title>?</title>{frame}")
    dom = browse(tmp_path / "frame.html", "--allow-file-access-from-files", "--virtual-time-budget=5000", "--dump-dom")
    found = re.search(r"<title>(\d+) (\d+)</title>", dom)
    assert found is not None, dom[:500]
    assert (int(found[1]), int(found[2]) >= 4) == (PHONE[0], True)


@pytest.mark.parametrize(("scheme", "is_dark"), [("light", False), ("dark", True)])
def test_light_and_dark(page: Path, tmp_path: Path, scheme: str, is_dark: bool) -> None:
    """The paper has the scheme of the browser, and the ink is far from it."""
    picture = tmp_path / "page.png"
    options = ["--force-dark-mode", "--enable-features=WebContentsForceDark:0"] if is_dark else []
    browse(page, *options, f"--blink-settings=preferredColorScheme={0 if is_dark else 1}",
           f"--window-size={PHONE[0]},{PHONE[1]}", f"--screenshot={picture}")  # fmt: skip
    with Image.open(picture) as shot:
        grey = np.asarray(shot.convert("L"), float)
    paper = np.median(grey)
    assert (paper < 80, paper > 200) == (is_dark, not is_dark)
    assert np.ptp(grey) > 150
