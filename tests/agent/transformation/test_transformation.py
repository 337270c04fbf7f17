from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from run_folders import through_disk

from snn4.agent import kinds
from snn4.agent.run.events import Evaluated, Learned
from snn4.agent.run.work import Model, OneProcess, Pause

Config = Callable[..., Any]


def prepared(config: Any) -> Any:
    return kinds.named("transformation").prepare(config, OneProcess())


def told(work: Any, stop: Callable[[], bool] = lambda: False) -> list[Any]:
    return list(work.live(stop))


def models(parts: list[Any]) -> dict[str, dict[str, torch.Tensor]]:
    return {part.name: part.weights for part in parts if isinstance(part, Model)}


def test_the_story_of_a_calibration(transformed: Config) -> None:
    work = prepared(transformed("convert.method=calibrate"))
    parts = told(work)
    assert work.finished
    stages = [part.task for part in parts if isinstance(part, Learned)]
    assert list(dict.fromkeys(stages)) == ["measure activations", "correct biases", "compare layers"]
    assert [type(part) for part in parts if not isinstance(part, Learned)] == [Model, Model, Evaluated]
    assert (work.age, work.summary()["finetuned_epochs"]) == (0, 0)
    assert work.tasks == [{"environment": "digits", "steps": 100}]
    balanced = told(prepared(transformed("convert.method=threshold-balance")))
    assert "correct biases" not in {part.task for part in balanced if isinstance(part, Learned)}


def test_the_story_of_a_finetuning(transformed: Config) -> None:
    work = prepared(transformed())
    parts = told(work)
    epochs = [part.epoch for part in parts if isinstance(part, Learned) and part.losses]
    assert epochs == sorted(epochs)
    assert set(epochs) == {1, 2} or set(epochs) <= {0, 1, 2}
    assert sum(isinstance(part, Pause) for part in parts) == 2
    assert work.tasks == [{"environment": "digits", "steps": 2 * 4 * 32}] or work.tasks[0]["steps"] == work.age
    assert "genome" not in work.summary()
    assert isinstance(work.genome, dict)


def test_the_original_teaches_the_quantized_network(transformed: Config, tmp_path: Any) -> None:
    plain, taught = (models(told(prepared(transformed(*more)))) for more in ((), ("distillation=0.9",)))
    assert any(not torch.equal(plain["model"][name], taught["model"][name]) for name in plain["model"])
    # The teacher does not learn: both twins are the original, but for the sizes that the network has learned.
    work = prepared(transformed("distillation=0.9"))
    before = {name: value.clone() for name, value in work.learner.lessons.teacher.state_dict().items()}
    interrupted = told(work, lambda: work.learner.step >= 3)
    assert isinstance(interrupted[-1], Pause)
    after = work.learner.lessons.teacher.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    resumed = prepared(transformed("distillation=0.9"))
    resumed.load_state({"model": {}, "learner": through_disk(work.state()["learner"], tmp_path)})
    again = models(told(resumed))
    assert all(torch.equal(again["model"][name], taught["model"][name]) for name in again["model"])


@pytest.mark.parametrize("at", [3, 4, 7])
def test_interrupted_it_makes_the_same_network(transformed: Config, tmp_path: Any, at: int) -> None:
    """In the middle of an epoch, at its end, and in the second one; then it goes on from the disk."""
    whole = models(told(prepared(transformed())))
    first, asked = prepared(transformed()), iter(range(1000))
    parts = told(first, lambda: next(asked) >= at)
    assert isinstance(parts[-1], Pause)
    assert not first.finished
    second = prepared(transformed())
    state = {"model": {}, "learner": through_disk(first.state()["learner"], tmp_path)}
    second.load_state(state)
    rest = models(told(second))
    assert second.finished
    assert whole.keys() == rest.keys() == {"model", "ann_twin"}
    for name, weights in whole.items():
        assert all(torch.equal(x, rest[name][key]) for key, x in weights.items())


def test_stopped_while_converting_it_starts_again(transformed: Config) -> None:
    work = prepared(transformed("convert.method=calibrate"))
    parts = told(work, lambda: True)
    assert isinstance(parts[-1], Pause)
    assert not work.finished
    assert not models(parts)


def test_the_fingerprint_is_that_of_data_and_model(transformed: Config, trained: Any) -> None:
    one = prepared(transformed()).fingerprint
    assert prepared(transformed()).fingerprint == one
    assert prepared(transformed("data.limit=150")).fingerprint != one
    module = prepared(transformed())
    name = next(iter(module.graph.weights))
    module.graph.weights[name] = tuple(2 * x for x in module.graph.weights[name])
    assert module.fingerprint != one


def test_calibration_images_follow_the_seed(transformed: Config) -> None:
    one, same, other = (prepared(transformed(f"seed={seed}")).calibration for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert len(one) == 100
    assert len(prepared(transformed("convert.images=100000")).calibration) <= 160


def test_images_are_normalised_as_the_model_has_learned_them(transformed: Config) -> None:
    plain = prepared(transformed())
    changed = prepared(transformed("model.mean=[0.25]", "model.std=[0.5]"))
    assert (changed.data.mean, changed.data.std) == ((0.25,), (0.5,))
    mean, std = plain.data.mean[0], plain.data.std[0]
    torch.testing.assert_close(changed.calibration, (plain.calibration * std + mean - 0.25) / 0.5)


def test_augmentation_is_for_the_finetuning_alone(transformed: Config) -> None:
    plain, augmented = (
        prepared(transformed(*changes)) for changes in ((), ("data.augmentation=crop", "data.pad=1"))
    )  # fmt: skip
    assert torch.equal(plain.calibration, augmented.calibration)
    assert all(torch.equal(a, b) for a, b in zip(plain.examined, augmented.examined, strict=True))


def test_bfloat16(transformed: Config) -> None:
    work = prepared(transformed("precision=bf16-mixed", "finetune.epochs=1"))
    told(work)
    assert work.finished
