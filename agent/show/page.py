"""A page: one self-contained HTML file, light or dark as the browser is set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from snn4.policies.metering.energy import ENERGY_MODELS

_STYLE = """
:root { color-scheme: light dark; font-family: system-ui, sans-serif; }
body { background: Canvas; color: CanvasText; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; line-height: 1.5; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid #8886; padding: .3rem .7rem; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
figure { display: inline-block; vertical-align: top; margin: .5rem 1rem .5rem 0; max-width: 100%; }
figure svg { max-width: 100%; height: auto; }
figcaption { opacity: .75; }
"""


def write_page(path: Path, title: str, sections: Iterable[str]) -> None:
    """Write a page to ``path``, completely or not at all; an error leaves an earlier file as it was."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(_page(title, "\n".join(sections)), encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _page(title: str, body: str) -> str:
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n<h1>{escape(title)}</h1>\n{body}\n</body>\n</html>\n"
    )


def energy_sources() -> str:
    """A list of the energy models with the sources of their figures."""
    items = "".join(f"<li>{escape(name)}: {escape(model.source)}</li>" for name, model in ENERGY_MODELS.items())
    return f"<ul>{items}</ul>"


def heading(text: str) -> str:
    """The heading of a section."""
    return f"<h2>{escape(text)}</h2>"


def paragraph(text: str) -> str:
    """A paragraph of plain text."""
    return f"<p>{escape(text)}</p>"


def html_table(rows: Sequence[Sequence[str]]) -> str:
    """The first row names the columns."""
    header, *body = rows
    lines = "".join(f"<tr>{_cells('td', row)}</tr>" for row in body)
    return f'<div class="wide"><table><tr>{_cells("th", header)}</tr>{lines}</table></div>'


def figure(svg: str, caption: str) -> str:
    """A picture with a caption."""
    return f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>"


def _cells(tag: str, row: Sequence[str]) -> str:
    return "".join(f"<{tag}>{escape(text)}</{tag}>" for text in row)
