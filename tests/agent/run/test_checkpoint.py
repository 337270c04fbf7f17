from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from snn4.agent.run import checkpoint
from snn4.agent.run.checkpoint import Damaged

CONFIG = "name: x\n"
FILES = ("model.safetensors", "learner.safetensors", "state.json", "config.yaml", "manifest.json")


def same(a: Any, b: Any) -> bool:
    """Equal down to the types of keys, of arrays and of their elements; tuples may come back as lists."""
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and np.array_equal(a, b, equal_nan=True)
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


def trained_adam() -> torch.optim.Adam:
    net = nn.Linear(3, 2)
    adam = torch.optim.Adam([{"params": [net.weight], "lr": 0.1}, {"params": [net.bias]}])
    for _ in range(3):
        net(torch.randn(4, 3)).square().mean().backward()
        adam.step()
    return adam


def write(folder: Path, number: int, **more: Any) -> Path:
    model = {"number": number, "weights": torch.full((1000,), number)}
    return checkpoint.save(folder, {"model": model, "learner": {}}, {}, CONFIG, **more)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def sound(folder: Path) -> tuple[str, int, list[str]]:
    """Name and number of the checkpoint that `load` chooses, and what it says about the others."""
    saved = checkpoint.load(folder)
    assert saved is not None
    model = saved.state["model"]
    assert torch.equal(model["weights"], torch.full((1000,), model["number"]))
    return saved.path.name, model["number"], saved.notes


