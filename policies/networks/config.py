"""A named network and its changed fields."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any, Literal

from snn4.policies.gene import Gene, Locus, loci, with_genes
from snn4.policies.neurons import NeuronConfig, neuron_config

if TYPE_CHECKING:
    from snn4.policies.networks.classifier import ClassifierConfig

MOST_STEPS, LARGEST_OPTION = 10_000, 1_000_000
"""Limits of the inner steps per input, and of numbers in options (channels, widths and other sizes)."""

_ANY_IMAGES = 3, (256, 256), 10
"""Channels, size and classes of data that all networks take: options do not depend on them."""


@dataclass(frozen=True)
class NetworkConfig:
    """A named network and its changed fields; the data determines its input and classes."""

    name: str = "vgg-small"
    """One of `snn4.policies.networks.perception.NETWORKS`."""
    T: Annotated[int, Gene(1, 16, log=True)] = 4
    """Inner steps per image; for events, the number of bins in the data."""
    neuron: NeuronConfig = field(default_factory=NeuronConfig)
    """Also the name of a kind, or of a paper's neuron (spikformer, ms-resnet), as for `neuron_config`."""
    backend: Literal["torch", "snntorch", "norse"] = "torch"
    """The library that computes the neurons: torch is this project's own code; snntorch and norse are slower, and serve
    as a comparison."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Changes of other fields of the named network's config: ``{channels: [64, 128]}``."""

    def __post_init__(self) -> None:
        from snn4.policies.networks.perception import NETWORKS  # here, because a policy without an encoder needs none

        object.__setattr__(self, "neuron", neuron_config(self.neuron))
        if self.name not in NETWORKS:
            near = get_close_matches(self.name, NETWORKS, n=1)
            hint = f"did you mean {near[0]}? Allowed" if near else "allowed"
            raise ValueError(f"name: got {self.name!r}, {hint} are {', '.join(NETWORKS)}")
        if not 1 <= self.T <= MOST_STEPS:
            raise ValueError(f"T: got {self.T}, allowed is a whole number >= 1 and <= {MOST_STEPS:,}")
        names = [field.name for field in dataclasses.fields(NETWORKS[self.name])]
        allowed = [name for name in names if name not in ("in_channels", "image_size", "n_classes", "T", "neuron")]
        for key in self.options:
            if key not in allowed:
                raise ValueError(
                    f"options: got {key!r}, allowed for {self.name} are {', '.join(allowed)}; options={{}} removes the "
                    "options of another network"
                )
            if any(number > LARGEST_OPTION for number in _numbers(self.options[key])):
                raise ValueError(f"options: got {key}: {self.options[key]}, allowed are numbers <= {LARGEST_OPTION:,}")

    def more_genes(self) -> dict[str, Locus]:
        """Those of the named network's own config: channels, norm, shortcut."""
        own = {field.name for field in dataclasses.fields(self)}
        found = loci(self.resolve(*_ANY_IMAGES))
        return {f"options.{name}": locus for name, locus in found.items() if name.partition(".")[0] not in own}

    def with_gene(self, name: str, value: Any) -> NetworkConfig:
        """This config with another option."""
        key = name.partition(".")[2]
        option = key.partition(".")[0]
        chosen = with_genes(self.resolve(*_ANY_IMAGES), {key: value})
        return dataclasses.replace(self, options={**self.options, option: getattr(chosen, option)})

    def resolve(self, in_channels: int, image_size: tuple[int, int], n_classes: int) -> ClassifierConfig:
        """The complete config for this data; ValueError, with the field's name, if a field does not fit."""
        from snn4.policies.networks.perception import NETWORKS

        options = _tuples(self.options)
        try:
            return dataclasses.replace(
                NETWORKS[self.name], in_channels=in_channels, image_size=image_size, n_classes=n_classes,
                T=self.T, neuron=self.neuron, **options,
            )  # fmt: skip
        except TypeError as error:  # options have no types of their own
            raise ValueError(f"options: got {options}, one of which has a wrong type ({error})") from error


def _tuples(options: Mapping[str, Any]) -> dict[str, Any]:
    """``options`` with tuples in place of the lists that YAML has."""
    return {name: tuple(x) if isinstance(x, list) else x for name, x in options.items()}


def _numbers(option: Any) -> Iterator[float]:
    """All numbers in an option, which is a number, a list or a mapping."""
    if isinstance(option, (list, tuple, Mapping)):
        for inner in option.values() if isinstance(option, Mapping) else option:
            yield from _numbers(inner)
    elif isinstance(option, (int, float)):
        yield option
