"""Neurons: their equations, their parameters in NIR's terms, and the layer that runs them over time."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from snn4.policies.dynamics import Dynamics, NeuronState, rest_state
from snn4.policies.gene import Gene
from snn4.policies.scan import scan
from snn4.policies.surrogate import SURROGATES

KINDS = {
    "lif": "leaky integrate-and-fire",
    "cuba": "current-based LIF: a synapse with its own time constant before the membrane (Loihi's neuron)",
    "alif": "adaptive LIF: each spike raises the threshold, which then decays",
    "multi": "several membranes with their own time constants, whose mean spikes",
    "plif": "parametric LIF: the membrane time constant is learned",
    "li": "leaky integrator: a readout that gives its membrane and does not spike",
}


@dataclass(frozen=True)
class NeuronConfig:
    """A neuron, with NIR's parameter names (Pedersen et al. 2024): seconds, and volts of no particular unit.

    Each equation is solved exactly for an input that is constant over a step ``dt``: ``decay = exp(-dt / tau_mem)``.

    ``lif``: ``tau_mem dv/dt = (v_leak - v) + r I`` (``nir.LIF``)::

        u[t] = decay * v[t-1] + (1 - decay) * (v_leak + r * I[t])
        s[t] = 1 if u[t] >= v_threshold else 0
        v[t] = u[t] - s[t] * v_threshold            reset: soft
        v[t] = v_reset where s[t] else u[t]         reset: hard

    ``cuba``: ``tau_syn di/dt = -i + I`` before that membrane (``nir.CubaLIF`` with w_in = 1); ``i[t] = syn_decay *
    i[t-1] + (1 - syn_decay) * I[t]`` takes the place of I[t], as if it were constant over the step.

    ``alif``: a LIF that spikes at ``v_threshold + adaptation * a[t-1]``, with ``a[t] = adapt_decay * a[t-1] + s[t]``
    and ``adapt_decay = exp(-dt / tau_adapt)`` (Bellec et al. 2018).

    ``multi``: a membrane for each of tau_mem and ``tau_more``, each as a LIF's; their mean spikes, and each is reset.

    ``plif``: a LIF whose decay, ``sigmoid`` of a parameter, is learned (Fang et al. 2021), one a feature or a layer.

    ``li``: a LIF's membrane without threshold and reset: the output is u[t].

    With ``r`` None, the factors ``1 - decay`` and ``1 - syn_decay`` before inputs are 1: a current I raises the
    membrane by I in one step. Then ``decay`` is snnTorch's ``beta`` (``syn_decay`` its ``alpha``) and Loihi's
    ``1 - dv / 4096`` (``syn_decay``: ``1 - du / 4096``); Norse's ``tau_mem_inv`` is ``(1 - decay) / dt``. The reset
    passes no gradient. Under ``torch.no_grad()`` a spike is a plain comparison: no surrogate is computed or kept.
    """

    kind: Literal["lif", "cuba", "alif", "multi", "plif", "li"] = "lif"
    """The neuron's equations, above."""
    tau_mem: Annotated[float, Gene(2e-3, 100e-3, log=True)] = 20e-3
    """Membrane time constant, seconds; where learning starts for plif."""
    tau_syn: Annotated[float, Gene(1e-3, 50e-3, log=True, only="cuba")] = 5e-3
    """Synaptic time constant, seconds (cuba)."""
    tau_more: tuple[float, ...] = (100e-3,)
    """Time constants of the further membranes, seconds (multi)."""
    tau_adapt: Annotated[float, Gene(10e-3, 1.0, log=True, only="alif")] = 200e-3
    """Time constant with which the threshold comes back, seconds (alif)."""
    adaptation: Annotated[float, Gene(0.0, 2.0, only="alif")] = 0.2
    """What a spike adds to the threshold (alif)."""
    tau_spread: float = 1.0
    """Learned time constants of a layer start evenly, by logarithm, from tau_mem / this to tau_mem * this (plif)."""
    v_threshold: Annotated[float, Gene(0.25, 2.0)] = 1.0
    """A neuron whose membrane reaches this value spikes."""
    v_reset: float = 0.0
    """Membrane after a spike with a hard reset."""
    v_leak: float = 0.0
    """The value to which the membrane decays."""
    r: float | None = None
    """Input resistance; None leaves out the factors before inputs: a current I raises the membrane by I in one step."""
    dt: float = 1e-3
    """Length of one inner step, seconds."""
    reset: Literal["soft", "hard"] = "soft"
    """After a spike: soft subtracts the threshold from the membrane, hard sets it to v_reset."""
    surrogate: Literal["arctan", "sigmoid", "fast_sigmoid", "triangle", "gaussian", "rectangle"] = "arctan"
    """Derivative of the spike in the backward pass."""
    slope: float = 2.0
    """Steepness of the surrogate."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind: got {self.kind!r}, allowed are {', '.join(KINDS)}")
        for name in ("tau_mem", "tau_syn", "tau_adapt", "v_threshold", "dt", "slope"):
            _require(name, getattr(self, name), lambda value: value > 0, "a finite number > 0")
        for tau in self.tau_more:
            _require("tau_more", tau, lambda value: value > 0, "finite numbers > 0")
        if self.kind == "multi" and not self.tau_more:
            raise ValueError("tau_more: got no value, allowed is one time constant or more")
        _require("adaptation", self.adaptation, lambda value: value >= 0, "a finite number >= 0")
        _require("tau_spread", self.tau_spread, lambda value: value >= 1, "a finite number >= 1")
        for name in ("v_reset", "v_leak", "r"):
            if getattr(self, name) is not None:
                _require(name, getattr(self, name), lambda value: True, "a finite number")
        if self.v_reset >= self.v_threshold:
            raise ValueError(f"v_reset: got {self.v_reset}, allowed is a value below v_threshold ({self.v_threshold})")
        if self.reset not in ("soft", "hard"):
            raise ValueError(f"reset: got {self.reset!r}, allowed are soft, hard")
        if self.surrogate not in SURROGATES:
            raise ValueError(f"surrogate: got {self.surrogate!r}, allowed are {', '.join(SURROGATES)}")

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Callable[[Any], Any]) -> dict[str, Any]:
        # pydantic asks a type for its schema, which is plain data: a word may stand where the mapping is expected.
        word = {"type": "no-info", "function": _word}
        return {"type": "function-before", "function": word, "schema": handler(source)}

    @property
    def decay(self) -> float:
        """Fraction of the membrane that is left after one step."""
        return math.exp(-self.dt / self.tau_mem)

    @property
    def gain(self) -> float:
        """What one unit of current adds to the membrane in one step."""
        return 1.0 if self.r is None else (1 - self.decay) * self.r

    @property
    def spikes(self) -> bool:
        """Whether the neuron spikes: all but the leaky integrator do."""
        return self.kind != "li"


def _require(name: str, value: float, holds: object, allowed: str) -> None:
    if not (math.isfinite(value) and holds(value)):  # type: ignore[operator]
        raise ValueError(f"{name}: got {value}, allowed is {allowed}")


PROFILES = {
    # dt / ln 2 and dt / ln 4: decays of 0.5 and 0.25
    "spikformer": NeuronConfig(
        tau_mem=1e-3 / math.log(2), v_threshold=1.0, r=1.0, reset="hard", surrogate="sigmoid", slope=4.0
    ),
    "ms-resnet": NeuronConfig(
        tau_mem=1e-3 / math.log(4), v_threshold=0.5, reset="hard", surrogate="rectangle", slope=1.0
    ),
}
"""Neurons of papers by name.

