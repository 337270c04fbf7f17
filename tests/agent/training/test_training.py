from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from run_folders import events_in, read
from safetensors.torch import load_file
from stories import Story, of
from trainings import at, begin, training_of

from snn4.agent.evaluation.accuracy import recognize
from snn4.agent.evaluation.shown import InOrder
from snn4.agent.models.files import read_about
from snn4.agent.run.beings import ANN_TWIN, NETWORK
from snn4.agent.run.checkpoint import RunChanged, load, size
from snn4.agent.run.events import Began, Compared, Ended, Evaluated, Event, Learned, Saved
from snn4.agent.training import training as module
from snn4.agent.training.config import TrainingConfig
from snn4.agent.training.students import data_and_students
from snn4.learners.not_finite import NotFinite

Digits = Callable[..., TrainingConfig]
BATCHES = 5
"""Of an epoch; there are two, for each of two students."""
MODELS = ("model", "ann_twin")


def go_on(config: TrainingConfig, folder: Path) -> tuple[list[Event], str | None, Story]:
    """What happens in a training that is resumed, and where from."""
    torch.manual_seed(1234)  # another process has other random numbers
    story = begin(config, folder)
    where = story.restore()
    return story.tell(), where, story


def weights(models: Any) -> list[dict[str, torch.Tensor]]:
    """The last ones of each name, in a story or a run folder."""
    if isinstance(models, Path):
        return [load_file(models / f"{name}.safetensors") for name in MODELS]
    last = {model.name: model.weights for model in models.models}
    return [last[name] for name in MODELS]


def assert_equal(models: Any, other: Any) -> None:
    for weight, other_weight in zip(weights(models), weights(other), strict=True):
        assert weight.keys() == other_weight.keys()
        assert all(torch.equal(value, other_weight[name]) for name, value in weight.items())


def validations(events: list[Event]) -> list[Evaluated]:
    return of(Evaluated, events, part="validation")


def top1(event: Evaluated) -> float:
    return float(event.scores["digits"]["return_mean"])


