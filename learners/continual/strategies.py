"""Strategies of continual learning by name, and what can be set of each; nothing here imports Avalanche."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

ANYWHERE = ("class", "task", "domain")


@dataclass(frozen=True)
class Strategy:
    """What there is to know of a strategy without making it."""

    summary: str
    options: Mapping[str, Any] = field(default_factory=dict)
    """Its own arguments, with what they are by default; Avalanche's have Avalanche's names."""
    scenarios: tuple[str, ...] = ANYWHERE
    """Where it can work."""
    replays: bool = False
    """Whether it keeps samples, so that `StrategyConfig.memory` means something."""
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Options that are one of a few words."""


STRATEGIES: dict[str, Strategy] = {
    "naive": Strategy("nothing against forgetting"),
    "joint": Strategy("all experiences at once, in the first: an upper bound, no continual learning"),
    "cumulative": Strategy("all experiences so far, again and again: an upper bound with all samples in memory"),
    "replay": Strategy(
        "random samples of earlier experiences beside each new mini-batch (Rolnick et al. 2019); logit_adjustment > 0 "
        "makes up for how much more often new classes come (tau of Menon et al. 2021); distillation > 0 also learns "
        "from what the network said before the experience (1 as in Wu et al. 2019)",
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
        "gradient episodic memory (Lopez-Paz & Ranzato 2017); memory is shared out to the experiences",
        {"memory_strength": 0.5}, replays=True,
    ),
    "agem": Strategy(
        "averaged GEM (Chaudhry et al. 2019); memory is shared out to the experiences",
        {"sample_size": 256}, replays=True,
    ),
    "der": Strategy(
        "dark experience replay: samples with the scores they had; beta > 0 is DER++ (Buzzega et al. 2020)",
        {"alpha": 0.1, "beta": 0.5}, replays=True,
    ),
    "er-ace": Strategy(
        "replay where new samples compete with the classes of their own mini-batch only (Caccia et al. 2022)",
        replays=True,
    ),
    "er-aml": Strategy(
        "the same with a metric loss (Caccia et al. 2022)",
        {"temp": 0.1, "base_temp": 0.07, "same_task_neg": True}, ("class",), replays=True,
    ),
    "mir": Strategy(
        "replay of what the next update would harm most (Aljundi et al. 2019)", {"subsample": 200}, replays=True
    ),
    "icarl": Strategy(
        "exemplars by herding, distillation, nearest class mean (Rebuffi et al. 2017)", {}, ("class",), replays=True
    ),
    "gdumb": Strategy(
        "a balanced memory, and each time a fresh network trained on it alone (Prabhu et al. 2020); `epochs` are those "
        "on the memory, null the training's own",
        {"epochs": None}, replays=True,
    ),
    "spike-replay": Strategy(
        "the spikes that enter a layer are kept, a bit each, and replayed from there (after Pellegrini et al. 2020); "
        "what is before the layer learns in the first experience only; an ANN keeps floats",
        {"layer": None}, replays=True,
    ),
    "active-synapses": Strategy(
        "synapses between neurons that are active together are held fast: importance is the product of both rates, "
        "from forward passes alone",
        {"strength": 0.3, "samples": 1000},
    ),
    "task-gates": Strategy(
        "each task has the use of a random part of all neurons (Masse et al. 2018), and their active synapses are held",
        {"gated": 0.2, "strength": 0.3, "samples": 1000}, ("task",),
    ),
}  # fmt: skip
"""Every strategy that has a name."""


@dataclass(frozen=True)
class StrategyConfig:
    """A strategy by its name, its memory, and what is changed in it."""

    name: str = "replay"
    """One of `STRATEGIES`."""
    memory: int = 500
    """Samples that it may keep, of all experiences together."""
    memory_bytes: int | None = None
    """The same in bytes, counted as they are stored (raw samples, or packed spikes); None counts by `memory`."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Its own arguments: ``{ewc_lambda: 10}``."""

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
        if (mode == "online") != (decay is not None):
            allowed = "a number" if mode == "online" else "null"
            raise ValueError(f"options.decay_factor: got {decay} with mode: {mode}, allowed is {allowed}")

    def _check_option(self, key: str, value: Any) -> None:
        known, choices = STRATEGIES[self.name].options, STRATEGIES[self.name].choices
        if key not in known:
            raise ValueError(
                f"options: got {key!r}, allowed for {self.name} are {', '.join(known) or 'none'}; or options={{}}, "
                "without those of another strategy"
            )
        if key in choices and value not in choices[key]:
            raise ValueError(f"options: got {key}: {value!r}, allowed are {', '.join(choices[key])}")
        kind = _kind(key, known[key])
        if kind is not None and not kind[1](value):
            raise ValueError(f"options: got {key}: {value!r}, allowed is {kind[0]}")

    @property
    def chosen(self) -> dict[str, Any]:
        """All options, as they are by default where nothing else is said."""
        return {**STRATEGIES[self.name].options, **self.options}

    def check_scenario(self, scenario: str) -> None:
        """ValueError where the strategy cannot work in the stream's ``scenario``."""
        allowed = STRATEGIES[self.name].scenarios
        if scenario in allowed:
            return
        if allowed == ("task",):
            raise ValueError(f"strategy: got {self.name}, which needs task labels, on a stream without; allowed is "
                             "scenario: task")  # fmt: skip
        raise ValueError(
            f"strategy: got {self.name} in scenario {scenario}, allowed is scenario: {' or '.join(allowed)}"
        )


Kind = tuple[str, Callable[[Any], bool]]
"""What a value may be, in words and as a test."""

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
