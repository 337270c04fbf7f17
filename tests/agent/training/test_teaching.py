"""Trainings with a teacher: the network and the twin of another training on the same digits."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pages import Page
from run_folders import events_in, only, read, untimed
from safetensors.torch import load_file, save_file
from stories import Story
from trainings import at, begin, training_of

from snn4.agent import command_configs, kinds, runner
from snn4.agent.evaluation.accuracy import recognize
from snn4.agent.evaluation.shown import InOrder
from snn4.agent.models.files import read_about, save_model
from snn4.agent.models.sources import open_model
from snn4.agent.run.events import Ended, Noted, Saved
from snn4.agent.training import answers
from snn4.agent.training.config import TrainingConfig
from snn4.agent.training.training import Training
from snn4.learners.teachers import Teacher
from snn4.policies.networks.architectures import make_architecture

Cli = Callable[..., Any]
Distilled = Callable[..., TrainingConfig]
BATCHES = 5
"""Of an epoch; there are two, for each of two students."""
INSIDE = ("teacher.features=0.5", "teacher.blur=0.2", "teacher.steps=0.1")
"""Losses for which a projection learns."""
REMEMBERED = ("data.augmentation=none", "data.pad=null", "training.mixup=0")
"""Images that are the same in every epoch."""


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of all data sets."""
    monkeypatch.setenv("SNN4_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def distilled(digits: Distilled, trained: Path) -> Distilled:
    return lambda *overrides: digits(f"teacher={{source: {trained}}}", *overrides)


def weights(story: Story) -> dict[str, torch.Tensor]:
    """The last ones of both students."""
    last = {model.name: model.weights for model in story.models}
    return {f"{name}.{key}": x for name, tensors in last.items() for key, x in tensors.items()}


def assert_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(x, other[name]) for name, x in one.items())


def answers_in(root: Path) -> list[Path]:
    return sorted((root / ".snn4-cache" / "teachers").glob("*"))


# To its end


def test_a_teacher_changes_what_both_students_learn(
    distilled: Distilled, digits: Distilled, trained: Path, tmp_path: Path
) -> None:
    plain = {
        f"{name}.{key}": x
        for name in ("model", "ann_twin")
        for key, x in load_file(trained / f"{name}.safetensors").items()
    }
    (both := begin(distilled(), tmp_path)).tell()
    (one := begin(distilled("teacher.twin=false"), tmp_path)).tell()
    changed = {name.partition(".")[0] for name, x in weights(both).items() if not torch.equal(x, plain[name])}
    assert changed == {"model", "ann_twin"}
    changed = {name.partition(".")[0] for name, x in weights(one).items() if not torch.equal(x, plain[name])}
    assert changed == {"model"}
    labels = begin(digits("teacher={labels: 1.0, logits: 0, steps: 1e-30}"), tmp_path)
    labels.tell()
    assert_equal(weights(labels), plain)


def test_the_teacher_is_tested_beside_its_pupils(cli: Cli, digits_yaml: Path, trained: Path, tmp_path: Path) -> None:
    two = ["--teacher", trained, "--teacher", trained / "model.safetensors"]
    result = cli("distill", digits_yaml, "training.epochs=1", *two, "--runs-dir", tmp_path / "runs")
    assert (result.status, result.err) == (0, "")
    folder = only(tmp_path / "runs")
    summary = read(folder / "summary.json")
    config = kinds.load(folder / "config.yaml")[1]
    data = training_of(begin(config, tmp_path)).data
    teacher = Teacher([open_model(str(source))[0] for source in (two[1], two[3])])
    expected = recognize(teacher, InOrder(data.test), 10).top1[-1]
    assert summary["teacher"]["sources"] == [str(two[1]), str(two[3])] == summary["config"]["teacher"]["source"]
    assert summary["teacher"]["top1_accuracy"] == expected == summary["teacher"]["indicators"]["top1_accuracy"]
    assert summary["teacher"]["indicators"]["parameters"] == sum(p.numel() for p in teacher.parameters())
    assert len(summary["indicators"]) == 4
    line = f"teacher: {two[1]}, {two[3]}, top-1 {100 * expected:.2f} %"
    assert "".join(line.split()) in "".join(result.out.split())
    reader = Page((folder / "report.html").read_text())
    assert line in reader.texts
    assert "teacher fp32" in reader.cells
    (note,) = (event.text for event in events_in(folder) if isinstance(event, Noted) and "teacher" in event.text)
    assert note == f"teacher: {two[1]}, {two[3]}, in float32 as the network"


