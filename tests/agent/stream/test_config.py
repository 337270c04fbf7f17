from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from config_problems import assert_problems, by_key


def test_all_problems_at_once(stream_yaml: Path) -> None:
    expected = {
        "stream.data.name": ["got 'digit'", "did you mean digits?"],
        "stream.senario": ["unknown key", "did you mean scenario?"],
        "strategy.name": ["got 'reply'", "did you mean replay?"],
        "training.epochs": ["got 0", ">= 1"],
        "training.optimizer": ["got 'adam'", "'adamw' or 'sgd'"],
        "network.name": ["got 'vgg'", "vgg-small"],
        "evaluate_on": ["got 'train'", "'test' or 'validation'"],
    }
    assert_problems(
        expected, stream_yaml, "stream.data.name=digit", "stream.senario=task", "strategy.name=reply",
        "training.epochs=0", "training.optimizer=adam", "network.name=vgg", "evaluate_on=train",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("overrides", "key", "message"),
    [(["stream.classes=[[0, 1], [1, 2], [3, 4]]"], "stream.classes", "class 1 twice"),
     (["stream.classes=[[0, 1], [2, 3], [4, 11]]"], "stream.classes", "got 11"),
     (["stream.classes=null", "stream.experiences=20"], "stream.experiences", "1 to 10, the classes of digits"),
     (["stream.classes=null", "stream.experiences=3"], "stream.experiences", "allowed are 1, 2, 5, 10"),
     (["stream.shift=rotate"], "stream.shift", "not allowed with scenario: class; set scenario: domain"),
     (["stream.classes=null", "stream.scenario=domain", "stream.shift=permute", "stream.data.augmentation=crop"],
      "stream.data.augmentation", "crop is not allowed with shift: permute"),
     (["strategy.name=task-gates"], "strategy", "needs task labels; set scenario: task"),
     (["strategy.options={alpha: 1}"], "strategy.options", "got 'alpha'"),
     (["strategy.memory=0"], "strategy.memory", "got 0")],
)  # fmt: skip
def test_what_cannot_be_lived(stream_yaml: Path, overrides: list[str], key: str, message: str) -> None:
    problems = by_key(stream_yaml, *overrides)
    assert list(problems) == [key]
    assert message in problems[key]


def test_configs_are_read_without_avalanche(stream_yaml: Path) -> None:
    script = "import sys; from snn4.agent import kinds; kinds.load(sys.argv[1])\nprint('avalanche' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script, stream_yaml], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
