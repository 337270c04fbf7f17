from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from snn4.envs.data.datasets import Data, DataConfig, MissingData, load_data
from snn4.envs.stream import Stream, StreamConfig, make_stream

pytest.importorskip("avalanche")

STREAMS: dict[str, dict[str, Any]] = {
    "class": {},
    "shuffled": {"class_seed": 1, "experiences": 2},
    "uneven": {"classes": ((9, 3), (4, 8, 0)), "experiences": 2},
    "task": {"scenario": "task", "class_seed": 2},
    "uneven task": {"scenario": "task", "classes": ((9, 3), (4, 8, 0)), "experiences": 2},
    "domain": {"scenario": "domain"},
    "permute": {"scenario": "domain", "shift": "permute", "experiences": 3},
    "rotate": {"scenario": "domain", "shift": "rotate", "experiences": 4},
}


@pytest.fixture(scope="module")
def digits() -> Data:
    return load_data(DataConfig(augmentation="crop"))


def stream_of(name: str, data: Data) -> Stream:
    return make_stream(StreamConfig(**STREAMS[name]), data)


def parts(stream: Stream) -> list[tuple[Any, Any]]:
    """Avalanche's streams, each with the part of the data set that it was made of."""
    data = stream.data
    return [(stream.train, data.train), (stream.validation, data.validation), (stream.test, data.test)]


def images(experience: Any) -> Tensor:
    return torch.stack([x for x, _, _ in experience.dataset])


@pytest.mark.parametrize("name", STREAMS)
def test_each_sample_comes_once_per_experience_with_its_label(name: str, digits: Data) -> None:
    """Compared with samples picked by hand."""
    stream = stream_of(name, digits)
    assert len(stream) == len(stream.train) == len(stream.names) == stream.config.experiences
    for experiences, part in parts(stream):
        for k, experience in enumerate(experiences):
            label_of = dict(zip(stream.classes[k], stream.labels[k], strict=True))
            pairs = zip(part.rows.tolist(), part.labels.tolist(), strict=True)
            rows, labels = zip(*[(row, label_of[label]) for row, label in pairs if label in label_of], strict=True)
            assert [y for _, y, _ in experience.dataset] == list(labels)
            if stream.config.shift == "none":
                assert torch.equal(images(experience), part.pixels[torch.tensor(rows)])


@pytest.mark.parametrize("name", ["class", "shuffled", "task", "domain"])
def test_together_the_experiences_are_the_data_set(name: str, digits: Data) -> None:
    for experiences, part in parts(stream_of(name, digits)):
        together = torch.cat([images(experience) for experience in experiences])
        assert len(together) == len(part)
        assert torch.equal(_sorted(together), _sorted(part.pixels[part.rows]))


def _sorted(x: Tensor) -> Tensor:
    """The images in an order that depends on their pixels only."""
    return torch.tensor(sorted(x.flatten(1).tolist()))


def test_the_parts_share_no_sample(digits: Data) -> None:
    stream = stream_of("class", digits)
    addresses = [{x.data_ptr() for exp in experiences for x, _, _ in exp.dataset} for experiences, _ in parts(stream)]
    assert [len(part_addresses) for part_addresses in addresses] == [len(part) for _, part in parts(stream)]
    assert len(set().union(*addresses)) == sum(map(len, addresses))
    pixels = digits.train.pixels
    assert isinstance(pixels, Tensor)
    start, n_bytes = pixels.data_ptr(), pixels.nbytes  # views: nothing was copied
    assert all(start <= address < start + n_bytes for part_addresses in addresses for address in part_addresses)


@pytest.mark.parametrize(
    ("name", "labels", "n_classes"),
    [
        ("class", [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]], 10),
        ("uneven", [[4, 1], [2, 3, 0]], 5),  # of 0, 3, 4, 8, 9, the classes in the stream
        ("task", [[0, 1]] * 5, 2),
        ("uneven task", [[0, 1], [0, 1, 2]], 3),
        ("domain", [[0, 1]] * 5, 2),
        ("permute", [list(range(10))] * 3, 10),
    ],
)
def test_labels(name: str, labels: list[list[int]], n_classes: int, digits: Data) -> None:
    stream = stream_of(name, digits)
    assert stream.labels == labels
    assert stream.n_classes == n_classes
    for experiences, _ in parts(stream):
        for experience, expected in zip(experiences, labels, strict=True):
            assert experience.classes_in_this_experience == set(expected) == {y for _, y, _ in experience.dataset}