def test_distill_is_run_with_a_teacher(cli: Cli, digits_yaml: Path, trained: Path, tmp_path: Path) -> None:
    for number, command in enumerate((["distill", "--teacher", trained], ["run", f"teacher.source={trained}"])):
        name, *rest = command
        assert (
            cli(name, digits_yaml, *rest, "training.epochs=1", "-q", "--runs-dir", tmp_path / str(number)).status == 0
        )
    one, other = (untimed(read(only(tmp_path / name) / "summary.json")) for name in "01")
    assert one == other


def test_a_run_is_evaluated_without_its_teacher(cli: Cli, digits: Distilled, trained: Path, tmp_path: Path) -> None:
    gone = shutil.copytree(trained, tmp_path / "gone")
    config = digits(f"teacher={{source: {gone}}}", "training.epochs=1")
    runner.begin(kinds.named("training"), config, tmp_path / "runs", quiet=True)
    shutil.rmtree(gone)
    folder = only(tmp_path / "runs")
    result = cli("evaluate", folder, "--json")
    assert result.status == 0
    assert cli("report", folder).status == 0
    assert "learned from: " in cli("world", folder).out


# Interruptions


@pytest.mark.parametrize("batch", [3, BATCHES, 2 * BATCHES + 2])
def test_a_training_that_was_stopped_ends_as_one_that_was_not(distilled: Distilled, tmp_path: Path, batch: int) -> None:
    (whole := begin(distilled(*INSIDE), tmp_path / "whole")).tell()
    before = begin(distilled(*INSIDE), tmp_path / "broken").tell(at(batch))
    assert before[-1] == Ended("interrupted", 32 * batch)
    torch.manual_seed(1234)  # another process has other random numbers
    resumed = begin(distilled(*INSIDE), tmp_path / "broken")
    assert resumed.restore() is not None
    assert resumed.tell()[-1] == Ended("finished", 640)
    assert_equal(weights(resumed), weights(whole))


def test_another_teacher_is_not_taken_for_the_first(distilled: Distilled, trained: Path, tmp_path: Path) -> None:
    begin(distilled(), tmp_path).tell(at(3))
    folder = shutil.copytree(trained, tmp_path / "moved")
    same, other = begin(distilled(f"teacher.source={folder}"), tmp_path), folder / "ann_twin.safetensors"
    weights = load_file(other)
    save_model(other, {**weights, "network.0.weight": -weights["network.0.weight"]}, read_about(other))
    changed = begin(distilled(f"teacher.source={folder}"), tmp_path)
    first = begin(distilled(), tmp_path).work.fingerprint
    assert first == same.work.fingerprint
    assert first != changed.work.fingerprint
    assert {key for key in first if first[key] != changed.work.fingerprint[key]} == {"teacher"}


def test_the_teacher_of_a_run_may_move_but_not_change(
    cli: Cli, digits_yaml: Path, trained: Path, tmp_path: Path, start: Callable[..., Any]
) -> None:
    teacher = shutil.copytree(trained, tmp_path / "teacher")
    kind, config = command_configs.read_config(str(digits_yaml), [f"teacher.source={teacher}"], {})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Training, "_test", lambda self: (_ for _ in ()).throw(RuntimeError("killed")))
        with pytest.raises(RuntimeError, match="killed"):
            runner.begin(kind, config, tmp_path / "runs", quiet=True)
    folder = only(tmp_path / "runs")
    teacher.rename(tmp_path / "moved")
    assert f"{teacher}: no such file or folder" in cli("resume", folder).err
    text = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(text.replace(str(teacher), str(tmp_path / "moved")))
    file = tmp_path / "moved" / "ann_twin.safetensors"
    sound, about = load_file(file), read_about(file)
    save_model(file, {**sound, "network.0.weight": -sound["network.0.weight"]}, about)
    assert "'teacher': " in cli("resume", folder).err
    save_model(file, sound, about)
    assert cli("resume", folder, "-q") == (0, "", "")


# Answers that are kept


def test_answers_are_those_that_the_teacher_gives(distilled: Distilled, tmp_path: Path, root: Path) -> None:
    story = begin(distilled(*REMEMBERED), tmp_path)
    work = training_of(story)
    story.tell(at(BATCHES + 2))
    assert work.teaching is not None
    assert work.teaching.teacher is not None
    learner = work._newborn(work.students[0])
    batches = [*learner.batches(0, 0), *learner.batches(1, 3)]
    assert len(batches) == BATCHES + 2
    for x, _, given in batches:
        torch.testing.assert_close(given, work.teaching.teacher.logits(x), rtol=1e-5, atol=1e-5)
    (file,) = answers_in(root)
    assert load_file(file)["logits"].shape == (1, 160, 10)


