from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from safetensors.torch import load_file

from snn4.agent.evaluation.accuracy import recognize
from snn4.agent.life.config import TrainingConfig
from snn4.agent.models.files import read_about
from snn4.agent.run.checkpoint import RunChanged, load
from snn4.agent.run.events import Began, Ended, Event, Fitted, Noted, Saved, Validated
from snn4.agent.run.journal import read_events
from snn4.agent.training import training as module
from snn4.agent.training.students import ANN_TWIN, NETWORK, InOrder, prepare
from snn4.agent.training.training import Training, train
from snn4.learners.not_finite import NotFinite

Digits = Callable[..., TrainingConfig]
BATCHES = 5
"""Of an epoch; there are two, for each of two students."""
MODELS = ("model.safetensors", "ann_twin.safetensors")


def begin(config: TrainingConfig, folder: Path, stop: Callable[[], bool] = lambda: False) -> Training:
    fabric = Fabric(accelerator="cpu", precision=config.fabric.precision)
    fabric.launch()
    return Training(config, *prepare(config), folder, fabric, stop)


def go_on(config: TrainingConfig, folder: Path) -> tuple[list[Event], str | None]:
    """What happens in a training that is resumed, and where from."""
    torch.manual_seed(1234)  # another process has other random numbers
    training = begin(config, folder)
    where = training.restore()
    return list(train(training)), where


def models(folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes() for name in MODELS]


def validations(events: list[Event]) -> list[Validated]:
    return [event for event in events if isinstance(event, Validated)]


