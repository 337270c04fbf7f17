from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from run_folders import through_disk
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import VisionTransformer

from snn4.learners.distillation import Distillation, attention_difference, divergence, over_time, probabilities
from snn4.learners.lessons import Lessons
from snn4.learners.mixing import mixed
from snn4.learners.recipe import Recipe
from snn4.learners.supervised import SupervisedLearner
from snn4.learners.teachers import Teacher
from snn4.policies.networks.ann import twin
from snn4.policies.networks.architectures import make_architecture
from snn4.policies.networks.convnet import ConvNetConfig, SpikingConvNet
from snn4.policies.networks.spikformer import Spikformer, SpikformerConfig

B, N_BATCHES, CLASSES = 6, 3, 3
NET = ConvNetConfig(channels=(4, 8), pools=(2, 1), in_channels=1, n_classes=CLASSES, image_size=(8, 8), T=3)
FORMER = SpikformerConfig(
    depth=2, width=16, heads=2, channels=(8, 16), pools=(1, 2), in_channels=1, n_classes=CLASSES, image_size=(8, 8), T=2
)
EVERYTHING: dict[str, Any] = {"labels": 0.5, "logits": 0.7, "features": 0.3, "blur": 0.3, "steps": 0.2}


def batches(epoch: int, first: int) -> Iterator[tuple[Tensor, Tensor]]:
    for number in range(first, N_BATCHES):
        draw = torch.Generator().manual_seed(100 * epoch + number)
        labels = torch.randint(CLASSES, (B,), generator=draw)
        yield torch.randn(B, 1, 8, 8, generator=draw) + labels.view(-1, 1, 1, 1), labels


X = next(batches(0, 0))[0]


def events(epoch: int, first: int) -> Iterator[tuple[Tensor, Tensor]]:
    return ((torch.stack([x, -x, 2 * x]), labels) for x, labels in batches(epoch, first))


def pupil(config: Any = NET) -> Any:
    torch.manual_seed(0)
    return Spikformer(config) if isinstance(config, SpikformerConfig) else SpikingConvNet(config)


def teacher(number: int = 1) -> Teacher:
    torch.manual_seed(1)
    return Teacher([make_architecture("resnet-20-a", CLASSES, 1) for _ in range(number)])


def vision_transformer(patch: int = 2, hidden: int = 12) -> VisionTransformer:
    torch.manual_seed(2)
    model = VisionTransformer(8, patch, 4, 3, hidden, 24, num_classes=CLASSES)
    model.conv_proj = nn.Conv2d(1, hidden, patch, patch)
    nn.init.normal_(model.heads[0].weight)  # type: ignore[arg-type]  # it starts at 0
    return model


def lessons(of: Any = None, by: Teacher | None = None, **config: Any) -> Lessons:
    return Lessons(Distillation(**config), by or teacher(), of or pupil(), X[:2], seed=3)


def learner(taught: Lessons, source: Any = batches, precision: Any = "32-true", **changes: Any) -> SupervisedLearner:
    fabric = Fabric(accelerator="cpu", precision=precision)
    fabric.launch()
    config = Recipe(**{"epochs": 2, "batch_size": B, "learning_rate": 0.01, "channels_last": False, **changes})
    return SupervisedLearner(config, taught.pupil, source, N_BATCHES, 7, fabric, taught)


def to_the_end(one: SupervisedLearner) -> dict[str, Tensor]:
    for _ in range(one.epoch, one.config.epochs):
        list(one.learn())
    assert one.lessons is not None
    projection = {f"projection.{name}": x for name, x in one.lessons.state().items()}
    return {name: x.clone() for name, x in {**one.module.state_dict(), **projection}.items()}


def assert_same(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(x, other[name]) for name, x in one.items())


# The sum of the losses