def test_nested_data_come_back_as_they_were(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    base = torch.randn(4, 6)
    model = {
        "tensors": [base, base.t(), base[:, ::2], torch.tensor(2.0), torch.arange(3), torch.zeros(0, 4)],
        "halves": base.to(torch.bfloat16),
        "arrays": {
            "float64": generator.normal(size=(2, 3)), "uint8": generator.integers(0, 255, (2, 3), dtype=np.uint8),
            "bool": np.array([True, False]), "transposed": generator.normal(size=(2, 3)).T,
            "scalar": np.asarray(1.5), "nan": np.array([np.nan, np.inf]),
        },
        "plain": {"none": None, "true": True, "int": 3, "float": 0.1 + 0.2, "inf": float("-inf"), "text": "Grüße/ä"},
        "tuple": (1, ("a", None)),
        "odd/key": {"": {}, "a/b": torch.ones(1), 7: [], -1: "x"},
        "a tensor twice": [base, base],
    }  # fmt: skip
    learner = {"adam": trained_adam().state_dict()}
    about = {"age": 3, "journal": 1000, "fingerprint": {"sums": [1, 2]}}
    path = checkpoint.save(tmp_path, {"model": model, "learner": learner}, about, CONFIG)
    saved = checkpoint.load(tmp_path)
    assert saved is not None
    assert (saved.path, saved.about, saved.notes) == (path, about, [])
    assert saved.place == f"checkpoints/{path.name}"
    assert same({"model": model, "learner": learner}, saved.state)
    assert (path / "config.yaml").read_text() == CONFIG
    assert checkpoint.size(path) == sum(len(file.read_bytes()) for file in path.iterdir())


def test_nothing_is_a_pickle(tmp_path: Path) -> None:
    path = checkpoint.save(
        tmp_path, {"model": {"w": torch.ones(3)}, "learner": {"adam": trained_adam().state_dict()}}, {}, CONFIG
    )
    assert {file.name for file in path.iterdir()} == set(FILES)
    for file in path.iterdir():
        data = file.read_bytes()
        if file.suffix == ".safetensors":
            length = int.from_bytes(data[:8], "little")
            data = data[8 : 8 + length]
        if file.suffix != ".yaml":
            json.loads(data)


def test_the_newest_are_kept(tmp_path: Path) -> None:
    """Copies beside them are nobody's."""
    for number in range(1, 6):
        assert write(tmp_path, number, keep=3).name == f"{number:06d}"
    assert names_in(tmp_path) == ["000003", "000004", "000005"]
    (tmp_path / "000005-backup").mkdir()
    assert sound(tmp_path) == ("000005", 5, [])
    assert write(tmp_path, 6, keep=1).name == "000006"
    assert names_in(tmp_path) == ["000005-backup", "000006"]


def test_an_error_while_writing_leaves_the_earlier_ones(tmp_path: Path) -> None:
    write(tmp_path, 1)
    write(tmp_path, 2)
    with pytest.raises(TypeError):
        checkpoint.save(tmp_path, {"model": {}, "learner": {"no plain data": object()}}, {}, CONFIG, keep=1)
    assert names_in(tmp_path) == ["000001", "000002"]
    assert sound(tmp_path) == ("000002", 2, [])


def test_what_a_killed_process_left_half_written_is_ignored_and_swept_away(tmp_path: Path) -> None:
    partial = write(tmp_path, 1).parent / ".000002.partial"
    partial.mkdir()
    (partial / "model.safetensors").write_bytes(b"half")
    assert sound(tmp_path) == ("000001", 1, [])
    write(tmp_path, 2)
    assert names_in(tmp_path) == ["000001", "000002"]


def test_a_checkpoint_has_no_name_before_it_is_whole(tmp_path: Path) -> None:
    class Slow(dict[str, Any]):
        """Looks at the folder while it is written."""

        def items(self) -> Any:
            seen.append(sorted(path.name for path in tmp_path.glob("0*")))
            return super().items()

    seen: list[list[str]] = []
    write(tmp_path, 1)
    checkpoint.save(tmp_path, {"model": {}, "learner": Slow(x=torch.ones(3))}, {}, CONFIG)
    assert seen == [["000001"]]
    assert names_in(tmp_path) == ["000001", "000002"]


def flip_a_byte(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


DAMAGES = {
    "another byte": flip_a_byte,
    "a byte less": lambda file: file.write_bytes(file.read_bytes()[:-1]),
    "empty": lambda file: file.write_bytes(b""),
    "missing": Path.unlink,
    "a pipe": lambda file: (file.unlink(), os.mkfifo(file)),
    "a device without end": lambda file: (file.unlink(), file.symlink_to("/dev/zero")),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_the_one_before_a_damaged_one_is_used(tmp_path: Path, name: str, damage: Any) -> None:
    write(tmp_path, 1)
    damage(write(tmp_path, 2) / name)
    path, number, (note,) = sound(tmp_path)
    assert (path, number) == ("000001", 1)
    assert "000002" in note
    assert "000001, the one before it, is used" in note
    assert name in note or name == "manifest.json"
    write(tmp_path, 3)  # which looks at the older ones
    assert sound(tmp_path) == ("000003", 3, [])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model.safetensors", b"x"),
        ("model.safetensors", to_bytes({"/weights": torch.ones(1000)})[:-1]),
        ("model.safetensors", to_bytes({"/other": torch.ones(1000)})),
        ("learner.safetensors", b""),
        ("state.json", b"{"),
        ("state.json", b"\xff"),
        ("state.json", b"null"),
        ("state.json", b"[]"),
        ("state.json", b'{"model": {"dict": []}}'),
        ("state.json", b'{"model": {"dict": [3]}, "learner": {"dict": []}}'),
        ("state.json", b'{"model": {"dict": []}, "learner": {"dict": []}, "about": 3}'),
        *(("manifest.json", content) for content in (b"\xff[]", b"null", b"3", b"[3]", b"[]", b"{}")),
    ],
)
def test_damaged_contents_are_noticed_whatever_the_sums(tmp_path: Path, name: str, content: bytes) -> None:
    write(tmp_path, 1)
    newest = write(tmp_path, 2)
    (newest / name).write_bytes(content)
    sums = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in newest.iterdir()}
    if name != "manifest.json":
        (newest / "manifest.json").write_text(json.dumps({file: sums[file] for file in FILES[:-1]}))
    path, number, (note,) = sound(tmp_path)
    assert (path, number) == ("000001", 1)
    assert f"000002: {'incomplete' if name == 'manifest.json' else 'cannot be read'}" in note


def test_all_damaged_is_an_error_that_names_each(tmp_path: Path) -> None:
    for path in [write(tmp_path, 1), write(tmp_path, 2)]:
        flip_a_byte(path / "state.json")
    with pytest.raises(Damaged, match=r"000002.*state\.json.*000001.*state\.json"):
        checkpoint.load(tmp_path)


