"""Neurons: their equations, their parameters with NIR's names, and the layer that runs them over time."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from snn4.policies.dynamics import Dynamics, NeuronState, rest_state
from snn4.policies.gene import Choice, Gene
from snn4.policies.scan import scan
from snn4.policies.surrogate import SURROGATES

KINDS = {
    "lif": "leaky integrate-and-fire",
    "cuba": "current-based LIF: a synapse with its own time constant before the membrane (Loihi's neuron)",
    "alif": "adaptive LIF: each spike raises the threshold, which then decays",
    "multi": "several membranes with different time constants; their mean decides on a spike",
    "plif": "parametric LIF: the membrane time constant is learned",
    "if": "integrate-and-fire, without leak: its rate is a quantized ReLU of its current, as in converted networks",
    "signed_if": "integrate-and-fire that takes a spike back with a negative one when its membrane falls below zero",
    "li": "leaky integrator: a readout whose output is its membrane; it does not spike",
}
NEVER_LEAK = ("if", "signed_if")


@dataclass(frozen=True)
class NeuronConfig:
    """A neuron, with NIR's parameter names (Pedersen et al. 2024): seconds, and volts of no particular unit.

    Each equation is solved exactly for an input that stays constant during a step ``dt``:
    ``decay = exp(-dt / tau_mem)``.

    ``lif``: ``tau_mem dv/dt = (v_leak - v) + r I`` (``nir.LIF``):

        u[t] = decay * v[t-1] + (1 - decay) * (v_leak + r * I[t])
        s[t] = 1 if u[t] >= v_threshold else 0
        v[t] = u[t] - s[t] * v_threshold            reset: soft
        v[t] = v_reset where s[t] else u[t]         reset: hard

    ``cuba``: a synapse, ``tau_syn di/dt = -i + I``, before the membrane of a LIF (``nir.CubaLIF`` with w_in = 1).
    ``i[t] = syn_decay * i[t-1] + (1 - syn_decay) * I[t]`` replaces I[t], as if it were constant during the step.

    ``alif``: a LIF that spikes at ``v_threshold + adaptation * a[t-1]``, with ``a[t] = adapt_decay * a[t-1] + s[t]``
    and ``adapt_decay = exp(-dt / tau_adapt)`` (Bellec et al. 2018).

    ``multi``: one membrane of a LIF for each time constant in tau_mem and ``tau_more``. The neuron spikes when their
    mean reaches the threshold, and a spike resets every membrane.

    ``plif``: a LIF that learns its decay, the ``sigmoid`` of a parameter (Fang et al. 2021), per feature or per layer.

    ``if``: a LIF with decay 1 (``nir.IF``): ``u[t] = v[t-1] + r * I[t]``. It starts from v_leak, where half of
    v_threshold rounds its number of spikes instead of cutting it off.

    ``signed_if``: an IF that also spikes with -1, which adds v_threshold to its membrane, if ``u[t] < 0`` and its past
    spikes sum to more than 0. So it takes back spikes that came too early (Wang et al. 2022). The reset is soft. In the
    backward pass, both thresholds have the surrogate: at v_threshold, and at 0 where a spike can be taken back.

    ``li``: the membrane of a LIF without threshold and reset; the output is u[t].

    With ``r`` None, the factors ``1 - decay`` and ``1 - syn_decay`` of the inputs are 1: a current I raises the
    membrane by I in one step. Then ``decay`` is snnTorch's ``beta`` (``syn_decay`` its ``alpha``) and Loihi's
    ``1 - dv / 4096`` (``syn_decay``: ``1 - du / 4096``); Norse's ``tau_mem_inv`` is ``(1 - decay) / dt``. The reset
    passes no gradient. Under ``torch.no_grad()`` a spike is a plain comparison: no surrogate is computed or stored.
    """

    kind: Annotated[
        Literal["lif", "cuba", "alif", "multi", "plif", "if", "signed_if", "li"], Choice(("lif", "cuba", "alif"))
    ] = "lif"
    """The neuron's equations, given above."""
    tau_mem: Annotated[float, Gene(2e-3, 100e-3, log=True)] = 20e-3
    """Membrane time constant, seconds; for plif, the value from which learning starts."""
    tau_syn: Annotated[float, Gene(1e-3, 50e-3, log=True, only="cuba")] = 5e-3
    """Synaptic time constant, seconds (cuba)."""
    tau_more: tuple[float, ...] = (100e-3,)
    """Time constants of the additional membranes, seconds (multi)."""
    tau_adapt: Annotated[float, Gene(10e-3, 1.0, log=True, only="alif")] = 200e-3
    """Time constant with which the threshold returns to v_threshold, seconds (alif)."""
    adaptation: Annotated[float, Gene(0.0, 2.0, only="alif")] = 0.2
    """Rise of the threshold per spike (alif)."""
    tau_spread: float = 1.0
    """The learned time constants of a layer start evenly spaced on a log scale, from tau_mem / tau_spread to
    tau_mem * tau_spread (plif)."""
    v_threshold: Annotated[float, Gene(0.25, 2.0)] = 1.0
    """A neuron spikes when its membrane reaches this value."""
    v_reset: float = 0.0
    """Membrane after a spike with a hard reset."""
    v_leak: float = 0.0
    """The value to which the membrane decays, and from which it starts."""
    r: float | None = None
    """Input resistance; None omits the factors of the inputs: a current I raises the membrane by I in one step."""
    dt: float = 1e-3
    """Length of one inner step, seconds."""
    reset: Annotated[Literal["soft", "hard"], Choice(("soft", "hard"))] = "soft"
    """After a spike: soft subtracts the threshold from the membrane, hard sets it to v_reset."""
    surrogate: Annotated[
        Literal["arctan", "sigmoid", "fast_sigmoid", "triangle", "gaussian", "rectangle"],
        Choice(("arctan", "sigmoid", "fast_sigmoid", "triangle", "gaussian")),
    ] = "arctan"
    """Derivative of the spike in the backward pass."""
    slope: Annotated[float, Gene(0.5, 10.0, log=True)] = 2.0
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
        if self.kind == "signed_if" and self.reset != "soft":
            raise ValueError(f"reset: got {self.reset!r}, allowed with kind signed_if is soft")
        if self.surrogate not in SURROGATES:
            raise ValueError(f"surrogate: got {self.surrogate!r}, allowed are {', '.join(SURROGATES)}")

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> dict[str, Any]:
        # pydantic asks a type for its schema, which is plain data: this one accepts a name in place of the mapping. It
        # takes the place of the mapping's under its reference, which stands for the type everywhere else in a config.
        fields = dict(handler.resolve_ref_schema(handler(source)))
        reference = {"ref": fields.pop("ref")} if "ref" in fields else {}
        word = {"type": "no-info", "function": _word}
        return {"type": "function-before", "function": word, "schema": fields, **reference}

    @property
    def decay(self) -> float:
        """Fraction of the membrane that remains after one step."""
        return 1.0 if self.kind in NEVER_LEAK else math.exp(-self.dt / self.tau_mem)

    @property
    def gain(self) -> float:
        """Rise of the membrane in one step per unit of current."""
        return _gain(self, self.decay)

    @property
    def spikes(self) -> bool:
        """Whether the neuron spikes: all kinds do except the leaky integrator."""
        return self.kind != "li"