@pytest.mark.parametrize("by_step", [False, True])
def test_the_sum_of_all_losses(by_step: bool) -> None:
    """Of a spiking network: rates of its last neurons beside the last map of a ResNet, 4 x 4 against 2 x 2 pixels."""
    made, master = pupil(), teacher()
    one = lessons(made, master, **EVERYTHING, temperature=2.0)
    seen: dict[str, Tensor] = {}
    made.network[6].register_forward_hook(lambda layer, x, y: seen.update(rates=y[0].mean(0)))
    master.networks[0].layer3.register_forward_hook(lambda layer, x, y: seen.update(map=y))  # type: ignore[union-attr, operator]
    made.train()
    taught = one.ask(X)
    with one.watching(B) as shown:
        scores = made.run(X)[0]
    torch.manual_seed(5)
    found = one.loss(torch.tensor(2.0), scores, taught, shown, by_step)
    projection: Any = one.projection
    torch.manual_seed(5)
    rates, wanted = F.avg_pool2d(seen["rates"], 2), seen["map"]
    assert (rates.shape, wanted.shape) == ((B, 8, 2, 2), (B, 64, 2, 2))
    kept = torch.rand(B, 1, 2, 2) >= 0.3
    restored = projection.restore(projection.project(rates) * kept)
    answers = probabilities(master.logits(X), 2.0)
    expected = 0.5 * torch.tensor(2.0) + 0.3 * (restored - wanted).square().mean()
    expected = expected + 0.7 * divergence(scores if by_step else scores.mean(0), answers, 2.0)
    torch.testing.assert_close(found, expected + 0.2 * over_time(scores, 2.0, "next"))


def test_gradients_reach_the_pupil_and_the_projection_but_not_the_teacher() -> None:
    made, master = pupil(), teacher()
    one = lessons(made, master, labels=0.0, logits=0.0, features=1.0, blur=0.3)
    taught = one.ask(X)
    with one.watching(B) as shown:
        scores = made.train().run(X)[0]
    one.loss(scores.mean(), scores, taught, shown, False).backward()
    assert made.network[0].weight.grad.abs().sum() > 0
    assert made.network[-1].weight.grad is None or not made.network[-1].weight.grad.any(), "features lie before it"
    assert one.projection is not None
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in one.projection.parameters())
    assert all(p.grad is None for p in master.parameters())


def test_a_teacher_pulls_scores_towards_its_own() -> None:
    one = learner(
        lessons(labels=0.0, logits=1.0, temperature=1.0), learning_rate=0.005, schedule="constant", warmup=0.0
    )
    master, made = one.lessons.teacher, one.module  # type: ignore[union-attr]
    assert master is not None

    def apart() -> float:
        with torch.no_grad():
            return divergence(made.eval()(X), probabilities(master.logits(X), 1.0), 1.0).item()

    before, weights = apart(), [p.clone() for p in master.parameters()]
    one.batches = lambda epoch, first: ((X, torch.zeros(B, dtype=torch.int64)) for _ in range(first, N_BATCHES))
    to_the_end(one)
    assert apart() < before
    assert all(map(torch.equal, weights, master.parameters()))


def test_labels_alone_are_learned_as_without_a_teacher() -> None:
    one = learner(Lessons(Distillation(labels=1.0, logits=0.0), None, pupil(), X[:2], 0))
    fabric = one.fabric
    other = SupervisedLearner(one.config, pupil(), batches, N_BATCHES, 7, fabric)
    weights = to_the_end(one)
    for _ in range(2):
        list(other.learn())
    assert_same(weights, dict(other.module.state_dict()))


def test_the_teacher_sees_the_mixed_images() -> None:
    one, seen = learner(lessons(), mixup=0.5), list[Tensor]()
    assert one.lessons is not None
    assert one.lessons.teacher is not None
    one.lessons.teacher.networks[0].register_forward_hook(lambda layer, x, y: seen.append(x[0]))
    next(one.learn(stop=lambda: True))
    torch.manual_seed(int(np.random.SeedSequence([7, 0, 0]).generate_state(1)[0]))  # seed, step and process
    x, labels = next(batches(0, 0))
    assert torch.equal(seen[0], mixed(one.config, x, labels, CLASSES)[0])
    assert not torch.equal(seen[0], x)


