"""A network by its name, and what is changed in it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any, Literal

from snn4.policies.gene import Gene
from snn4.policies.neurons import NeuronConfig, neuron_config

if TYPE_CHECKING:
    from snn4.policies.networks.classifier import ClassifierConfig

MOST_STEPS, LARGEST_OPTION = 10_000, 1_000_000
"""Inner steps for an input; channels, widths and whatever else a network is made of."""


@dataclass(frozen=True)
class NetworkConfig:
    """A network by its name, and what is changed in it; its input and classes come from the data."""

    name: str = "vgg-small"
    """One of `snn4.policies.networks.perception.NETWORKS`."""
    T: Annotated[int, Gene(1, 16)] = 4
    """Inner steps for an image; of events, as many as the data has bins."""
    neuron: NeuronConfig = field(default_factory=NeuronConfig)
    """Also what `neuron_config` takes: the name of a kind, or of a paper's neuron (spikformer, ms-resnet)."""
    backend: Literal["torch", "snntorch", "norse"] = "torch"
    """Whose neurons: this project's, or those of a library, to compare with; slower."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Other fields of the named network's config, changed: ``{channels: [64, 128]}``."""

    def __post_init__(self) -> None:
        from snn4.policies.networks.perception import NETWORKS  # on use: a policy without an encoder needs none of them

        object.__setattr__(self, "neuron", neuron_config(self.neuron))
        if self.name not in NETWORKS:
            near = get_close_matches(self.name, NETWORKS, n=1)
            hint = f"did you mean {near[0]}? Allowed" if near else "allowed"
            raise ValueError(f"name: got {self.name!r}, {hint} are {', '.join(NETWORKS)}")
        if not 1 <= self.T <= MOST_STEPS:
            raise ValueError(f"T: got {self.T}, allowed is a whole number >= 1 and <= {MOST_STEPS:,}")
        theirs = [f.name for f in dataclasses.fields(NETWORKS[self.name])]
        allowed = [name for name in theirs if name not in ("in_channels", "image_size", "n_classes", "T", "neuron")]
        for key in self.options:
            if key not in allowed:
                raise ValueError(
                    f"options: got {key!r}, allowed for {self.name} are {', '.join(allowed)}; or options={{}}, without "
                    "those of another network"
                )
            if any(number > LARGEST_OPTION for number in _numbers(self.options[key])):
                raise ValueError(f"options: got {key}: {self.options[key]}, allowed are numbers <= {LARGEST_OPTION:,}")

    def resolve(self, in_channels: int, image_size: tuple[int, int], n_classes: int) -> ClassifierConfig:
        """The whole config for such data; ValueError naming a field that does not fit."""
        from snn4.policies.networks.perception import NETWORKS

        options = {name: tuple(x) if isinstance(x, list) else x for name, x in self.options.items()}
        try:
            return dataclasses.replace(
                NETWORKS[self.name], in_channels=in_channels, image_size=image_size, n_classes=n_classes,
                T=self.T, neuron=self.neuron, **options,
            )  # fmt: skip
        except TypeError as error:  # options have no types of their own
            raise ValueError(f"options: got {options}, of which one is of a wrong type ({error})") from error


def _numbers(option: Any) -> Iterator[float]:
    """All numbers in an option: one, or those of a list."""
    if isinstance(option, (list, tuple)):
        for inner in option:
            yield from _numbers(inner)
    elif isinstance(option, (int, float)):
        yield option