spikformer: SpikingJelly's LIF with tau = 2, the neuron of Spikformer, Spikingformer and the Spike-driven Transformer.

ms-resnet: the neuron of MS-ResNet (Hu et al. 2024). The authors' neurons spike above the threshold, ours also
exactly at the threshold.
"""


def neuron_config(value: NeuronConfig | Mapping[str, Any] | str) -> NeuronConfig:
    """The neuron that ``value`` means: itself, its fields, a kind of `KINDS` or a profile of `PROFILES`.

    Raises:
        ValueError: for another name, for an unknown field, and whatever `NeuronConfig` refuses.
        TypeError: for a value of another type.
    """
    if isinstance(value, NeuronConfig):
        return value
    if isinstance(value, str):
        if value not in (*KINDS, *PROFILES):
            raise ValueError(f"neuron.kind: got {value!r}, allowed are {', '.join((*KINDS, *PROFILES))}")
        return PROFILES[value] if value in PROFILES else NeuronConfig(kind=value)  # type: ignore[arg-type]
    if not isinstance(value, Mapping):
        raise TypeError(
            f"neuron: got {type(value).__name__}, allowed is a NeuronConfig, a mapping of its fields, or a name"
        )
    names = [field.name for field in fields(NeuronConfig)]
    for key in value:
        if key not in names:
            raise ValueError(f"neuron: got the key {key!r}, allowed are {', '.join(names)}")
    return NeuronConfig(**value)


def _word(value: Any) -> Any:
    """The neuron of a name; other values are pydantic's to check."""
    try:
        return neuron_config(value) if isinstance(value, str) else value
    except ValueError as error:  # pydantic itself names the place of the neuron
        raise ValueError(str(error).removeprefix("neuron.")) from error