def _require(name: str, value: float, condition: Callable[[float], bool], allowed: str) -> None:
    if not (math.isfinite(value) and condition(value)):
        raise ValueError(f"{name}: got {value}, allowed is {allowed}")


def _on_loihi(fields: Mapping[str, Any]) -> dict[str, Any]:
    """``fields`` of a neuron, with the decay on Loihi's grid and a strict threshold.

    Loihi's decays are ``1 - dv / 4096``, and it spikes above the threshold, not at it. In float32, spiking above a
    threshold is the same as spiking at the next larger number.
    """
    numbers = {name: fields[name] for name in ("tau_mem", "dt", "v_threshold")}
    if not all(isinstance(x, (int, float)) and 0 < x < math.inf for x in numbers.values()):
        return dict(fields)  # the checks of the fields say what is wrong
    steps = min(max(round(4096 * (1 - math.exp(-numbers["dt"] / numbers["tau_mem"]))), 1), 4095)
    threshold = np.float32(numbers["v_threshold"])
    return {
        **fields,
        "tau_mem": -numbers["dt"] / math.log1p(-steps / 4096),
        "v_threshold": float(np.nextafter(threshold, np.float32(np.inf))),
    }


PROFILES = {
    # dt / ln 2 and dt / ln 4: decays of 0.5 and 0.25
    "spikformer": NeuronConfig(
        tau_mem=1e-3 / math.log(2), v_threshold=1.0, r=1.0, reset="hard", surrogate="sigmoid", slope=4.0
    ),
    "ms-resnet": NeuronConfig(
        tau_mem=1e-3 / math.log(4), v_threshold=0.5, reset="hard", surrogate="rectangle", slope=1.0
    ),
    "loihi": NeuronConfig(**_on_loihi(asdict(NeuronConfig(reset="hard")))),
}
"""Neurons of published papers and of a chip, by name.

spikformer: SpikingJelly's LIF with tau = 2, the neuron of Spikformer, Spikingformer and the Spike-driven Transformer.

ms-resnet: the neuron of MS-ResNet (Hu et al. 2024). The authors' neurons spike above the threshold; these also spike
exactly at the threshold.

loihi: a LIF that Loihi computes step by step (docs/loihi.md): a decay of ``1 - dv / 4096``, a hard reset to 0, and a
spike above the threshold, not at it: v_threshold is the next float32 after it.
"""


