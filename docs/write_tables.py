"""Writes the tables of the pages below from the published results: python docs/write_tables.py"""

from __future__ import annotations

import io
import json
import re
import shlex
import sys
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path
from unittest.mock import patch

from snn4.benchmarks import speed
from snn4.benchmarks.cli import app

DOCS = Path(__file__).parent
PAGES = ("compression.md", "loihi.md", "results.md", "speed.md")
_TABLE = re.compile(r"(<!-- begin: (.*?) -->\n).*?(<!-- end -->)", re.DOTALL)


def written(page: str) -> str:
    """The text of a page with its tables as they are now."""
    return _TABLE.sub(lambda table: f"{table[1]}\n{_printed(table[2])}\n\n{table[3]}", page)


def _printed(source: str) -> str:
    """What a command prints, or the table of a result file."""
    if source.endswith(".json"):
        return speed.table(json.loads((DOCS.parent / source).read_text(encoding="utf-8"))["rows"])
    program, *arguments = shlex.split(source)
    with redirect_stdout(io.StringIO()) as out:
        if program == "snn4-agent":
            app(arguments, standalone_mode=False)
        else:
            _, module, *options = arguments
            with patch.object(sys, "argv", [module, *options]):
                import_module(module).main()
    return out.getvalue().strip()


if __name__ == "__main__":
    for name in PAGES:
        path = DOCS / name
        path.write_text(written(path.read_text(encoding="utf-8")), encoding="utf-8")
