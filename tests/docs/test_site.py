"""The site takes pages and files from outside docs/, and links lead to the same files as on GitHub."""

from __future__ import annotations

import re
import runpy
from typing import Any

import yaml
from doc_pages import ROOT, text_of

import snn4

HOOK = runpy.run_path(str(ROOT / "docs" / "site_hook.py"))


def moved(text: str, page: str) -> Any:
    return HOOK["with_links_of_the_site"](text, page)


def test_links_of_the_first_page() -> None:
    assert moved("[Lives](docs/lives.md#teachers), ![film](docs/cartpole.gif)", "index.md") == (
        "[Lives](lives.md#teachers), ![film](cartpole.gif)"
    )
    assert (
        moved("[日本語](README.ja.md), [how](CONTRIBUTING.md)", "index.md") == "[日本語](ja.md), [how](contributing.md)"
    )


def test_links_out_of_docs() -> None:
    assert moved("[JSON](../benchmarks/results/lava.json)", "export.md") == "[JSON](benchmarks/results/lava.json)"
    assert moved("[first page](../../README.md)", "coming_from/norse.md") == "[first page](../index.md)"


def test_other_links_stay() -> None:
    text = "[a](https://lava-nc.org) [b](#limits) [c](../lives.md) names[0](nothing) [d](no_such_page.md)"
    assert moved(text, "coming_from/norse.md") == text


def test_files_outside_docs_are_found() -> None:
    assert "benchmarks/results/lava.json" in HOOK["linked"](text_of("docs/export.md"), "export.md")


def test_every_page_of_the_reference_names_what_is_there() -> None:
    """mkdocs says so, too, but not every machine has it."""
    for path in (ROOT / "docs" / "reference").glob("*.md"):
        for name in re.findall(r"^::: (\S+)$", path.read_text(encoding="utf-8"), re.MULTILINE):
            assert defined(name), name


def defined(name: str) -> bool:
    """Whether ``name`` is a module, or something that a module defines."""
    *folders, last = name.split(".")[1:]
    if ROOT.joinpath(*folders, f"{last}.py").is_file():
        return True
    module = ROOT.joinpath(*folders)
    file = module / "__init__.py" if module.is_dir() else module.with_suffix(".py")
    return (
        re.search(rf"^(?:class|def) {last}\b|^from .* import {last} as {last}$", file.read_text(encoding="utf-8"), re.M)
        is not None
    )


def test_the_citation_names_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == snn4.__version__
    assert f'license = "{citation["license"]}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
