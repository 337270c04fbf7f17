"""The target ``c``: one file of C99."""

from __future__ import annotations

from pathlib import Path

from snn4.agent.export.integers import integers_of
from snn4.agent.export.normalizing import input_normalization
from snn4.agent.export.source import Source
from snn4.agent.models.files import ModelError
from snn4.policies.export.c import c_source


def write_c(source: Source, out: Path, bits: int = 8) -> None:
    """Write ``source`` in integers into the new file ``out``, completely or not at all.

    Args:
        bits: of a weight.

    Raises:
        ModelError: ``out`` is no name of a C file, or the integers cannot do it; the message names the layer.
        NotExportable: C cannot do it; the message names the layer.
    """
    if out.suffix != ".c":
        raise ModelError(f"-o: got {out}, allowed with --target c is a file NAME.c")
    text = c_source(integers_of(source, bits), source.name, input_normalization(source))
    partial = out.with_name(f".{out.name}.partial")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text, encoding="utf-8")
        partial.replace(out)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