@pytest.fixture(scope="module")
def story(trained: Path) -> list[Event]:
    return [event for _, event, _ in read_events(trained)]


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report, and a checkpoint, after every batch."""
    monkeypatch.setattr(module, "REPORT_EVERY", 0.0)
    monkeypatch.setattr(module, "SAVE_EVERY", 0.0)


# A training to its end


def told(events: list[Event]) -> list[Event]:
    """All but pieces of learning, which are as many as the machine is slow."""
    return [event for event in events if not isinstance(event, Fitted)]


def test_the_story(story: list[Event]) -> None:
    began, *learned, ended = told(story)
    assert isinstance(began, Began)
    tasks = [{"environment": "digits", "steps": 320}]
    assert began == Began("tiny-digits", 0, tasks, began.genome, [NETWORK, ANN_TWIN])
    assert [type(event) for event in learned] == [Validated, Saved] * 4
    assert [(v.being, v.epoch, v.images) for v in validations(story)] == [
        (name, epoch, 160 * epoch) for name in (NETWORK, ANN_TWIN) for epoch in (1, 2)
    ]
    assert [event.age for event in learned if isinstance(event, Saved)] == [160, 320, 480, 640]
    assert ended == Ended("finished", 640)


def test_pieces_of_learning_add_up(story: list[Event]) -> None:
    for name in (NETWORK, ANN_TWIN):
        mine = [event for event in story if isinstance(event, Fitted) and event.being == name]
        assert [event.images for event in mine] == list(itertools.accumulate(event.new_images for event in mine))
        assert (mine[-1].images, mine[-1].epoch, {event.total for event in mine}) == (320, 2, {320})


def test_the_same_again(digits: Digits, story: list[Event], trained: Path, tmp_path: Path) -> None:
    assert told(list(train(begin(digits(), tmp_path)))) == told(story)
    assert models(tmp_path) == models(trained)


def test_the_best_weights_are_kept(digits: Digits, story: list[Event], trained: Path) -> None:
    data, made = prepare(digits())
    for student, name in zip(made, MODELS, strict=True):
        mine = [event for event in validations(story) if event.being == student.name]
        best = max(mine, key=lambda event: (event.top1, event.epoch))
        assert [event for event in mine if event.best][-1] == best
        student.network.load_state_dict(load_file(trained / name))
        found = recognize(student.network, InOrder(data.validation), 10)
        assert found.top1[-1] == best.top1
        about = read_about(trained / name)
        assert (about["epoch"], about["top1_validation"]) == (best.epoch, best.top1)
        assert (about["data"], about["in_channels"], about["image_size"], about["n_classes"]) == (
            "digits",
            1,
            [8, 8],
            10,
        )
        assert about["classes"] == data.classes == list("0123456789")


def test_students_end_with_their_best_weights(digits: Digits, tmp_path: Path) -> None:
    training = begin(digits("ann_twin=false"), tmp_path)
    (student,) = training.students
    events: list[Event] = []
    for event in train(training):
        events.append(event)
        if isinstance(event, Saved) and event.age == 160:
            first = {name: value.clone() for name, value in student.best["weights"].items()}
            student.best["top1"] = 1.1  # what follows cannot be better
    assert [event.best for event in validations(events)] == [True, False]
    for weights in (student.network.state_dict(), load_file(tmp_path / "model.safetensors")):
        assert all(torch.equal(weights[name], value) for name, value in first.items())


# Interruptions


@pytest.mark.parametrize("at", [1, 4, BATCHES, 2 * BATCHES, 2 * BATCHES + 2, 4 * BATCHES - 1])
def test_a_training_that_was_stopped_ends_as_one_that_was_not(
    digits: Digits, story: list[Event], trained: Path, tmp_path: Path, at: int
) -> None:
    """After so many batches: inside an epoch, between two, between students."""
    asked = itertools.count(1)
    training = begin(digits(), tmp_path, lambda: next(asked) == at)
    before = list(train(training))
    assert isinstance(before[-2], Saved)
    assert before[-1] == Ended("interrupted", at * 32) == Ended("interrupted", training.images)
    assert not training.finished
    events, where = go_on(digits(), tmp_path)
    assert where == before[-2].path
    assert isinstance(events[0], Began)
    assert (events[0].age, events[0].resumed) == (at * 32, True)
    assert events[-1] == story[-1]
    assert validations(before) + validations(events) == validations(story)
    assert models(tmp_path) == models(trained)


@pytest.mark.parametrize("saved", [1, 5, 8, 14, 19])
@pytest.mark.usefixtures("at_once")
def test_a_training_that_was_killed_ends_as_one_that_was_not(
    digits: Digits, story: list[Event], trained: Path, tmp_path: Path, saved: int
) -> None:
    """Some time after its checkpoint of this number: what it had learned since is lost."""
    events = train(begin(digits(), tmp_path))
    before: list[Event] = []
    while not (before and isinstance(before[-1], Saved) and before[-1].path == f"checkpoints/{saved:06d}"):
        before.append(next(events))
    assert isinstance(next(events), Fitted)
    events.close()  # type: ignore[attr-defined]
    after, where = go_on(digits(), tmp_path)
    assert where == f"checkpoints/{saved:06d}"
    assert validations(before) + validations(after) == validations(story)
    assert models(tmp_path) == models(trained)


def test_a_student_that_had_finished_is_tested_as_it_learned(digits: Digits, tmp_path: Path) -> None:
    asked = itertools.count(1)
    list(train(begin(digits(), tmp_path, lambda: next(asked) == 2 * BATCHES + 1)))
    training = begin(digits(), tmp_path)
    training.restore()
    list(train(training))
    for student in training.students:
        weights = [p for p in student.network.parameters() if p.dim() == 4]
        assert weights
        assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights)


@pytest.mark.parametrize(
    ("other", "told"), [(["data.limit=320"], "samples"), (["data.mean=[0.5]", "data.std=[0.2]"], "mean")]
)
def test_other_data_are_refused(digits: Digits, tmp_path: Path, other: list[str], told: str) -> None:
    asked = itertools.count(1)
    list(train(begin(digits(), tmp_path, lambda: next(asked) == 3)))
    with pytest.raises(RunChanged, match=f"the training data were .*'{told}'.* and are .*; allowed is what they were"):
        begin(digits(*other), tmp_path).restore()


def test_bfloat16_is_resumed_as_well(digits: Digits, tmp_path: Path) -> None:
    config = digits("fabric.precision=bf16-mixed", "training.optimizer=sgd", "training.loss=tet")
    for name in ("whole", "broken"):
        (tmp_path / name).mkdir()
    whole = list(train(begin(config, tmp_path / "whole")))
    asked = itertools.count(1)
    before = list(train(begin(config, tmp_path / "broken", lambda: next(asked) == 2)))
    after, _ = go_on(config, tmp_path / "broken")
    assert validations(before + after) == validations(whole)
    assert models(tmp_path / "broken") == models(tmp_path / "whole")


def test_stopped_in_the_last_batch_of_all_is_finished(digits: Digits, trained: Path, tmp_path: Path) -> None:
    asked = itertools.count(1)
    training = begin(digits(), tmp_path, lambda: next(asked) == 4 * BATCHES)
    assert list(train(training))[-1] == Ended("finished", 640)
    assert training.finished
    assert models(tmp_path) == models(trained)


def test_killed_before_the_test(digits: Digits, trained: Path, tmp_path: Path) -> None:
    for _ in train(begin(digits(), tmp_path)):
        pass
    for name in MODELS:
        (tmp_path / name).unlink()
    events, _ = go_on(digits(), tmp_path)
    assert [type(event) for event in events] == [Began, Ended]
    assert models(tmp_path) == models(trained)


def test_killed_before_the_first_checkpoint(digits: Digits, trained: Path, tmp_path: Path) -> None:
    next(train(begin(digits(), tmp_path)))
    _, where = go_on(digits(), tmp_path)
    assert where is None
    assert models(tmp_path) == models(trained)


def test_a_damaged_checkpoint_is_told_and_the_one_before_used(digits: Digits, trained: Path, tmp_path: Path) -> None:
    asked = itertools.count(1)
    list(train(begin(digits(), tmp_path, lambda: next(asked) == 2 * BATCHES + 1)))
    newest = max((tmp_path / "checkpoints").iterdir())
    (newest / "model.safetensors").write_bytes(b"altered")
    events, where = go_on(digits(), tmp_path)
    assert where == f"checkpoints/{int(newest.name) - 1:06d}"
    assert any(isinstance(event, Noted) and "altered" in event.text for event in events)
    assert models(tmp_path) == models(trained)


def test_whoever_prepares_batches_they_are_the_same(digits: Digits, story: list[Event], tmp_path: Path) -> None:
    events = list(train(begin(digits("ann_twin=false", "workers=1"), tmp_path)))
    assert validations(events) == validations(story)[:2]


# Checkpoints


def test_a_checkpoint_holds_each_tensor_once(digits: Digits, tmp_path: Path) -> None:
    """Weights, their average, two moments and the best weights: nothing more."""
    asked = itertools.count(1)
    training = begin(digits("ann_twin=false", "training.epochs=3"), tmp_path, lambda: next(asked) == 12)
    events = list(train(training))
    (saved,) = (event for event in events if isinstance(event, Saved) and event.age == 12 * 32)
    weights = sum(p.numel() * p.element_size() for p in training.students[0].network.state_dict().values())
    found = load(tmp_path / "checkpoints")
    assert found is not None
    stored = sum(file.stat().st_size for file in found[0].glob("*.safetensors"))
    assert stored < 5 * weights + 12_000  # and their names
    assert saved.bytes > stored


def test_checkpoints_are_kept_as_the_config_says(digits: Digits, tmp_path: Path) -> None:
    list(train(begin(digits("keep_checkpoints=3"), tmp_path)))
    assert len(list((tmp_path / "checkpoints").iterdir())) == 3


# What cannot go on


def test_a_training_that_is_not_finite_keeps_its_last_checkpoint(digits: Digits, tmp_path: Path) -> None:
    training = begin(digits("ann_twin=false", "training.ema=0"), tmp_path)

    def until_it_breaks() -> Iterator[Event]:
        for event in train(training):
            yield event
            if isinstance(event, Saved):
                with torch.no_grad():
                    training.students[0].network.network[0].weight[0] = torch.nan

    seen: list[Any] = []
    with pytest.raises(NotFinite, match=r"network: epoch 1, batch 4: network.0.weight holds NaN or infinity"):
        seen += until_it_breaks()
    found = load(tmp_path / "checkpoints")
    assert found is not None
    assert found[0].name == "000001"
    assert json.loads((found[0] / "state.json").read_text())
