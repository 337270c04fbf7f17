"""Codes: from values to spikes over time. `decoding` is the way back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from snn4.policies.dynamics import Dynamics, NeuronState, state_dtype
from snn4.policies.engine.plain import Code
from snn4.policies.gene import Choice, Gene
from snn4.policies.scan import is_recorded, scan
from snn4.policies.surrogate import spike

Bounds = tuple[NDArray[np.float32], NDArray[np.float32]]

ENCODERS = {
    "direct": "the values are the current of every step",
    "rate": "the value is the fraction of steps with a spike, drawn at random or evenly spaced",
    "latency": "one spike, which comes earlier for a larger value",
    "delta": "ON and OFF spikes, one per threshold by which the value has changed",
    "population": "Gaussian receptive fields that spike",
    "phase": "the bits of the value, the most significant first, repeated in every period",
}


@dataclass(frozen=True)
class CodingConfig:
    """How an observation becomes the input of the first layer (docs/codes.md shows the codes).

    All codes except direct and population encode a value as its fraction of the range from its low to its high bound.
    Values outside the range are clipped.
    """

    kind: Annotated[
        Literal["direct", "rate", "latency", "delta", "population", "phase"],
        Choice(("direct", "population"), form=True),
    ] = "direct"
    """direct: the values are the current of every step. rate: the value is the fraction of steps with a spike. latency:
    one spike, which comes earlier for a larger value. delta: ON and OFF spikes, one per threshold by which the value
    has changed. population: Gaussian receptive fields that spike. phase: the bits of the value, one per step."""
    neurons_per_input: Annotated[int, Gene(4, 20, only="population", form=True)] = 10
    """Receptive fields per value (population)."""
    width: Annotated[float, Gene(0.25, 2.0, only="population")] = 0.75
    """Initial standard deviation of a receptive field, in distances between neighbouring centres (population)."""
    unbounded_range: float = 3.0
    """Range of values without bounds: from -unbounded_range to unbounded_range; values with one bound have a range of
    twice unbounded_range from that bound (all codes except direct)."""
    deterministic: bool = False
    """Space the spikes evenly instead of drawing them at random, so a value always has the same code (rate)."""
    latency_threshold: float = 0.0
    """Values below this fraction of their range give no spike (latency)."""
    delta_threshold: float | None = None
    """The change that one spike represents, as a fraction of the range. With None, 1 / (2 T), the T steps of a decision
    reach exactly from the centre of the range to its ends (delta)."""
    period: int = 8
    """Bits per value, and the number of steps after which they repeat (phase)."""

    def __post_init__(self) -> None:
        if self.kind not in ENCODERS:
            raise ValueError(f"kind: got {self.kind!r}, allowed are {', '.join(ENCODERS)}")
        if not 2 <= self.neurons_per_input <= 10_000:
            raise ValueError(
                f"neurons_per_input: got {self.neurons_per_input}, allowed is a whole number >= 2 and <= 10,000"
            )
        for name in ("width", "unbounded_range"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name}: got {getattr(self, name)}, allowed is a finite number > 0")
        if not 0 <= self.latency_threshold <= 1:
            raise ValueError(f"latency_threshold: got {self.latency_threshold}, allowed is a number from 0 to 1")
        if self.delta_threshold is not None and not 0 < self.delta_threshold <= 0.5:
            raise ValueError(
                f"delta_threshold: got {self.delta_threshold}, allowed is a number > 0 and <= 0.5, or None"
            )
        if self.period not in range(1, 25):  # float32 holds 24 bits
            raise ValueError(f"period: got {self.period}, allowed is a whole number from 1 to 24")


class Encoder(nn.Module):
    """Base of the codes: (B, n) -> (T, B, n_outputs), in the dtype of the input."""

    spikes: ClassVar[bool] = True
    """Whether the output consists of spikes, 0 or 1, instead of real values."""
    n_outputs: int

    def check_values(self, x: Tensor, n: int) -> None:
        """ValueError unless ``x`` is (…, n) of a floating-point dtype."""
        if not x.is_floating_point() or x.shape[-1:] != (n,):
            raise ValueError(
                f"x: got shape {tuple(x.shape)} of {x.dtype}, allowed is (…, {n}) of a floating-point dtype"
            )


class DirectEncoder(Encoder):
    """Constant current: (B, n) -> (1, B, n). One step represents all T, so the first synapses run only once."""

    spikes = False

    def __init__(self, n_inputs: int) -> None:
        super().__init__()
        self.n_outputs = n_inputs

    def forward(self, x: Tensor) -> Tensor:
        return x.unsqueeze(0)


INTEGRATE_AND_FIRE = Dynamics(decay=(1.0,))
"""The neurons of a population code: threshold 1, soft reset, no leak."""


class PopulationEncoder(Encoder):
    """Gaussian receptive fields with learned centres and widths: (B, n) -> spikes (T, B, n * neurons_per_input).

    The deterministic population code of PopSAN (Tang et al. 2020): the activity of a field, in (0, 1], drives an
    integrate-and-fire neuron with threshold 1 and soft reset. Centres are evenly spaced over ``bounds``; no field
    spikes for a value far outside them. Gradients pass through the surrogate of the spikes and through the fields.
    """

    def __init__(self, n_inputs: int, T: int, config: CodingConfig, bounds: Bounds | None = None) -> None:
        super().__init__()
        self.T, self.n_outputs = T, n_inputs * config.neurons_per_input
        low, high = _finite_bounds(n_inputs, bounds, config.unbounded_range)
        fractions = torch.linspace(0, 1, config.neurons_per_input)
        self.centres = nn.Parameter(low[:, None] + (high - low)[:, None] * fractions)
        spacing = (high - low) / (config.neurons_per_input - 1)
        self.log_widths = nn.Parameter((config.width * spacing).log()[:, None].repeat(1, config.neurons_per_input))

    def forward(self, x: Tensor) -> Tensor:
        self.check_values(x, len(self.centres))
        distance = (x.to(state_dtype(x)).unsqueeze(-1) - self.centres) * torch.exp(-self.log_widths)
        activity = torch.exp(-0.5 * distance.square()).flatten(1)
        # Membranes start at half the threshold, so a field whose activity is just under 1 spikes at the first step.
        half = NeuronState(torch.full_like(activity, 0.5))
        spikes, _ = scan(activity.unsqueeze(0), half, INTEGRATE_AND_FIRE, steps=self.T)
        return spikes.to(x.dtype)


class RangeEncoder(Encoder):
    """A code of p, the value's fraction of its range: 0 up to the low bound, 1 from the high bound on.

    Gradients reach only values inside the range, because p is clipped at its ends.
    """

    low: Tensor
    high: Tensor

    def __init__(self, n_inputs: int, T: int, config: CodingConfig, bounds: Bounds | None = None) -> None:
        super().__init__()
        self.T, self.n_outputs = T, n_inputs
        low, high = _finite_bounds(n_inputs, bounds, config.unbounded_range)
        self.register_buffer("low", low, persistent=False)
        self.register_buffer("high", high, persistent=False)

    def fraction(self, x: Tensor) -> Tensor:
        """p (…, n) of the values ``x`` (…, n), in float32 or wider."""
        self.check_values(x, len(self.low))
        values, low, high = (part.to(state_dtype(x)) for part in (x, self.low, self.high))
        return ((values - low) / (high - low)).clamp(0, 1)

    def steps(self, x: Tensor) -> Tensor:
        """0, 1, … T - 1, as (T, 1, 1)."""
        return torch.arange(self.T, device=x.device).view(-1, 1, 1)


class RateEncoder(RangeEncoder):
    """Rate code: (B, n) -> (T, B, n), with a spike at each step with probability p.

    Random numbers come from torch's generator (`torch.manual_seed`). With ``deterministic``, the spikes are those of an
    integrate-and-fire neuron with current p, whose membrane starts at half its threshold of 1: T * p evenly spaced
    spikes, rounded to a whole number. The gradient is straight-through (Bengio et al. 2013): ds[t]/dp = 1, as for the
    expected spike.
    """

    def __init__(self, n_inputs: int, T: int, config: CodingConfig, bounds: Bounds | None = None) -> None:
        super().__init__(n_inputs, T, config, bounds)
        self.deterministic = config.deterministic

    def forward(self, x: Tensor) -> Tensor:
        p = self.fraction(x)
        if self.deterministic:
            ends = torch.arange(self.T + 1, device=x.device).view(-1, 1, 1)
            membrane = ends * p.detach() + 0.5  # without resets, so its floor is the number of spikes so far
            spikes = membrane.floor().diff(dim=0)
        else:
            spikes = (torch.rand(self.T, *p.shape, device=x.device) < p).to(p.dtype)
        return _straight_through(spikes, p).to(x.dtype)


class LatencyEncoder(RangeEncoder):
    """Time to first spike: (B, n) -> (T, B, n); p = 1 spikes at the first step, a small p at the last.

    The only spike comes at step min(round((1 - p) * T), T - 1), linear in the value (as in Rueckauer & Liu 2018). There
    is no spike for p < ``latency_threshold``. `FirstSpikeDecoder` recovers p to within 1 / (2 T), or 1 / T near 0. The
    gradient is that of a spike shared linearly between the two steps around (1 - p) * T. A value without a spike has no
    gradient.
    """

    def __init__(self, n_inputs: int, T: int, config: CodingConfig, bounds: Bounds | None = None) -> None:
        super().__init__(n_inputs, T, config, bounds)
        self.threshold = config.latency_threshold

    def forward(self, x: Tensor) -> Tensor:
        p, steps = self.fraction(x), self.steps(x)
        time = (1 - p) * self.T
        before = time.detach().floor()
        lateness = time - before
        shared = torch.where(steps == before, 1 - lateness, torch.where(steps == before + 1, lateness, 0.0))
        spikes = steps == (time + 0.5).floor().clamp(max=self.T - 1)
        return (_straight_through(spikes.to(p.dtype), shared) * (p >= self.threshold)).to(x.dtype)


class DeltaEncoder(RangeEncoder):
    """Temporal contrast: ON and OFF spikes (T, B, 2 n), the n ON channels first.

    ON spikes when the value is at least a threshold above a reference, which then rises by the threshold. OFF spikes
    when the value is at least a threshold below the reference, which then falls (step-forward coding, Petro et al.
    2020; pixels of event cameras, Lichtsteiner et al. 2008). The reference starts at the centre of the range. A jump
    over several thresholds takes as many steps, with one spike per step.

    A constant observation (B, n) is coded in the same way during a decision: min(T, floor(|p - 1/2| / threshold))
    spikes, one per step from the first step on, ON above the centre and OFF below it, like a thermometer.

    The gradient is the surrogate of the spikes (arctan), in units of the threshold. The reference, like a reset, passes
    no gradient.
    """

    def __init__(self, n_inputs: int, T: int, config: CodingConfig, bounds: Bounds | None = None) -> None:
        super().__init__(n_inputs, T, config, bounds)
        self.n_outputs = 2 * n_inputs
        self.thresholds_in_range = 2.0 * T if config.delta_threshold is None else 1 / config.delta_threshold

    def forward(self, x: Tensor) -> Tensor:
        distance, step = self._distance(x), self.steps(x) + 1
        return torch.cat([spike(distance - step), spike(-distance - step)], -1).to(x.dtype)

    def over_time(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """A signal ``x`` (steps, B, n) -> spikes (steps, B, 2 n) and the state from which the next steps continue.

        The state (B, n) is the number of ON spikes minus the number of OFF spikes so far. The reference is therefore
        the centre of the range + state * threshold. None starts from 0; ValueError for a state that does not have the
        shape of a step.
        """
        signal, trains = self._distance(x), list[Tensor]()
        count = torch.zeros_like(signal[0]) if state is None else state
        if count.shape != x.shape[1:]:
            raise ValueError(f"state: got shape {tuple(count.shape)}, allowed is {tuple(x.shape[1:])}, that of a step")
        for distance in signal:
            on, off = spike(distance - count - 1), spike(count - distance - 1)
            count = count + (on - off).detach()
            trains.append(torch.cat([on, off], -1))
        return torch.stack(trains).to(x.dtype), count

    def _distance(self, x: Tensor) -> Tensor:
        """Signed distance of ``x`` from the centre of the range, in thresholds."""
        return (self.fraction(x) - 0.5) * self.thresholds_in_range


class PhaseEncoder(RangeEncoder):
    """Phase code: (B, n) -> (T, B, n), the bits of p, the most significant first (Kim et al. 2018).

    A spike at phase k = t mod ``period`` represents 2^-(k + 1); the bits repeat after ``period`` steps. p is rounded
    down to ``period`` bits, and p = 1 to the largest number of that many bits. The spikes are not weighted here: the
    receiver knows their phase only from their time. The gradient is straight-through: ds[t]/dp = 1, so a decoded period
    has slope 1 - 2^-period.
    """

    def __init__(self, n_inputs: int, T: int, config: CodingConfig, bounds: Bounds | None = None) -> None:
        super().__init__(n_inputs, T, config, bounds)
        self.period = config.period

    def forward(self, x: Tensor) -> Tensor:
        p, levels = self.fraction(x), 2**self.period
        number = (p.detach() * levels).floor().clamp(max=levels - 1)
        bits = (number / 2 ** (self.period - 1 - self.steps(x) % self.period)).floor() % 2
        return _straight_through(bits, p).to(x.dtype)


_RANGE_ENCODERS: dict[str, type[RangeEncoder]] = {
    "rate": RateEncoder,
    "latency": LatencyEncoder,
    "delta": DeltaEncoder,
    "phase": PhaseEncoder,
}


def make_encoder(n_inputs: int, T: int, config: CodingConfig, bounds: Bounds | None = None) -> Encoder:
    """The encoder of ``config`` for ``n_inputs`` values with ``(low, high)`` bounds (n,).

    Raises:
        ValueError: the message names the argument, its value and what is allowed.
    """
    for name, number in (("n_inputs", n_inputs), ("T", T)):
        if number < 1:
            raise ValueError(f"{name}: got {number}, allowed is a whole number >= 1")
    if config.kind == "direct":
        return DirectEncoder(n_inputs)
    if config.kind == "population":
        return PopulationEncoder(n_inputs, T, config, bounds)
    return _RANGE_ENCODERS[config.kind](n_inputs, T, config, bounds)


def plain_code(encoder: Encoder, config: CodingConfig) -> Code | None:
    """The arrays and numbers of ``encoder``, with which NumPy gives the same spikes; None if they are random.

    None also for encoders that are not this module's.
    """
    if (config.kind == "rate" and not config.deterministic) or type(encoder).__module__ != __name__:
        return None
    options = {name: getattr(config, name) for name in ("latency_threshold", "delta_threshold", "period")}
    if isinstance(encoder, PopulationEncoder):
        return Code(config.kind, {}, encoder.centres.detach().numpy(), encoder.log_widths.detach().numpy())
    if isinstance(encoder, RangeEncoder):
        return Code(config.kind, options, encoder.low.numpy(), encoder.high.numpy())
    return Code(config.kind, {}, *[np.zeros(0, np.float32)] * 2)


def require_numbers(x: Tensor) -> None:
    """ValueError for NaN, which would otherwise go unnoticed, because no neuron spikes for it."""
    if is_recorded() or x.is_meta:
        return
    flat = x.detach().flatten()
    if math.isnan(flat.dot(flat)):  # the fastest test: the sum of squares is NaN only if a value is
        raise ValueError(
            "x: got NaN, allowed are numbers; find NaN of environments with stable-baselines3's VecCheckNan"
        )


def _straight_through(spikes: Tensor, soft: Tensor) -> Tensor:
    """Exactly the values of ``spikes``, with the gradient of ``soft``, which broadcasts to them."""
    return spikes + (soft - soft.detach())


_UNBOUNDED = 1e8
"""Spaces without bounds have bounds of inf, of the largest float or of some large number."""


def _finite_bounds(n_inputs: int, bounds: Bounds | None, default: float) -> tuple[Tensor, Tensor]:
    edge = np.full(n_inputs, default, np.float32)
    low, high = bounds if bounds is not None else (-edge, edge)
    if np.shape(low) != (n_inputs,) or np.shape(high) != (n_inputs,):
        raise ValueError(f"bounds: got shapes {np.shape(low)} and {np.shape(high)}, allowed is ({n_inputs},) for both")
    not_empty = low < high
    has_low, has_high = (not_empty & (np.abs(bound) < _UNBOUNDED) for bound in (low, high))
    lowest = np.where(has_low, low, np.where(has_high, high - 2 * edge, -edge)).astype(np.float32)
    highest = np.where(has_high, high, np.where(has_low, low + 2 * edge, edge)).astype(np.float32)
    distinct = lowest < highest  # large bounds may round to the same float32
    lowest, highest = np.where(distinct, lowest, -edge), np.where(distinct, highest, edge)
    return torch.as_tensor(lowest, dtype=torch.float32), torch.as_tensor(highest, dtype=torch.float32)