def test_answers_that_were_given_before_are_not_asked_for_again() -> None:
    one = lessons()
    assert one.teacher is not None
    given = {number: one.teacher.logits(x) for number, (x, _) in enumerate(batches(0, 0))}
    expected = to_the_end(learner(lessons(), epochs=1))
    one.teacher.networks[0].register_forward_hook(lambda *_: pytest.fail("asked again"))
    known = lambda epoch, first: ((*b, given[first + n]) for n, b in enumerate(batches(epoch, first)))  # noqa: E731
    assert_same(to_the_end(learner(one, known, epochs=1)), expected)


# Who can be a pupil


@pytest.mark.parametrize("matched", ["rates", "currents"])
@pytest.mark.parametrize("ann", [False, True])
@pytest.mark.parametrize("source", [batches, events])
def test_a_network_and_its_twin_learn_from_images_and_events(ann: bool, matched: Any, source: Any) -> None:
    one = lessons(twin(NET) if ann else pupil(), **EVERYTHING, matched=matched)
    before = [p.clone() for p in one.pupil.parameters()]
    weights = to_the_end(learner(one, source, precision="bf16-mixed", loss="tet"))
    assert all(torch.isfinite(x).all() for x in weights.values())
    assert not all(map(torch.equal, before, one.pupil.parameters()))


def test_currents_are_the_input_of_the_last_neurons() -> None:
    one, seen = lessons(matched="currents", features=1.0), list[Tensor]()
    one.pupil.network[6].register_forward_hook(lambda layer, x, y: seen.append(x[0].mean(0)))  # type: ignore[union-attr, operator]
    with one.watching(B) as shown, torch.no_grad():
        one.pupil(X)
    assert torch.equal(shown.features[0], seen[0])


@pytest.mark.parametrize("former", [FORMER, SpikformerConfig(**{**vars(FORMER), "kind": "spikingformer"})])
def test_a_spikformer_learns_the_attention_of_a_vision_transformer(former: SpikformerConfig) -> None:
    """Its two maps are compared with the second and the fourth of four, without the class token."""
    model, made = vision_transformer(), pupil(former)
    one = lessons(made, Teacher([model]), labels=0.0, logits=0.0, attention=2.0)
    taught = one.ask(X)
    with one.watching(B) as shown:
        scores = made.run(X)[0]
    found = one.loss(scores.mean(), scores, taught, shown, False)
    x = torch.cat([model.class_token.expand(B, -1, -1), model._process_input(X)], 1)
    x = x + model.encoder.pos_embedding
    wanted = []
    with torch.no_grad():
        for layer in model.encoder.layers:
            y = layer.ln_1(x)  # type: ignore[operator, union-attr]
            wanted.append(layer.self_attention(y, y, y)[1][:, 1:, 1:])  # type: ignore[operator, union-attr]
            x = layer(x)
    expected = [attention_difference(a, wanted[n]) for a, n in zip(shown.maps, (1, 3), strict=True)]
    torch.testing.assert_close(found, 2 * torch.stack(expected).mean())
    found.backward()
    assert made.network[0].weight.grad.abs().sum() > 0


def test_a_spikformer_learns_the_attention_of_its_family() -> None:
    torch.manual_seed(4)
    for master in (Spikformer(FORMER), twin(FORMER)):
        weights = to_the_end(learner(lessons(pupil(FORMER), Teacher([master]), attention=1.0), epochs=1))
        assert all(torch.isfinite(x).all() for x in weights.values())


