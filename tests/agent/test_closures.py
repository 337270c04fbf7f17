"""How much of the repository, and which libraries, importing one module drags in."""

from __future__ import annotations

import subprocess
import sys

import pytest

COUNT = """
import sys, {entry}
modules = [module for name, module in sys.modules.items() if name.startswith("snn4.")]
print(sum(not module.__file__.endswith("__init__.py") for module in modules))
print(*{{name.partition(".")[0] for name in sys.modules}})
"""


@pytest.mark.parametrize(
    ("entry", "files", "without"),
    [
        ("snn4.agent.config.file", 4, {"torch", "stable_baselines3", "gymnasium"}),
        ("snn4.agent.run.journal", 10, {"torch", "stable_baselines3", "pydantic"}),
        ("snn4.policies.sb3", 31, {"avalanche"}),
        ("snn4.agent.training.kind", 101, {"stable_baselines3", "avalanche"}),
    ],
)
def test_files_and_libraries(entry: str, files: int, without: set[str]) -> None:
    script = COUNT.format(entry=entry)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    number, libraries = done.stdout.splitlines()
    assert int(number) <= files
    assert not without & set(libraries.split())