@pytest.fixture(scope="module")
def story(trained: Path) -> list[Event]:
    return events_in(trained)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report, and a checkpoint, after every batch."""
    monkeypatch.setattr(module, "REPORT_EVERY", 0.0)
    monkeypatch.setattr(module, "SAVE_EVERY", 0.0)


# A training to its end


def others(events: list[Event]) -> list[Event]:
    """All but pieces of learning, which are as many as the machine is slow."""
    return [event for event in events if not isinstance(event, Learned)]


def test_the_story(story: list[Event]) -> None:
    began, *rest, ended = others(story)
    tasks: Any = [{"environment": "digits", "steps": 320}]
    assert isinstance(began, Began)
    assert began == Began("tiny-digits", 0, tasks, began.genome, [NETWORK, ANN_TWIN], unit="images", measure="accuracy")
    assert [type(event) for event in rest] == [*[Evaluated, Saved] * 4, Evaluated, Evaluated, Compared]
    assert [(e.being, e.number, e.part) for e in of(Evaluated, story)] == [
        *((name, epoch, "validation") for name in (NETWORK, ANN_TWIN) for epoch in (1, 2)),
        (NETWORK, 2, "test"), (ANN_TWIN, 2, "test"),
    ]  # fmt: skip
    assert [event.age for event in of(Saved, story)] == [160, 320, 480, 640]
    assert ended == Ended("finished", 640)


def test_pieces_of_learning_add_up(story: list[Event]) -> None:
    for name in (NETWORK, ANN_TWIN):
        pieces = of(Learned, story, being=name)
        assert [piece.step for piece in pieces] == sorted({piece.step for piece in pieces})
        assert (pieces[-1].step, pieces[-1].epoch, {piece.steps for piece in pieces}) == (320, 2, {320})
    assert of(Learned, story)[-1].age == 640


def test_the_best_weights_are_kept(digits: Digits, story: list[Event], trained: Path) -> None:
    data, students = data_and_students(digits())
    for student, name in zip(students, MODELS, strict=True):
        epochs = of(Evaluated, story, being=student.name, part="validation")
        best = max(epochs, key=lambda event: (top1(event), event.number))
        assert [event for event in epochs if event.best][-1] == best
        path = trained / f"{name}.safetensors"
        student.network.load_state_dict(load_file(path))
        accuracy = recognize(student.network, InOrder(data.validation), 10)
        assert accuracy.top1[-1] == top1(best)
        about = read_about(path)
        assert (about["epoch"], about["top1_validation"]) == (best.number, top1(best))
        sizes = about["data"], about["in_channels"], about["image_size"], about["n_classes"]
        assert sizes == ("digits", 1, [8, 8], 10)
        assert about["classes"] == data.classes == list("0123456789")


def test_students_end_with_their_best_weights(digits: Digits, tmp_path: Path) -> None:
    story = begin(digits("ann_twin=false"), tmp_path)
    (student,) = training_of(story).students
    events: list[Event] = []
    for event in story.events():
        events.append(event)
        if isinstance(event, Saved) and event.age == 160:
            first = {name: value.clone() for name, value in student.best["weights"].items()}
            student.best["top1"] = 1.1  # what follows cannot be better
    assert [event.best for event in validations(events)] == [True, False]
    for weights in (student.network.state_dict(), story.models[-1].weights):
        assert all(torch.equal(weights[name], value) for name, value in first.items())


# Interruptions


@pytest.mark.parametrize("batch", [1, BATCHES, 2 * BATCHES, 2 * BATCHES + 2])
def test_a_training_that_was_stopped_ends_as_one_that_was_not(
    digits: Digits, story: list[Event], trained: Path, tmp_path: Path, batch: int
) -> None:
    """After so many batches: inside an epoch, between two, between students."""
    broken = begin(digits(), tmp_path)
    before = broken.tell(at(batch))
    assert isinstance(before[-2], Saved)
    assert before[-1] == Ended("interrupted", batch * 32) == Ended("interrupted", broken.work.age)
    assert not broken.work.finished
    events, where, resumed = go_on(digits(), tmp_path)
    assert where == before[-2].path
    assert isinstance(events[0], Began)
    assert (events[0].age, events[0].resumed) == (batch * 32, True)
    assert events[-1] == story[-1]
    assert validations(before) + validations(events) == validations(story)
    assert_equal(resumed, trained)


@pytest.mark.parametrize("saved", [1, 8, 14])
@pytest.mark.usefixtures("at_once")
def test_a_training_that_was_killed_ends_as_one_that_was_not(
    digits: Digits, story: list[Event], trained: Path, tmp_path: Path, saved: int
) -> None:
    """Some time after its checkpoint of this number: what it had learned since is lost."""
    events = begin(digits(), tmp_path).events()
    before: list[Event] = []
    while not (before and isinstance(before[-1], Saved) and before[-1].path == f"checkpoints/{saved:06d}"):
        before.append(next(events))
    assert isinstance(next(events), Learned)
    events.close()
    after, where, resumed = go_on(digits(), tmp_path)
    assert where == f"checkpoints/{saved:06d}"
    assert validations(before) + validations(after) == validations(story)
    assert_equal(resumed, trained)


def test_a_student_that_had_finished_is_tested_as_it_learned(digits: Digits, tmp_path: Path) -> None:
    begin(digits(), tmp_path).tell(at(2 * BATCHES + 1))
    _, _, resumed = go_on(digits(), tmp_path)
    for student in training_of(resumed).students:
        filters = [p for p in student.network.parameters() if p.dim() == 4]
        assert filters
        assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in filters)


@pytest.mark.parametrize(
    ("other", "difference"), [(["data.limit=320"], "samples"), (["data.mean=[0.5]", "data.std=[0.2]"], "mean")]
)
def test_other_data_are_refused(digits: Digits, trained: Path, other: list[str], difference: str) -> None:
    saved = load(trained / "checkpoints")
    assert saved is not None
    with pytest.raises(
        RunChanged, match=f"the training data were .*'{difference}'.* and are now .*; allowed are the same data"
    ):
        saved.require_same(trained, begin(digits(*other), trained).work.fingerprint)


def test_bfloat16_is_resumed_as_well(digits: Digits, tmp_path: Path) -> None:
    config = digits("fabric.precision=bf16-mixed", "training.optimizer=sgd", "training.loss=tet")
    whole = begin(config, tmp_path / "whole")
    events = whole.tell()
    before = begin(config, tmp_path / "broken").tell(at(2))
    after, _, resumed = go_on(config, tmp_path / "broken")
    assert validations(before + after) == validations(events)
    assert_equal(resumed, whole)


def test_stopped_in_the_last_batch_of_all_is_finished(digits: Digits, trained: Path, tmp_path: Path) -> None:
    story = begin(digits(), tmp_path)
    assert story.tell(at(4 * BATCHES))[-1] == Ended("finished", 640)
    assert story.work.finished
    assert_equal(story, trained)


def test_killed_before_the_test(digits: Digits, trained: Path, tmp_path: Path) -> None:
    story = begin(digits(), tmp_path)
    for event in story.events():
        if isinstance(event, Evaluated) and event.part == "test":
            break
    events, _, resumed = go_on(digits(), tmp_path)
    assert [type(event) for event in events] == [Began, Evaluated, Evaluated, Compared, Ended]
    assert_equal(resumed, trained)


def test_whoever_prepares_batches_they_are_the_same(digits: Digits, story: list[Event], tmp_path: Path) -> None:
    events = begin(digits("ann_twin=false", "workers=1"), tmp_path).tell()
    assert validations(events) == validations(story)[:2]


# Checkpoints


def test_a_checkpoint_holds_each_tensor_once(digits: Digits, tmp_path: Path) -> None:
    """Weights, their average, two moments and the best weights: nothing more."""
    story = begin(digits("ann_twin=false", "training.epochs=3"), tmp_path)
    story.tell(at(12))
    state = training_of(story).students[0].network.state_dict()
    weights = sum(p.numel() * p.element_size() for p in state.values())
    saved = load(tmp_path / "checkpoints")
    assert saved is not None
    stored = sum(file.stat().st_size for file in saved.path.glob("*.safetensors"))
    assert stored < 5 * weights + 12_000  # and their names
    assert size(saved.path) > stored


# What cannot go on


def test_a_training_that_is_not_finite_keeps_its_last_checkpoint(digits: Digits, tmp_path: Path) -> None:
    story = begin(digits("ann_twin=false", "training.ema=0"), tmp_path)

    def until_it_breaks() -> Iterator[Event]:
        for event in story.events():
            yield event
            if isinstance(event, Saved):
                with torch.no_grad():
                    training_of(story).students[0].network.network[0].weight[0] = torch.nan  # type: ignore[index]

    with pytest.raises(NotFinite, match=r"network: epoch 1, batch 4: network.0.weight holds NaN or infinity"):
        list(until_it_breaks())
    saved = load(tmp_path / "checkpoints")
    assert saved is not None
    assert saved.path.name == "000001"


# Up to its test


def test_a_validated_training_reaches_what_a_whole_one_reaches(
    digits: Digits, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In its best epoch; the twin learns nothing, and nothing is tested."""
    monkeypatch.setattr(module, "examined", lambda *_, **__: pytest.fail("test data were used"))
    training = training_of(begin(digits(), tmp_path))
    scores = training.validated(lambda: False)
    selected = read(trained / "summary.json")["selected"][NETWORK]
    assert scores is not None
    assert scores["digits"]["return_mean"] == selected["top1_validation"]
    assert scores["digits"]["parameters"] == sum(x.numel() for x in training.students[0].network.parameters())
    assert training.age == training.total
    assert training_of(begin(digits(), tmp_path)).validated(lambda: True) is None