def test_a_shuffle_changes_who_comes_when_and_no_label(digits: Data) -> None:
    stream = stream_of("shuffled", digits)
    assert stream.labels == stream.classes != [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    assert stream.names[0] == ", ".join(map(str, stream.classes[0]))


def test_avalanche_knows_what_came_before(digits: Data) -> None:
    first, second, *_, last = stream_of("class", digits).train
    assert (first.previous_classes, last.future_classes) == (set(), set())
    assert (second.previous_classes, second.classes_seen_so_far) == ({0, 1}, {0, 1, 2, 3})
    assert second.current_experience == 1
    assert second.origin_stream.name == "train"


@pytest.mark.parametrize("name", STREAMS)
def test_only_tasks_have_task_labels(name: str, digits: Data) -> None:
    stream = stream_of(name, digits)
    for experiences, _ in parts(stream):
        for k, experience in enumerate(experiences):
            expected = k if stream.scenario == "task" else 0
            assert experience.task_label == expected
            assert {t for _, _, t in experience.dataset} == {expected}


@pytest.mark.parametrize("name", ["permute", "rotate"])
def test_shifts_are_those_of_the_experience_in_every_part(name: str, digits: Data) -> None:
    from snn4.envs.shifts import shifts

    stream = stream_of(name, digits)
    moved = shifts(stream.config.shift, len(stream), (8, 8), stream.config.shift_seed) or []
    assert stream.names == [shift.name for shift in moved]
    for experiences, part in parts(stream):
        for experience, shift in zip(experiences, moved, strict=True):
            assert torch.equal(images(experience), shift(part.pixels[part.rows]))


def test_another_seed_permutes_differently(digits: Data) -> None:
    first, second = (
        make_stream(StreamConfig(scenario="domain", shift="permute", experiences=2, shift_seed=seed), digits)
        for seed in (0, 1)
    )
    assert torch.equal(images(first.test[0]), images(second.test[0]))
    assert not torch.equal(images(first.test[1]), images(second.test[1]))


def test_augmented_and_normalized_as_in_ordinary_training(digits: Data) -> None:
    stream = stream_of("shuffled", digits)
    x = images(stream.train[0])[:7]
    positions, numbers = _positions(stream, 7), torch.randint(2**62, (7,))
    assert torch.equal(stream.normalized(x), digits.train.take(positions, None)[0])
    augmented = stream.augment(x, numbers)
    assert augmented.dtype == torch.uint8
    assert not torch.equal(augmented, x)
    assert torch.equal(stream.normalized(augmented), digits.train.take(positions, numbers)[0])


def _positions(stream: Stream, n: int) -> Tensor:
    """Positions of the first ``n`` samples of the first experience in the training part."""
    return torch.isin(stream.data.train.labels, torch.tensor(stream.classes[0])).nonzero().flatten()[:n]


@pytest.mark.parametrize("name", ["class", "task", "rotate"])
def test_replay_in_avalanche_keeps_samples_whole(name: str, digits: Data) -> None:
    """Joined, split and loaded by Avalanche, a sample keeps its image, label and task."""
    from avalanche.benchmarks.utils.data_loader import ReplayDataLoader
    from avalanche.benchmarks.utils.utils import concat_datasets

    stream = stream_of(name, digits)
    known = {(x.numpy().tobytes(), y, t) for exp in stream.train for x, y, t in exp.dataset}
    memory = concat_datasets([exp.dataset.subset([3, 1, 20]).subset([2, 0]) for exp in stream.train])
    assert memory._tree_depth() == 2  # as flat as the data set of an experience
    loader = ReplayDataLoader(
        stream.train[1].dataset, memory, batch_size=16, batch_size_mem=8, shuffle=True, oversample_small_tasks=True
    )
    x, y, t = next(iter(loader))
    assert (x.dtype, x.shape) == (torch.uint8, (24, 1, 8, 8))
    assert {(x_.numpy().tobytes(), int(y_), int(t_)) for x_, y_, t_ in zip(x, y, t, strict=True)} <= known


def test_a_strategy_of_avalanches_learns_it(digits: Data) -> None:
    from avalanche.training.plugins import EvaluationPlugin
    from avalanche.training.supervised import Replay

    stream = stream_of("shuffled", digits)

    class Linear(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(64, stream.n_classes)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(stream.normalized(x).flatten(1))

    torch.manual_seed(0)
    model = Linear()
    strategy = Replay(
        model=model, optimizer=torch.optim.Adam(model.parameters(), 0.01), mem_size=200, train_mb_size=32,
        train_epochs=2, eval_mb_size=256, evaluator=EvaluationPlugin(), criterion=torch.nn.CrossEntropyLoss(),
    )  # fmt: skip
    for experience in stream.train:
        strategy.train(experience)
    for experience in stream.test:
        labels = torch.tensor([y for _, y, _ in experience.dataset])
        assert (model(images(experience)).argmax(1) == labels).float().mean() > 0.7


@pytest.mark.parametrize("kind", ["mnist", "cifar10", "imagefolder", "nmnist"])
def test_other_kinds_of_data(kind: str, request: pytest.FixtureRequest) -> None:
    if kind == "nmnist":
        pytest.importorskip("tonic")
    root: Path = request.getfixturevalue("pictures" if kind == "imagefolder" else kind)
    folder: dict[str, Any] = {"folder": "pictures", "image_size": 12} if kind == "imagefolder" else {}
    config = DataConfig(kind, root=str(root.parent if folder else root), download=False, augmentation="crop", **folder)
    stream = make_stream(StreamConfig(config, experiences=3 if folder else 5))
    frames = (config.bins,) if config.is_events else ()
    shape = (*frames, stream.in_channels, *stream.image_size)
    for experiences, part in parts(stream):
        assert sum(len(experience.dataset) for experience in experiences) == len(part)
    x = images(stream.train[0])
    assert (x.dtype, tuple(x.shape[1:])) == (torch.uint8, shape)
    positions, numbers = _positions(stream, 4), torch.randint(2**62, (4,))
    prepared = stream.normalized(stream.augment(x[:4], numbers))
    assert prepared.shape == (*frames, len(x[:4]), stream.in_channels, *stream.image_size)  # time-major
    assert torch.equal(prepared, stream.data.train.take(positions, numbers)[0])


def test_events_are_shifted_too(nmnist: Path) -> None:
    pytest.importorskip("tonic")
    config = DataConfig("nmnist", root=str(nmnist), download=False)
    stream = make_stream(StreamConfig(config, scenario="domain", shift="rotate", experiences=2))
    still, quarter = stream.test
    assert torch.equal(images(quarter), torch.rot90(images(still), 1, (-2, -1)))


def test_images_that_are_decoded_at_use(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from snn4.envs.data import image_folder

    config = DataConfig("imagefolder", root=str(pictures.parent), folder="pictures", image_size=12)
    in_memory = make_stream(StreamConfig(config, experiences=3))
    monkeypatch.setattr(image_folder, "MEMORY", 0)
    at_use = make_stream(StreamConfig(config, experiences=3))
    assert not isinstance(at_use.data.train.pixels, Tensor)
    for decoded, stored in zip(at_use.train, in_memory.train, strict=True):
        assert torch.equal(images(decoded), images(stored))


def test_a_folder_is_counted_before_it_is_read(pictures: Path) -> None:
    for picture in pictures.rglob("*.png"):
        picture.write_bytes(b"no picture")  # reading would fail
    config = DataConfig("imagefolder", root=str(pictures.parent), folder="pictures")
    with pytest.raises(ValueError, match=r"^experiences: got 5, allowed is 1 to 3, the classes of imagefolder"):
        make_stream(StreamConfig(config))
    with pytest.raises(ValueError, match=r"^classes: got 3, allowed are 0 to 2"):
        make_stream(StreamConfig(config, experiences=2, classes=((0,), (3,))))
    missing = DataConfig("imagefolder", root=str(pictures), folder="nowhere")
    with pytest.raises(MissingData, match=r"data\.folder"):
        make_stream(StreamConfig(missing, experiences=3))


def test_split_mnist_has_the_usual_sizes(real_data: Callable[[str], Path]) -> None:
    config = DataConfig("mnist", root=str(real_data("MNIST")), download=False)
    stream = make_stream(StreamConfig(config))
    assert [len(experience.dataset) for experience in stream.test] == [2115, 2042, 1874, 1986, 1983]
    sizes = [len(a.dataset) + len(b.dataset) for a, b in zip(stream.train, stream.validation, strict=True)]
    assert sizes == [12665, 12089, 11263, 12183, 11800]
