"""A hook of mkdocs: pages and files outside docs/ are part of the site, and links lead there as they do on GitHub."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

ROOT = Path(__file__).parent.parent
PAGES = {
    "README.md": "index.md",
    "README.ja.md": "ja.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
"""Pages of the site that stand in the repository's root, where GitHub looks for them."""
_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)#\s]+)")


def on_files(files: Any, config: Any) -> Any:
    """Add the pages of `PAGES`, and every other file outside docs/ to which a page links."""
    from mkdocs.structure.files import File

    for source, page in PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    for page in list(files.documentation_pages()):
        text = Path(page.abs_src_path).read_text(encoding="utf-8")
        for target in linked(text, page.src_uri):
            if files.get_file_from_path(site_path(target)) is None and not target.startswith("docs/"):
                files.append(File.generated(config, site_path(target), abs_src_path=str(ROOT / target)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """The page's text with links between the files of the site."""
    return with_links_of_the_site(markdown, page.file.src_uri)


def with_links_of_the_site(text: str, page: str) -> str:
    """``text`` of ``page`` (its path in the site) with links between the files of the site."""

    def moved(link: re.Match[str]) -> str:
        target = in_repository(link[1], page)
        if not (ROOT / target).is_file():
            return link[1]  # mkdocs reports it, unless it stands in code
        return PurePosixPath(os.path.relpath(site_path(target), PurePosixPath(page).parent)).as_posix()

    return _LINK.sub(moved, text)


def linked(text: str, page: str) -> Iterator[str]:
    """The files of the repository to which ``text`` of ``page`` links, as paths in the repository."""
    targets = (in_repository(link, page) for link in _LINK.findall(text))
    return (target for target in targets if (ROOT / target).is_file())


def in_repository(link: str, page: str) -> str:
    """The path in the repository to which ``link`` leads from ``page``."""
    source = next((source for source, place in PAGES.items() if place == page), f"docs/{page}")
    return os.path.normpath(PurePosixPath(source).parent / link)


def site_path(path: str) -> str:
    """The path in the site of a file of the repository."""
    return PAGES.get(path, path.removeprefix("docs/"))