@functools.cache
def dynamics(config: NeuronConfig) -> Dynamics:
    """The constants with which `scan` runs ``config``."""
    taus = (config.tau_mem, *(config.tau_more if config.kind == "multi" else ()))
    decays = tuple(math.exp(-config.dt / tau) for tau in taus)
    syn_decay = math.exp(-config.dt / config.tau_syn)
    return Dynamics(
        decay=decays,
        gain=tuple(1.0 if config.r is None else (1 - decay) * config.r for decay in decays),
        leak=tuple((1 - decay) * config.v_leak for decay in decays),
        v_threshold=config.v_threshold,
        reset=config.reset if config.spikes else "none",
        v_reset=config.v_reset,
        syn_decay=syn_decay if config.kind == "cuba" else None,
        syn_gain=1.0 if config.r is None else 1 - syn_decay,
        adaptation=config.adaptation if config.kind == "alif" else None,
        adapt_decay=math.exp(-config.dt / config.tau_adapt),
        surrogate=config.surrogate,
        slope=config.slope,
    )


class Neuron(nn.Module):
    """A layer of neurons: ``(current (T, B, …), state) -> (spikes (T, B, …), state)``.

    Args:
        config: the neuron.
        features: for plif, the shape of the learned time constants, broadcast to a sample (``(n,)`` for dense layers,
            ``(C, 1, 1)`` for images); None learns one for the whole layer.
    """

    def __init__(self, config: NeuronConfig, features: Sequence[int] | None = None) -> None:
        super().__init__()
        self.config, self.dynamics = config, dynamics(config)
        self.decay_logit: nn.Parameter | None = None
        if config.kind == "plif":
            self.decay_logit = nn.Parameter(_spread_decays(config, tuple(features or ())).logit())

    def initial_state(self, current: Tensor) -> NeuronState:
        """Membranes at rest, synapses and adaptation at zero, for input ``current`` (T, B, …)."""
        return rest_state(current, self.dynamics, self.config.v_leak)

    def forward(
        self, current: Tensor, state: NeuronState | None = None, steps: int | None = None
    ) -> tuple[Tensor, NeuronState]:
        """Run over time; with ``steps``, ``current`` may be (1, B, …): the same at each of so many steps."""
        if self.decay_logit is None:
            return scan(current, state, self.dynamics, steps=steps, v_rest=self.config.v_leak)
        if self.config.r is not None or self.config.v_leak:  # learned with the decay
            _, (gain,), (leak,) = self.factors()
            current = (gain * current + leak).to(current.dtype)
        plain = self.dynamics._replace(gain=(1.0,), leak=(0.0,))
        return scan(current, state, plain, steps=steps, decay=self.decay, v_rest=self.config.v_leak)

    @property
    def decay(self) -> Tensor:
        """The decay of the (first) membrane, of the shape of ``features`` where it is learned, else ()."""
        return torch.tensor(self.config.decay) if self.decay_logit is None else self.decay_logit.sigmoid()

    def factors(self) -> tuple[Tensor, Tensor, Tensor]:
        """Decay, gain and leak of each membrane (K, *features): ``u = decay * v + (gain * I + leak)``."""
        if self.decay_logit is None:
            d = self.dynamics
            decay, gain, leak = (torch.tensor(values).unsqueeze(-1) for values in (d.decay, d.gain, d.leak))
            return decay, gain, leak
        decay = self.decay.unsqueeze(0)
        gain = torch.ones_like(decay) if self.config.r is None else (1 - decay) * self.config.r
        return decay, gain, (1 - decay) * self.config.v_leak

    def extra_repr(self) -> str:
        c = self.config
        return f"{c.kind}, tau_mem={c.tau_mem}, v_threshold={c.v_threshold}, reset={c.reset}"


def _spread_decays(config: NeuronConfig, features: tuple[int, ...]) -> Tensor:
    """First decays: time constants evenly spread by their logarithm."""
    n = math.prod(features)
    places = torch.linspace(-1, 1, n) if n > 1 else torch.zeros(1)
    taus = config.tau_mem * config.tau_spread ** places.double()
    return torch.exp(-config.dt / taus).float().reshape(features)