def test_a_pupil_learns_the_same_from_answers_that_were_kept(
    distilled: Distilled, tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first := begin(distilled(*REMEMBERED), tmp_path / "first")).tell()
    (file,) = answers_in(root)
    with monkeypatch.context() as patch:
        patch.setattr(Teacher, "logits", lambda *_: pytest.fail("asked again"))
        patch.setattr(Training, "_test", lambda self: iter(()))
        (second := begin(distilled(*REMEMBERED), tmp_path / "second")).tell()
    assert_equal(weights(second), weights(first))
    file.write_bytes(file.read_bytes()[:100])  # damaged: it asks again
    (third := begin(distilled(*REMEMBERED), tmp_path / "third")).tell()
    assert_equal(weights(third), weights(first))
    assert answers_in(root) == [file]
    assert load_file(file)["logits"].shape == (1, 160, 10)


def test_a_disk_that_takes_nothing(
    distilled: Distilled, tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first := begin(distilled(*REMEMBERED), tmp_path / "first")).tell()
    shutil.rmtree(root)
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    teaching = training_of(story := begin(distilled(*REMEMBERED), tmp_path / "second")).teaching
    assert teaching is not None
    assert teaching.remember(training_of(story).fabric, lambda: False)
    assert answers_in(root) == []
    assert teaching.answers is not None
    assert torch.equal(teaching.answers, training_of(first).teaching.answers)  # type: ignore[union-attr, arg-type]


def test_a_training_that_is_stopped_while_the_teacher_answers(distilled: Distilled, tmp_path: Path, root: Path) -> None:
    (whole := begin(distilled(*REMEMBERED), tmp_path / "whole")).tell()
    shutil.rmtree(root)
    events = begin(distilled(*REMEMBERED), tmp_path / "broken").tell(at(1))
    assert isinstance(events[-2], Saved)
    assert events[-1] == Ended("interrupted", 0)
    assert answers_in(root) == []
    broken = begin(distilled(*REMEMBERED), tmp_path / "broken")
    broken.restore()
    assert broken.tell(at(BATCHES + 3))[-1] == Ended("interrupted", 96)
    shutil.rmtree(root)  # also where the answers are lost between two parts of an epoch
    again = begin(distilled(*REMEMBERED), tmp_path / "broken")
    again.restore()
    assert again.tell(at(1))[-1] == Ended("interrupted", 96)
    resumed = begin(distilled(*REMEMBERED), tmp_path / "broken")
    resumed.restore()
    assert resumed.tell()[-1] == Ended("finished", 640)
    assert_equal(weights(resumed), weights(whole))


@pytest.mark.parametrize(
    "changes",
    [("data.augmentation=crop",), ("training.mixup=0.2",), ("training.cutmix=0.2",), ("data.erase=2",), INSIDE],
    ids=str,
)
def test_images_that_change_are_not_remembered(
    distilled: Distilled, tmp_path: Path, root: Path, changes: tuple[str, ...]
) -> None:
    begin(distilled(*REMEMBERED, *changes), tmp_path).tell(at(2))
    assert answers_in(root) == []


def test_answers_are_known_by_all_that_they_depend_on(distilled: Distilled, trained: Path, tmp_path: Path) -> None:
    cpu = torch.device("cpu")
    changes = [
        (), ("data.limit=150",), ("data.mean=[0.1]", "data.std=[0.2]"), ("data.bit_depth=4",),
        (f"teacher.source={trained}/model.safetensors",), ("fabric.precision=bf16-mixed",), ("training.batch_size=16",),
    ]  # fmt: skip
    works = [
        training_of(begin(distilled(*REMEMBERED, *change), tmp_path))
        for change in changes
        if "image_size" not in str(change)
    ]
    places = [work.teaching.place(cpu) for work in works if work.teaching is not None]
    assert len(set(places)) == len(places) == len(changes)
    same = training_of(begin(distilled(*REMEMBERED, "seed=5", "training.epochs=7", "teacher.temperature=2"), tmp_path))
    assert same.teaching is not None
    assert same.teaching.place(cpu) == places[0]


def test_two_processes_may_keep_the_same_answers(tmp_path: Path) -> None:
    path, logits = tmp_path / "teachers" / "x.safetensors", torch.randn(2, 5, 3)
    assert answers.read(path, (2, 5, 3)) is None
    (tmp_path / "teachers").mkdir()
    (tmp_path / "teachers" / ".x.safetensors.left").write_bytes(b"killed")
    assert answers.keep(path, logits)
    assert answers.keep(path, logits)
    found = answers.read(path, (2, 5, 3))
    assert found is not None
    assert torch.equal(found, logits)
    assert answers.read(path, (2, 5, 4)) is None
    save_file({"logits": logits * torch.nan}, path)
    assert answers.read(path, (2, 5, 3)) is None


