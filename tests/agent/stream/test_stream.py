"""Streams lived to their end, broken off anywhere and gone on with, and their twins."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from run_folders import events_in
from safetensors.torch import load_file
from stories import Story, of

from snn4.agent import kinds
from snn4.agent.config.file import ConfigError
from snn4.agent.evaluation.matrix import as_matrix, average_accuracy, forgetting
from snn4.agent.run import checkpoint
from snn4.agent.run.beings import ANN_TWIN, NETWORK
from snn4.agent.run.events import Began, Compared, Ended, Entered, Evaluated, Event, Learned, Saved
from snn4.agent.run.work import OneProcess
from snn4.agent.stream.beings import stream_and_beings
from snn4.agent.stream.config import ContinualConfig
from snn4.agent.stream.stream import StreamLife
from snn4.learners.not_finite import NotFinite
from snn4.policies.networks.whitening import WhiteningConv2d

Streamed = Callable[..., ContinualConfig]
N = 3
"""Experiences."""


def begin(config: ContinualConfig, folder: Path) -> tuple[StreamLife, Story]:
    life = kinds.named("stream").prepare(config, OneProcess())
    assert isinstance(life, StreamLife)
    return life, Story(life, folder)


def go_on(config: ContinualConfig, folder: Path) -> tuple[list[Event], str | None]:
    """What happens in a stream that is resumed, and where from."""
    torch.manual_seed(1234)  # another process has other random numbers
    _, story = begin(config, folder)
    where = story.restore()
    return story.tell(), where


def rows(events: list[Event]) -> list[Evaluated]:
    return of(Evaluated, events)


def accuracies(row: Evaluated) -> list[float]:
    return [score["return_mean"] for score in row.scores.values()]


@pytest.fixture(scope="module")
def story(lived: Path) -> list[Event]:
    return events_in(lived)


# To its end


def test_the_story(story: list[Event]) -> None:
    began, *told, compared, ended = [event for event in story if not isinstance(event, Learned)]
    assert isinstance(began, Began)
    assert [task["environment"] for task in began.tasks] == ["0, 1", "2, 3", "4, 5"]
    assert (began.beings, began.age, began.resumed) == ([NETWORK, ANN_TWIN], 0, False)
    assert [type(event) for event in told] == [Evaluated, *[Entered, Evaluated, Saved] * N] * 2
    assert [(row.being, row.number) for row in rows(story)] == list(
        itertools.product((NETWORK, ANN_TWIN), range(N + 1))
    )
    images = 2 * sum(task["steps"] for task in began.tasks)
    assert isinstance(compared, Compared)
    assert ended == Ended("finished", images)
    assert max(event.seconds for event in story if isinstance(event, Saved)) < 1


def test_pieces_of_learning(story: list[Event]) -> None:
    pieces = of(Learned, story)
    last = {(event.being, event.number): event for event in pieces}
    assert set(last) == set(itertools.product((NETWORK, ANN_TWIN), range(N)))
    assert all(event.step == event.steps for event in last.values())
    assert [event.age for event in pieces] == sorted(event.age for event in pieces)
    assert {event.epoch for event in pieces} == {0, 1}


def test_only_the_spiking_network_spikes(story: list[Event]) -> None:
    for row in rows(story):
        assert row.replay_bytes is not None
        assert row.memory_bytes is not None
        assert all((score["spikes_per_decision"] > 0) == (row.being == NETWORK) for score in row.scores.values())
        assert row.replay_bytes == (0 if row.number == 0 else min(20, row.replay_bytes // 64) * 64)
        assert row.memory_bytes >= row.replay_bytes


def test_accuracies_are_those_of_the_test_set(lived: Path, streamed: Streamed, story: list[Event]) -> None:
    """The kept model, asked directly, is right as often as the last row says."""
    life, _ = begin(streamed(), lived)
    network = life.beings[0].learner.network
    network.load_state_dict(load_file(lived / "model.safetensors"))
    last = rows(story)[N]
    network.eval()
    for experience, accuracy in zip(life.stream.test, accuracies(last), strict=True):
        x, y, _ = zip(*experience.dataset, strict=True)
        with torch.no_grad():
            said = network(life.stream.normalized(torch.stack(x))).argmax(1)
        assert (said == torch.tensor(y)).float().mean() == pytest.approx(accuracy)


def test_the_summary(lived: Path, story: list[Event]) -> None:
    summary = json.loads((lived / "summary.json").read_text())
    assert summary["stream"]["classes"] == [[0, 1], [2, 3], [4, 5]]
    for being in (NETWORK, ANN_TWIN):
        matrix = as_matrix([accuracies(row) for row in rows(story) if row.being == being])
        assert summary[being]["matrix"] == matrix.tolist()
        assert summary[being]["average_accuracy"] == average_accuracy(matrix)
        assert summary[being]["forgetting"] == forgetting(matrix)
        assert summary[being]["energy_joules"]["45nm_fp32"] > 0
    assert summary[NETWORK]["parameters"] == summary[ANN_TWIN]["parameters"]
    assert summary[ANN_TWIN]["spikes_per_decision"] == 0


def test_replay_remembers_what_naive_forgets(streamed: Streamed, tmp_path: Path) -> None:
    changes = ["stream.data.limit=null", "ann_twin=false", "network.options.channels=[8, 16]", "training.epochs=4"]
    reached = {}
    for strategy in ("naive", "replay"):
        _, story = begin(streamed(*changes, f"strategy.name={strategy}", "strategy.memory=100"), tmp_path / strategy)
        matrix = as_matrix([accuracies(row) for row in rows(story.tell())])
        reached[strategy] = average_accuracy(matrix)
        if strategy == "naive":
            assert forgetting(matrix) > 0.5
    assert reached["replay"] > reached["naive"] + 0.2


def test_task_labels(streamed: Streamed, tmp_path: Path) -> None:
    """Each task has a head of its own in the model; accuracies are those of its own head."""
    life, story = begin(streamed("stream.scenario=task", "ann_twin=false"), tmp_path)
    last = rows(story.tell())[-1]
    assert accuracies(last) == pytest.approx(accuracies(life.beings[0].test(life.stream, "test", 0)))
    weights = story.models[-1].weights
    assert [weight.shape[0] for weight in weights.values() if weight.dim() == 2] == [2 * N]
    _, other = begin(streamed("ann_twin=false"), tmp_path / "class")
    assert accuracies(rows(other.tell())[-1]) != accuracies(last)


def test_validation_data_to_choose_by(streamed: Streamed, tmp_path: Path) -> None:
    config = streamed("evaluate_on=validation", "ann_twin=false")
    life, story = begin(config, tmp_path)
    assert {row.part for row in rows(story.tell())} == {"validation"}
    about = life.summary()["stream"]
    assert about["test_samples"] == [len(experience.dataset) for experience in life.stream.validation]


def test_a_whitening_stem_sees_the_first_experience_alone(streamed: Streamed) -> None:
    def stem(*changes: str) -> torch.Tensor:
        _, beings = stream_and_beings(streamed("network.options={channels: [4, 8], stem: whitening}", *changes))
        stems = [m.weight for b in beings for m in b.learner.network.modules() if isinstance(m, WhiteningConv2d)]
        assert torch.equal(*stems)
        return stems[0]

    known = stem()
    assert not torch.allclose(known.abs().amax((1, 2, 3)), torch.ones(len(known)))  # it was fitted
    assert torch.equal(known, stem("stream.classes=[[0, 1], [7, 8], [5, 9]]"))
    assert not torch.equal(known, stem("stream.classes=[[7, 8], [0, 1], [4, 5]]"))


# Broken off and gone on with


@pytest.mark.parametrize("where", range(2 * N))
def test_killed_inside_an_experience(streamed: Streamed, story: list[Event], tmp_path: Path, where: int) -> None:
    """Abandoned at the first piece of learning of the n-th experience that is lived, of both beings."""
    (_, story_), met = begin(streamed(), tmp_path), 0
    for event in story_.events():
        met += isinstance(event, Entered)
        if isinstance(event, Learned) and met == where + 1:
            break
    events, place = go_on(streamed(), tmp_path)
    assert place == (f"checkpoints/{where:06d}" if where else None)
    again, whole = rows(events), rows(story)
    begun = len(whole) - len(again)
    assert again == whole[begun:]
    assert again[0].number == (where % N + 1 if where % N else 0)
    assert events[-1] == story[-1]


def test_a_stream_that_was_over_but_not_summed_up(lived: Path, streamed: Streamed) -> None:
    life, story = begin(streamed(), lived)
    story.restore()
    assert [type(event) for event in story.events()] == [Began, Compared, Ended]
    whole = json.loads((lived / "summary.json").read_text())
    assert json.loads(json.dumps(life.summary())) == {key: whole[key] for key in ("stream", NETWORK, ANN_TWIN)}


@pytest.mark.parametrize("other", [["stream.data.limit=200"], ["stream.data.mean=[0.5]", "stream.data.std=[0.2]"]])
def test_other_data_are_refused(lived: Path, streamed: Streamed, other: list[str]) -> None:
    saved = checkpoint.newest(lived)
    assert saved is not None
    life, _ = begin(streamed(*other), lived)
    with pytest.raises(checkpoint.RunChanged, match=r"the training data were .* when checkpoints/000006 was written"):
        saved.require_same(lived, life.fingerprint)


def test_stopped(streamed: Streamed, story: list[Event], tmp_path: Path) -> None:
    """Told to stop in the second experience, it leaves that one out; the first is in the checkpoint."""
    asked = iter(range(1000))
    life, stopped = begin(streamed(), tmp_path)
    events = stopped.tell(lambda: next(asked) > 8)
    assert isinstance(events[-1], Ended)
    assert (events[-1].state, len(rows(events)), life.finished) == ("interrupted", 2, False)
    assert events[-1].age == life.age == life.sizes[0]
    assert rows(events) + rows(go_on(streamed(), tmp_path)[0]) == rows(story)


def test_a_checkpoint_holds_no_images(lived: Path) -> None:
    saved = checkpoint.newest(lived)
    assert saved is not None
    assert checkpoint.size(saved.path) < 80_000  # of both beings


def test_a_loss_that_is_not_finite(streamed: Streamed, tmp_path: Path) -> None:
    _, story = begin(streamed("training.learning_rate=1e38", "training.optimizer=sgd"), tmp_path)
    with pytest.raises(NotFinite, match=r"^network: experience 0"):
        story.tell()


# What is wrong shows before anything is learned


@pytest.mark.parametrize(
    ("overrides", "said"),
    [(["network.options={channels: [4, 4, 4, 4, 4]}"], "network, for images of digits: "),
     (["network.T=0"], "network.T: got 0, allowed is a whole number >= 1"),
     (["stream.data={name: imagefolder, folder: /nowhere}"], "/nowhere"),
     (["strategy={name: icarl, memory: 2}"], "strategy: memory: got 2"),
     (["device=cuda"], "device: got 'cuda', which torch cannot use here"),
     (["device=nosuch"], "device: got 'nosuch', which torch cannot use here")],
)  # fmt: skip
def test_what_does_not_fit(streamed: Streamed, overrides: list[str], said: str) -> None:
    if "device=cuda" in overrides and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ValueError, match=said) as error:
        stream_and_beings(streamed(*overrides))
    assert isinstance(error.value, ConfigError) or "nowhere" in said


def test_the_same_seed_gives_the_same_beings(streamed: Streamed) -> None:
    def weights(seed: int) -> Any:
        _, beings = stream_and_beings(streamed(f"seed={seed}"))
        return [torch.cat([p.flatten() for p in being.learner.network.parameters()]) for being in beings]

    first, same, other = weights(0), weights(0), weights(1)
    assert all(map(torch.equal, first, same))
    assert not any(map(torch.equal, first, other))


# Up to its test


def test_a_validated_stream_reaches_what_a_whole_one_reaches(streamed: Streamed, tmp_path: Path) -> None:
    config = streamed("ann_twin=false", "evaluate_on=validation", "training.epochs=1")
    whole, story = begin(config, tmp_path)
    story.tell()
    scores = begin(config, tmp_path)[0].validated(lambda: False)
    summary = whole.summary()[NETWORK]
    assert scores is not None
    assert scores["stream"]["return_mean"] == summary["average_accuracy"]
    assert scores["stream"].items() >= {name: summary[name] for name in ("effective_acs", "parameters")}.items()
    assert begin(config, tmp_path)[0].validated(lambda: True) is None