def neuron_config(value: NeuronConfig | Mapping[str, Any] | str) -> NeuronConfig:
    """The config for ``value``: a config, a mapping of its fields, a kind of `KINDS` or a profile of `PROFILES`.

    In a mapping, ``profile`` names a profile, of which the other fields are changes. With loihi, tau_mem then moves to
    the nearest decay of its grid, and v_threshold to the next float32.

    Raises:
        ValueError: for an unknown name or field, and for values that `NeuronConfig` refuses.
        TypeError: for a value of any other type.
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
    value = with_profile(value)
    for key in value:
        if key not in names:
            raise ValueError(f"neuron: got the key {key!r}, allowed are {', '.join(names)}")
    return NeuronConfig(**value)


def with_profile(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """The fields of ``value``, where a profile stands for its own; ValueError for an unknown one."""
    if "profile" not in value:
        return value
    name = value["profile"]
    if not isinstance(name, str) or name not in PROFILES:
        raise ValueError(f"neuron.profile: got {name!r}, allowed are {', '.join(PROFILES)}")
    changes = {key: changed for key, changed in value.items() if key != "profile"}
    whole = {**asdict(PROFILES[name]), **changes}
    if name != "loihi" or not changes:
        return whole
    if whole["reset"] != "hard":
        raise ValueError(f"neuron.reset: got {whole['reset']!r}, allowed with profile loihi is hard; leave it out")
    return _on_loihi(whole)


def _word(value: Any) -> Any:
    """The config of a name, and the fields of a profile; pydantic checks all other values."""
    try:
        if isinstance(value, dict):
            return with_profile(value)
        return neuron_config(value) if isinstance(value, str) else value
    except ValueError as error:  # pydantic adds the neuron's place in the config
        raise ValueError(str(error).removeprefix("neuron.")) from error


def _gain(config: NeuronConfig, decay: float) -> float:
    """Rise of a membrane with this ``decay`` in one step per unit of current."""
    if config.r is None:
        return 1.0
    return config.r if config.kind in NEVER_LEAK else (1 - decay) * config.r


@functools.cache
def dynamics(config: NeuronConfig) -> Dynamics:
    """The constants that `scan` needs to run ``config``."""
    more = config.tau_more if config.kind == "multi" else ()
    decays = (config.decay, *(math.exp(-config.dt / tau) for tau in more))
    signed = config.kind == "signed_if"
    syn_decay = math.exp(-config.dt / config.tau_syn)
    return Dynamics(
        decay=decays,
        gain=tuple(_gain(config, decay) for decay in decays),
        leak=tuple((1 - decay) * config.v_leak for decay in decays),
        v_threshold=config.v_threshold,
        reset=config.reset if config.spikes else "none",
        v_reset=config.v_reset,
        syn_decay=syn_decay if config.kind == "cuba" else None,
        syn_gain=1.0 if config.r is None else 1 - syn_decay,
        # The adaptation of a signed neuron, which neither decays nor acts, is the sum of its spikes.
        adaptation=config.adaptation if config.kind == "alif" else 0.0 if signed else None,
        adapt_decay=1.0 if signed else math.exp(-config.dt / config.tau_adapt),
        signed=signed,
        surrogate=config.surrogate,
        slope=config.slope,
    )


class Neuron(nn.Module):
    """A layer of neurons: ``(current (T, B, …), state) -> (spikes (T, B, …), state)``.

    Args:
        config: the neuron.
        features: for plif, the shape of the learned time constants, which broadcasts to a sample (``(n,)`` for dense
            layers, ``(C, 1, 1)`` for images); None learns one time constant for the whole layer.
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
        """Run over time; with ``steps``, a ``current`` (1, B, …) is the same at each of these steps."""
        if self.decay_logit is None:
            return scan(current, state, self.dynamics, steps=steps, v_rest=self.config.v_leak)
        if self.config.r is not None or self.config.v_leak:  # both follow the learned decay
            _, (gain,), (leak,) = self.factors()
            current = (gain * current + leak).to(current.dtype)
        plain = self.dynamics._replace(gain=(1.0,), leak=(0.0,))
        return scan(current, state, plain, steps=steps, decay=self.decay, v_rest=self.config.v_leak)

    @property
    def decay(self) -> Tensor:
        """The decay of the (first) membrane; its shape is ``features`` if it is learned, else ()."""
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
    """Initial decays (``features``), from time constants that are evenly spaced on a log scale."""
    n = math.prod(features)
    exponents = torch.linspace(-1, 1, n) if n > 1 else torch.zeros(1)
    taus = config.tau_mem * config.tau_spread ** exponents.double()
    return torch.exp(-config.dt / taus).float().reshape(features)
