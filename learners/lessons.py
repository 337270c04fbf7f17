"""The lessons of one pupil: its teacher's answers, what is compared inside both, and the sum of all losses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from snn4.learners.attention_maps import attention_maps, paired
from snn4.learners.distillation import Distillation, attention_difference, divergence, over_time, probabilities
from snn4.learners.features import Projection, alike, difference, last_neurons, layer_of, outlook, watched
from snn4.learners.recipe import Recipe, lay_out
from snn4.learners.teachers import Teacher, as_seen_by, inside
from snn4.policies.modes import evaluating
from snn4.policies.networks.classifier import Network


@dataclass
class Seen:
    """What a network shows of a batch: scores of a teacher, features, attention maps; empty if not compared."""

    logits: Tensor | None = None
    """(teachers, B, classes)"""
    features: list[Tensor] = field(default_factory=list)
    maps: list[Tensor] = field(default_factory=list)


class Lessons:
    """What ``pupil`` learns beside, or instead of, its labels.

    Args:
        config: weights of the losses.
        teacher: None if only steps teach each other.
        pupil: the network that learns, a spiking one or its twin.
        x: an example, two images or recordings, that shows the sizes of all features.
        seed: of the projection's weights.

    Raises:
        ValueError: the config names a layer that is not there, or a network has no attention maps; with the field.
    """

    def __init__(self, config: Distillation, teacher: Teacher | None, pupil: Network, x: Tensor, seed: int) -> None:
        self.config = config
        self.teacher = teacher
        self.pupil = pupil
        self.projection: Projection | None = None
        """Learns with the pupil; None if no features are compared."""
        self._layers: dict[nn.Module, nn.Module] = {}
        """The compared layer of each network."""
        if teacher is None and config.asks:
            raise ValueError("source: got no teacher, allowed without one is the loss of steps alone; set logits: 0")
        if teacher is None or not config.looks_inside:
            return
        if len(teacher.networks) > 1:
            got = f"{len(teacher.networks)} teachers"
            raise ValueError(f"source: got {got}, allowed is one with features or attention; or set both to 0")
        self._choose_layers(inside(teacher.networks[0]), x)
        with evaluating(pupil):
            taught = self.ask(x)
            with self.watching(x.shape[-4]) as shown:
                pupil(as_seen_by(pupil, x))
        if config.features:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                self.projection = Projection(*alike(shown.features[0], taught.features[0]), config.blur)
        if config.attention:
            _check_maps(shown.maps, taught.maps)

    def _choose_layers(self, master: nn.Module, x: Tensor) -> None:
        config = self.config
        for network, key in ((master, "teacher_layer"), (self.pupil, "pupil_layer")) if config.features else ():
            views = outlook(network, as_seen_by(network, x))
            name = getattr(config, key)
            if network is self.pupil and config.matched == "currents" and name is None:
                name = last_neurons(network, views, key)
            self._layers[network] = network.get_submodule(layer_of(views, name, key))

    def joined(self, config: Recipe, device: torch.device) -> nn.Module:
        """All that learns, pupil and projection; puts the projection and the teacher on ``device``."""
        for module in (self.teacher, self.projection):
            if module is not None:
                lay_out(module.to(device), config)
        return self.pupil if self.projection is None else nn.ModuleList([self.pupil, self.projection])

    def share_gradients(self, fabric: Fabric) -> None:
        """Average the gradients of the projection, which is no part of the network that all processes share."""
        for parameter in self.projection.parameters() if self.projection is not None and fabric.world_size > 1 else ():
            assert parameter.grad is not None
            parameter.grad = fabric.all_reduce(parameter.grad, reduce_op="mean")  # type: ignore[assignment]

    def state(self) -> dict[str, Any]:
        """The weights of the projection."""
        return {} if self.projection is None else self.projection.state_dict()

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
        if self.projection is not None:
            self.projection.load_state_dict(state)

    def ask(self, x: Tensor, logits: Tensor | None = None) -> Seen:
        """What the teacher shows of the batch ``x``; if it has given its ``logits`` before, only these."""
        if self.teacher is None or logits is not None:
            return Seen(logits)
        with self._watching(inside(self.teacher.networks[0]), x.shape[-4], inputs=False) as seen:
            seen.logits = self.teacher.logits(x)
        return seen

    def watching(self, batch: int) -> AbstractContextManager[Seen]:
        """What the pupil shows of a ``batch`` of so many samples inside the block."""
        return self._watching(self.pupil, batch, inputs=self.config.matched == "currents")

    @contextmanager
    def _watching(self, network: nn.Module, batch: int, inputs: bool) -> Iterator[Seen]:
        seen = Seen()
        with ExitStack() as stack:
            if network in self._layers:
                seen.features = stack.enter_context(watched(self._layers[network], batch, inputs))
            if self.config.attention:
                seen.maps = stack.enter_context(attention_maps(network, batch))
            yield seen

    def loss(self, own: Tensor, scores: Tensor, taught: Seen, shown: Seen, by_step: bool) -> Tensor:
        """The weighted sum of all losses.

        Args:
            own: the recipe's loss of the labels.
            scores: of the pupil at each step, (T, B, classes).
            taught, shown: of teacher and pupil.
            by_step: whether the teacher teaches every step, and not their mean.
        """
        config, heat = self.config, self.config.temperature
        total = config.labels * own
        if config.logits and taught.logits is not None:
            wanted = probabilities(taught.logits, heat)
            total = total + config.logits * divergence(scores if by_step else scores.mean(0), wanted, heat)
        if self.projection is not None:
            apart = difference(self.projection, shown.features[0], taught.features[0])
            total = total + config.features * apart
        if config.steps:
            total = total + config.steps * over_time(scores, heat, config.steps_from)
        if config.attention:
            pairs = paired(shown.maps, taught.maps)
            apart = torch.stack([attention_difference(*pair) for pair in pairs]).mean()
            total = total + config.attention * apart
        return total


def _check_maps(pupil: list[Tensor], teacher: list[Tensor]) -> None:
    """ValueError unless both networks have attention maps, of equal sizes."""
    for name, maps in (("pupil", pupil), ("teacher", teacher)):
        if not maps:
            raise ValueError(
                f"attention: the {name} has no attention maps, allowed are Spikformers, Spikingformers, and vision "
                "transformers as teachers; set attention: 0"
            )
    for a, b in paired(pupil, teacher):
        if a.shape != b.shape:
            got = f"{a.shape[-1]} tokens of the pupil and {b.shape[-1]} of the teacher"
            raise ValueError(f"attention: got {got}, allowed are as many; set attention: 0, or change network.options")