def test_a_damaged_one_does_not_push_out_a_sound_one(tmp_path: Path) -> None:
    write(tmp_path, 1)
    flip_a_byte(write(tmp_path, 2) / "state.json")
    write(tmp_path, 3, keep=2)
    flip_a_byte(tmp_path / "000003" / "state.json")
    assert sound(tmp_path)[:2] == ("000001", 1)


def test_none_was_ever_written(tmp_path: Path) -> None:
    assert checkpoint.load(tmp_path) is None
    assert checkpoint.load(tmp_path / "missing") is None


THEN = """\
name: x
layers: [4, 8]
threads: 1
variation: null
options: {}
physics: {gravity: 9.8}
"""


@pytest.mark.parametrize(
    ("was", "now", "change"),
    [
        ("threads: 1", "threads: 2", None), ("gravity: 9.8", "gravity: 98e-1", None),
        ("threads: 1", "threads: 1\nlater: {field: 1}", None), ("name: x", "name: y", "name (was 'x', is 'y')"),
        ("[4, 8]", "[4, 9]", "layers.1 (was 8, is 9)"), ("[4, 8]", "[4, 8, 9]", "layers (was 2, is 3)"),
        ("variation: null", "variation: {noise: 0.1}", "variation (was None, is 'settings')"),
        ("options: {}", "options: {balance: class}", "options (was [], is ['balance'])"),
        ("{gravity: 9.8}", "{}", "physics (was ['gravity'], is [])"),
        ("{gravity: 9.8}", "null", "physics (was ['gravity'], is None)"),
    ],
)  # fmt: skip
def test_a_run_goes_on_as_it_began(tmp_path: Path, was: str, now: str, change: str | None) -> None:
    (tmp_path / "config.yaml").write_text(THEN)
    checkpoint.require_unchanged(tmp_path)  # nothing was saved yet
    checkpoint.save(tmp_path / checkpoint.CHECKPOINTS, {"model": {}, "learner": {}}, {}, THEN)
    checkpoint.require_unchanged(tmp_path)
    (tmp_path / "config.yaml").write_text(THEN.replace(was, now))
    if change is None:
        checkpoint.require_unchanged(tmp_path)
        return
    message = re.escape(f"changed since 000001 was written: {change}; allowed are the same settings")
    with pytest.raises(checkpoint.RunChanged, match=message):
        checkpoint.require_unchanged(tmp_path)


def test_adam_goes_on_from_its_saved_state(tmp_path: Path) -> None:
    adam = trained_adam()
    checkpoint.save(tmp_path, {"model": {}, "learner": {"adam": adam.state_dict()}}, {}, CONFIG)
    saved = checkpoint.load(tmp_path)
    assert saved is not None
    weights = [nn.Parameter(p.detach().clone()) for group in adam.param_groups for p in group["params"]]
    again = torch.optim.Adam([{"params": [weights[0]], "lr": 0.1}, {"params": [weights[1]]}])
    again.load_state_dict(saved.state["learner"]["adam"])
    before = [p for group in adam.param_groups for p in group["params"]]
    for old, new in zip(before, weights, strict=True):
        old.grad = torch.ones_like(old)
        new.grad = torch.ones_like(new)
    adam.step()
    again.step()
    assert all(torch.equal(old, new) for old, new in zip(before, weights, strict=True))


def test_a_full_disk_leaves_the_last_checkpoint_intact(tmp_path: Path) -> None:
    write(tmp_path, 1)
    script = """
        import resource, sys
        from pathlib import Path
        import torch
        from snn4.agent.run import checkpoint
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))  # no file may grow beyond 20 kB
        for model in ({"weights": torch.zeros(10_000)}, {"text": "x" * 30_000}):
            try:
                checkpoint.save(Path(sys.argv[1]), {"model": model, "learner": {}}, {}, "name: x")
            except Exception:
                print("not written")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.stdout.split("\n") == ["not written", "not written", ""], done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["000001"]
    assert sound(tmp_path) == ("000001", 1, [])
