"""Strategies of continual learning by name, with their options; this module does not import Avalanche."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

ANYWHERE = ("class", "task", "domain")


@dataclass(frozen=True)
class Strategy:
    """The description of a strategy, without its implementation."""

    summary: str
    options: Mapping[str, Any] = field(default_factory=dict)
    """Its own arguments with their defaults; arguments of Avalanche keep Avalanche's names."""
    scenarios: tuple[str, ...] = ANYWHERE
    """Scenarios that it supports."""
    replays: bool = False
    """Whether it keeps samples; only then `StrategyConfig.memory` has an effect."""
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Allowed words, for options that are words."""


STRATEGIES: dict[str, Strategy] = {
    "naive": Strategy("no protection from forgetting"),
    "joint": Strategy("all experiences at once, in the first: an upper bound, no continual learning"),
    "cumulative": Strategy("all experiences so far, each time again: an upper bound with all samples in memory"),
    "replay": Strategy(
        "random samples of earlier experiences join each new mini-batch (Rolnick et al. 2019); logit_adjustment > 0 "
        "corrects for the higher frequency of new classes (tau of Menon et al. 2021); distillation > 0 also learns "
        "the answers of the network before the experience (1 as in Wu et al. 2019)",
        {"balance": "experience", "logit_adjustment": 0.0, "distillation": 0.0},
        replays=True, choices={"balance": ("experience", "class")},
    ),
    "ewc": Strategy(
        "elastic weight consolidation (Kirkpatrick et al. 2017); mode online keeps one penalty (Schwarz et al. 2018)",
        {"ewc_lambda": 1.0, "mode": "separate", "decay_factor": None}, choices={"mode": ("separate", "online")},
    ),
    "si": Strategy("synaptic intelligence (Zenke et al. 2017)", {"si_lambda": 1.0, "eps": 0.1}),
    "mas": Strategy("memory aware synapses (Aljundi et al. 2018)", {"lambda_reg": 1.0, "alpha": 0.5}),
    "lwf": Strategy("learning without forgetting (Li & Hoiem 2016)", {"alpha": 1.0, "temperature": 2.0}),
    "gem": Strategy(
        "gradient episodic memory (Lopez-Paz & Ranzato 2017); experiences share the memory equally",
        {"memory_strength": 0.5}, replays=True,
    ),
    "agem": Strategy(
        "averaged GEM (Chaudhry et al. 2019); experiences share the memory equally",
        {"sample_size": 256}, replays=True,
    ),
    "der": Strategy(
        "dark experience replay: samples with their earlier scores; beta > 0 is DER++ (Buzzega et al. 2020)",
        {"alpha": 0.1, "beta": 0.5}, replays=True,
    ),
    "er-ace": Strategy(
        "replay in which new samples compete only with classes of their own mini-batch (Caccia et al. 2022)",
        replays=True,
    ),
    "er-aml": Strategy(
        "er-ace with a metric loss (Caccia et al. 2022)",
        {"temp": 0.1, "base_temp": 0.07, "same_task_neg": True}, ("class",), replays=True,
    ),
    "mir": Strategy(
        "replay of the samples that the next update would harm most (Aljundi et al. 2019)",
        {"subsample": 200}, replays=True,
    ),
    "icarl": Strategy(
        "exemplars by herding, distillation, nearest class mean (Rebuffi et al. 2017)", {}, ("class",), replays=True
    ),
    "gdumb": Strategy(
        "a balanced memory, and for each experience a fresh network trained only on it (Prabhu et al. 2020); `epochs` "
        "counts passes over the memory, null: the epochs of the training",
        {"epochs": None}, replays=True,
    ),
    "spike-replay": Strategy(
        "keeps the spikes that enter a layer, one bit each, and replays them there (after Pellegrini et al. 2020); "
        "layers before it learn only in the first experience; an ANN keeps floats",
        {"layer": None}, replays=True,
    ),
    "active-synapses": Strategy(
        "holds synapses between neurons that are active together; importance is the product of both rates, measured in "
        "forward passes only",
        {"strength": 0.3, "samples": 1000},
    ),
    "task-gates": Strategy(
        "each task uses a random part of all neurons (Masse et al. 2018); their active synapses are held",
        {"gated": 0.2, "strength": 0.3, "samples": 1000}, ("task",),
    ),
}  # fmt: skip
"""All strategies, by name."""


@dataclass(frozen=True)
class StrategyConfig:
    """A strategy, its memory and its options."""

    name: str = "replay"
    """One of `STRATEGIES`."""
    memory: int = 500
    """Largest number of samples that it keeps, over all experiences."""
    memory_bytes: int | None = None
    """The limit in bytes instead, as stored (raw samples or packed spikes). None: `memory` is the limit."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the strategy: ``{ewc_lambda: 10}``."""

    def __post_init__(self) -> None:
        if self.name not in STRATEGIES:
            near = get_close_matches(self.name.lower(), STRATEGIES, n=1)  # people also write EWC
            hint = f"did you mean {near[0]}? Allowed" if near else "allowed"
            raise ValueError(f"name: got {self.name!r}, {hint} are {', '.join(STRATEGIES)}")
        for name in ("memory", "memory_bytes"):
            value = getattr(self, name)
            if value is not None and not 1 <= value <= 10**12:
                raise ValueError(f"{name}: got {value}, allowed is a whole number >= 1 and <= 10^12")
        for key, value in self.options.items():
            self._check_option(key, value)
        mode, decay = self.chosen.get("mode"), self.chosen.get("decay_factor")
        if mode == "online" and decay is None:
            raise ValueError("options.decay_factor: null is not allowed with mode: online; set a number")
        if mode != "online" and decay is not None:
            raise ValueError(f"options.decay_factor: {decay} is not allowed with mode: {mode}; set mode: online")

    def _check_option(self, key: str, value: Any) -> None:
        defaults, choices = STRATEGIES[self.name].options, STRATEGIES[self.name].choices
        if key not in defaults:
            raise ValueError(
                f"options: got {key!r}, allowed for {self.name} are {', '.join(defaults) or 'none'}; set options={{}} "
                "to drop those of another strategy"
            )
        if key in choices and value not in choices[key]:
            raise ValueError(f"options: got {key}: {value!r}, allowed are {', '.join(choices[key])}")
        kind = _kind(key, defaults[key])
        if kind is not None and not kind[1](value):
            raise ValueError(f"options: got {key}: {value!r}, allowed is {kind[0]}")

    @property
    def chosen(self) -> dict[str, Any]:
        """All options, with defaults."""
        return {**STRATEGIES[self.name].options, **self.options}

    def check_scenario(self, scenario: str) -> None:
        """ValueError if the strategy does not support the ``scenario`` of the stream."""
        allowed = STRATEGIES[self.name].scenarios
        if scenario not in allowed:
            reason = ", since it needs task labels" if allowed == ("task",) else ""
            raise ValueError(
                f"strategy: {self.name} is not allowed with scenario: {scenario}{reason}; set scenario: "
                f"{' or '.join(allowed)}"
            )


Kind = tuple[str, Callable[[Any], bool]]
"""Allowed values, in words and as a test."""

WHOLE: Kind = ("a whole number >= 1 and <= 10^9", lambda x: type(x) is int and 1 <= x <= 10**9)
NUMBER: Kind = ("a number >= 0", lambda x: type(x) in (int, float) and 0 <= x < math.inf)
SPECIAL: dict[str, Kind] = {
    "epochs": ("null or a whole number >= 1", lambda x: x is None or WHOLE[1](x)),
    "layer": ("null or a whole number >= 0", lambda x: x is None or (type(x) is int and x >= 0)),
    "decay_factor": ("null or a number >= 0", lambda x: x is None or NUMBER[1](x)),
    "gated": ("a number from 0 to below 1", lambda x: NUMBER[1](x) and x < 1),
}


def _kind(key: str, default: Any) -> Kind | None:
    if key in SPECIAL:
        return SPECIAL[key]
    if isinstance(default, bool):
        return ("true or false", lambda x: isinstance(x, bool))
    if isinstance(default, int):
        return WHOLE
    return NUMBER if isinstance(default, float) else None