def test_timms_attention() -> None:
    timm = pytest.importorskip("timm")
    model = timm.create_model(
        "vit_tiny_patch16_224", img_size=8, patch_size=2, in_chans=1, num_classes=CLASSES, depth=2, embed_dim=12
    )
    one = lessons(pupil(FORMER), Teacher([model]), attention=1.0)
    maps, layer = one.ask(X).maps, model.blocks[0].attn
    assert [tuple(x.shape) for x in maps] == [(B, 17, 17)] * 2
    torch.testing.assert_close(maps[0].sum(-1), torch.ones(B, 17))
    x = model.norm_pre(model._pos_embed(model.patch_embed(X)))
    q, k, _ = layer.qkv(model.blocks[0].norm1(x)).reshape(B, 17, 3, layer.num_heads, -1).permute(2, 0, 3, 1, 4)
    expected = ((layer.q_norm(q) @ layer.k_norm(k).mT) * layer.scale).softmax(-1).mean(1)
    torch.testing.assert_close(maps[0], expected)


# Interruptions


@pytest.mark.parametrize("batch", [1, N_BATCHES, N_BATCHES + 2])
def test_a_resumed_pupil_equals_one_that_was_never_interrupted(tmp_path: Path, batch: int) -> None:
    recipe: dict[str, Any] = {"optimizer": "adamw", "mixup": 0.3, "ema": 0.9}
    expected = to_the_end(learner(lessons(**EVERYTHING), **recipe))
    broken, asked = learner(lessons(**EVERYTHING), **recipe), iter(range(1, 100))
    while not broken.stopped:
        list(broken.learn(stop=lambda: next(asked) == batch))
    resumed = learner(lessons(**EVERYTHING), **recipe)
    torch.manual_seed(99)
    resumed.load_state(through_disk(broken.state(), tmp_path))
    assert resumed.step == batch
    assert_same(to_the_end(resumed), expected)


def test_the_projection_is_drawn_from_the_seed_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    made, master = SpikingConvNet(NET), teacher()
    torch.set_rng_state(before)
    one = Lessons(Distillation(features=1.0), master, made, X[:2], seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    assert_same(one.state(), Lessons(Distillation(features=1.0), master, made, X[:2], seed=3).state())


# What cannot be compared


@pytest.mark.parametrize(
    ("config", "message"),
    [({"features": 1.0, "pupil_layer": "network.60"}, r"pupil_layer: got 'network.60', did you mean network.\d"),
     ({"features": 1.0, "teacher_layer": "layer4"}, "teacher_layer: got 'layer4', did you mean layer"),
     ({"features": 1.0, "teacher_layer": "zzz"}, "teacher_layer: got 'zzz', allowed are conv1, bn1, relu, .*layer3"),
     ({"attention": 1.0}, "attention: the pupil has no attention maps, allowed are Spikformers")],
)  # fmt: skip
def test_layers_that_are_not_there(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lessons(**config)


def test_attention_that_is_not_there() -> None:
    with pytest.raises(ValueError, match="attention: the teacher has no attention maps"):
        lessons(pupil(FORMER), attention=1.0)
    driven = SpikformerConfig(**{**vars(FORMER), "kind": "spike-driven-transformer"})
    with pytest.raises(ValueError, match="attention: the pupil has no attention maps"):
        lessons(pupil(driven), Teacher([vision_transformer()]), attention=1.0)
    with pytest.raises(ValueError, match="attention: got 16 tokens of the pupil and 5 of the teacher"):
        lessons(pupil(FORMER), Teacher([vision_transformer(patch=4)]), attention=1.0)


def test_teachers_too_many_or_too_few() -> None:
    with pytest.raises(ValueError, match="source: got 2 teachers, allowed is one with features or attention"):
        lessons(by=teacher(2), features=1.0)
    with pytest.raises(ValueError, match="source: got no teacher"):
        Lessons(Distillation(), None, pupil(), X[:2], 0)
    lessons(by=teacher(2))


@pytest.mark.parametrize("name", ["layer1", "layer2.0.relu1", "pool", "flatten"])
def test_layers_that_users_name(name: str) -> None:
    """Maps of any size, and vectors: ``flatten`` gives the means of the last map."""
    one = lessons(features=1.0, teacher_layer=name, pupil_layer="network.2")
    weights = to_the_end(learner(one, epochs=1))
    assert all(torch.isfinite(x).all() for x in weights.values())