# Teachers that cannot teach


def refused(cli: Cli, digits_yaml: Path, tmp_path: Path, *arguments: str | Path) -> str:
    """The one line that is shown before there is a run folder."""
    result = cli("distill", digits_yaml, *arguments, "--runs-dir", tmp_path / "runs")
    assert (result.status, result.out) == (2, "")
    assert not (tmp_path / "runs").exists()
    (line,) = result.err.splitlines()
    return str(line)


class Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("sprung",)


def test_files_that_are_no_teacher(
    cli: Cli, digits_yaml: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file, named = tmp_path / "theirs.pt", ("teacher.architecture=resnet-20-a", "--teacher", tmp_path / "theirs.pt")
    torch.save({"state_dict": Trap()}, file)
    assert refused(cli, digits_yaml, tmp_path, *named).startswith(f"{file}: refused: it holds posix.mkdir")
    assert not Path("sprung").exists()
    for classes, channels, problem in (
        (7, 1, f"{file}: has 7 classes, allowed are 10, those of the data"),
        (10, 3, f"{file}: has 3 channels, allowed are 1, those of the data"),
    ):
        torch.save(make_architecture("resnet-20-a", classes, channels).state_dict(), file)
        assert refused(cli, digits_yaml, tmp_path, *named) == problem
    weights = make_architecture("resnet-20-a", 10, 1).state_dict()
    torch.save({**weights, "linear.bias": torch.full((10,), torch.nan)}, file)
    assert refused(cli, digits_yaml, tmp_path, *named).startswith(f"{file}: linear.bias holds NaN or infinity")
    weights.pop("linear.bias")
    torch.save(weights, file)
    assert refused(cli, digits_yaml, tmp_path, *named) == f"{file}: does not fit resnet-20-a: linear.bias is missing"
    assert "/nowhere: no such file or folder; allowed are" in refused(
        cli, digits_yaml, tmp_path, "--teacher", "/nowhere"
    )
    assert "zoo:none: no such model" in refused(cli, digits_yaml, tmp_path, "--teacher", "zoo:none")


def test_images_of_another_size(cli: Cli, digits_yaml: Path, trained: Path, tmp_path: Path) -> None:
    line = refused(cli, digits_yaml, tmp_path, "--teacher", trained, "data.image_size=10")
    assert line.startswith(f"{trained}: cannot take the data's images of (1, 10, 10): x: got images of (10, 10)")


@pytest.mark.parametrize(
    ("changes", "message"),
    [(["teacher.features=1", "teacher.pupil_layer=layer9"], "teacher.pupil_layer: got 'layer9', allowed are network"),
     (["teacher.attention=1"], "teacher.attention: the pupil has no attention maps"),
     (["teacher.features=1", "training.checkpoint_steps=1"], "training.checkpoint_steps: not allowed with"),
     (["teacher.steps=1", "network.T=1"], "teacher.steps: got 1.0 with one inner step"),
     (["teacher.logits=0"], "teacher.source: got '"), (["teacher.mean=[0.5]"], "teacher.std: got None, allowed are as"),
     (["teacher.architecture=[a, b]"], "teacher.architecture: got 2 for 1 sources"),
     (["teacher.logit=1"], "teacher.logit: unknown key; did you mean logits?"),
     (["teacher.mean=[0.5, 0.5]", "teacher.std=[1, 1]"], "got 2 numbers, allowed are 1, one per channel")],
)  # fmt: skip
def test_lessons_that_cannot_be_given(
    cli: Cli, digits_yaml: Path, trained: Path, tmp_path: Path, changes: list[str], message: str
) -> None:
    assert message in refused(cli, digits_yaml, tmp_path, *changes, "--teacher", trained)


def test_a_teacher_is_missing(cli: Cli, digits_yaml: Path, tmp_path: Path) -> None:
    assert "teacher.source: got no teacher, allowed are the folder" in refused(cli, digits_yaml, tmp_path, "teacher={}")
    assert "teacher.source: got an empty name" in refused(cli, digits_yaml, tmp_path, "--teacher", "")


def test_streams_have_no_teacher(cli: Cli, stream_yaml: Path, tmp_path: Path) -> None:
    assert refused(cli, stream_yaml, tmp_path, "--teacher", "x") == "--teacher: not allowed for a stream; leave it out"
