"""Three backends for one `NeuronConfig`: the fused loop of `scan`, and the neurons of snnTorch and Norse.

snnTorch (Eshraghian et al. 2023) and Norse (Pehle & Pedersen 2021) compute one step at a time. They are slower than the
fused loop, and serve as a comparison. For the same current and state, spikes and gradients are those of `Neuron`,
within rounding.

snnTorch's `Leaky` and `Synaptic` integrate, compare and spike; ``beta = decay``, ``alpha = syn_decay``. Their reset is
off, and the reset of `Neuron` replaces it, because none of theirs is the same: "subtract" comes one step late, after
the decay; ``reset_delay=False`` passes a gradient, and treats a membrane that is still above the threshold as already
reset; "zero" in `Synaptic` loses the input of the step after a spike.

Norse's `lif_box`, `lif` and `leaky_integrator_box` are Euler steps ``v += dt * tau_mem_inv * (v_leak - v + i)``, which
are exact with ``tau_mem_inv = (1 - decay) / dt``. They integrate, and Norse's functions reset. The spike in between is
this project's, because Norse's threshold is strict (``>``), and its few surrogates have no slope ("super" ignores its
``alpha``). Norse's `lif` stores the synaptic current after its decay, which `Neuron` applies at the start of the next
step.

An if is snnTorch's `Leaky` with ``beta = 1``. Norse's Euler steps cannot be without a leak. Neither library has a
signed_if, or an exact alif or multi: Norse's `lsnn` passes a gradient through its reset, and does not accept this
project's surrogates.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from snn4.policies.dynamics import NeuronState
from snn4.policies.neurons import KINDS, Neuron, NeuronConfig
from snn4.policies.scan import check_state, checked_steps
from snn4.policies.surrogate import spike

Step = Callable[[Tensor, Tensor, Any], tuple[Tensor, Tensor, Any]]
"""One step of a library, ``(current, v, i) -> (output, v, i)``; i is in the library's units."""


class LibraryNeuron(Neuron):
    """A `Neuron` whose steps a library computes; parameters and state are those of `Neuron`, so checkpoints fit both.

    Raises:
        ImportError: if the library is not installed.
        ValueError: for a cuba with ``r`` = 0, or in Norse with ``tau_syn`` far below ``dt``, which would lose its
            synaptic current.
    """

    backend: ClassVar[str]
    kinds: ClassVar[tuple[str, ...]]

    def __init__(self, config: NeuronConfig, features: Sequence[int] | None = None) -> None:
        super().__init__(config, features)
        self.library()
        if config.kind == "cuba" and abs(self.synapse()[0]) < 1e-30:
            raise ValueError(
                f"r, tau_syn: got {config.r}, {config.tau_syn} for kind cuba with backend {self.backend}, "
                f"allowed are an r other than 0 and a tau_syn above dt / 60 ({config.dt / 60})"
            )

    @classmethod
    def library(cls) -> Any:
        """The library's module, which is imported only here."""
        try:
            return importlib.import_module(cls.backend)
        except ModuleNotFoundError as error:
            raise ImportError(
                f"backend {cls.backend} needs a package that is not installed ({error.name}): "
                f"pip install 'snn4-agent[backends]'"
            ) from error

    def synapse(self) -> tuple[float, float]:
        """Factor and offset from this project's synaptic current to the library's (cuba)."""
        raise NotImplementedError

    def make_step(self, v: Tensor) -> Step:
        """The library's step for membranes like ``v``."""
        raise NotImplementedError

    def forward(
        self, current: Tensor, state: NeuronState | None = None, steps: int | None = None
    ) -> tuple[Tensor, NeuronState]:
        """As `Neuron.forward`: ``(current (T, B, …), state) -> (spikes (T, B, …), state)``, with the same errors."""
        steps = checked_steps(current, steps)
        state = state or self.initial_state(current)
        check_state(current, state, self.dynamics)
        factor, offset = self.synapse() if state.i is not None else (1.0, 0.0)
        step, v = self.make_step(state.v), state.v
        outputs: list[Tensor] = []
        i: Tensor | None = None if state.i is None else factor * state.i + offset
        for t in range(steps):
            output, v, i = step(current[t if len(current) > 1 else 0].to(v.dtype), v, i)
            outputs.append(output)
        return torch.stack(outputs).to(current.dtype), NeuronState(v, None if i is None else (i - offset) / factor)

    def constants(self, v: Tensor) -> tuple[Any, Any, Any]:
        """Decay, gain and leak of the membrane ``u = decay * v + (gain * current + leak)``; tensors if learned."""
        if self.decay_logit is None:
            return self.dynamics.decay[0], self.dynamics.gain[0], self.dynamics.leak[0]
        decay, gain, leak = (factor[0].to(v.dtype) for factor in self.factors())
        return decay, gain, leak

    def spike(self, x: Tensor) -> Tensor:
        """The spikes for ``x``, membrane minus threshold, with the surrogate of the config."""
        return spike(x, self.config.surrogate, self.config.slope)


class SnnTorchNeuron(LibraryNeuron):
    """`snntorch.Leaky`, or `snntorch.Synaptic` for cuba.

    `Synaptic` adds ``syn`` to the membrane without a factor, so ``syn`` includes gain and leak.
    """

    backend = "snntorch"
    kinds = ("lif", "cuba", "plif", "if", "li")

    def synapse(self) -> tuple[float, float]:
        return self.dynamics.gain[0], self.dynamics.leak[0]

    def make_step(self, v: Tensor) -> Step:
        d, (decay, gain, leak) = self.dynamics, self.constants(v)
        if d.syn_decay is not None:
            return self._synaptic(v, d.syn_decay, decay, gain, leak)
        leaky = self._neuron("Leaky", v, beta=decay)

        def step(current: Tensor, v: Tensor, i: None) -> tuple[Tensor, Tensor, None]:
            return *self._reset(*leaky(gain * current + leak, v)), i

        return step

    def _synaptic(self, v: Tensor, syn_decay: float, decay: float, gain: float, leak: float) -> Step:
        synaptic = self._neuron("Synaptic", v, alpha=syn_decay, beta=decay)
        syn_gain, syn_leak = gain * self.dynamics.syn_gain, (1 - syn_decay) * leak

        def step(current: Tensor, v: Tensor, i: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            spikes, i, u = synaptic(syn_gain * current + syn_leak, i, v)
            return *self._reset(spikes, u), i

        return step

    def _neuron(self, name: str, v: Tensor, **decays: Any) -> Any:
        """A new snnTorch module per run: its modules keep their last membranes, and its class keeps its modules."""
        library = self.library()
        number = functools.partial(torch.as_tensor, dtype=v.dtype, device=v.device)
        constants = {key: number(value) for key, value in {**decays, "threshold": self.config.v_threshold}.items()}
        neuron = getattr(library, name)(**constants, spike_grad=self.spike, reset_mechanism="none")
        library.SpikingNeuron.instances.remove(neuron)
        return neuron.to(v.device)

    def _reset(self, spikes: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """Output and membrane after the reset."""
        c = self.config
        if not c.spikes:
            return u, u
        fired = spikes.detach()
        return spikes, u - fired * c.v_threshold if c.reset == "soft" else torch.where(fired > 0, c.v_reset, u)


class NorseNeuron(LibraryNeuron):
    """`norse.torch.functional`: ``lif_box`` for lif and plif, ``lif`` for cuba, ``leaky_integrator_box`` for li."""

    backend = "norse"
    kinds = ("lif", "cuba", "plif", "li")

    @classmethod
    def library(cls) -> Any:
        super().library()
        return importlib.import_module("norse.torch")

    def synapse(self) -> tuple[float, float]:
        d = self.dynamics
        return (d.syn_decay or 0.0) * d.gain[0] / (1 - d.decay[0]), 0.0

    def make_step(self, v: Tensor) -> Step:
        decay, gain, _ = self.constants(v)
        constants = {"tau_mem_inv": (1 - decay) / self.config.dt, "v_leak": self.config.v_leak}
        if not self.config.spikes:
            return self._li_box(gain / (1 - decay), constants)
        constants |= {"v_reset": self.config.v_reset, "method": "heaviside"}
        return (self._lif_box if self.dynamics.syn_decay is None else self._lif)(gain / (1 - decay), constants)

    def _li_box(self, resistance: Any, constants: dict[str, Any]) -> Step:
        norse, dt = self.library(), self.config.dt
        p = norse.LIBoxParameters(**constants)

        def step(current: Tensor, v: Tensor, i: None) -> tuple[Tensor, Tensor, None]:
            u, _ = norse.li_box_feed_forward_step(resistance * current, norse.LIBoxState(v), p, dt)
            return u, u, i

        return step

    def _lif_box(self, resistance: Any, constants: dict[str, Any]) -> Step:
        norse, dt = self.library(), self.config.dt
        p = norse.LIFBoxParameters(**constants, v_th=self.config.v_threshold, reset_method=_no_reset)

        def step(current: Tensor, v: Tensor, i: None) -> tuple[Tensor, Tensor, None]:
            state = norse.LIFBoxFeedForwardState(v)
            _, (u,) = norse.lif_box_feed_forward_step(resistance * current, state, p, dt)
            return *self._fire(u), i

        return step

    def _lif(self, resistance: Any, constants: dict[str, Any]) -> Step:
        norse, dt = self.library(), self.config.dt
        d = self.dynamics
        syn_decay = d.syn_decay or 0.0
        # No membrane reaches an infinite threshold, so Norse's own reset never happens.
        p = norse.LIFParameters(**constants, v_th=float("inf"), tau_syn_inv=(1 - syn_decay) / dt)

        def step(current: Tensor, v: Tensor, i: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            state = norse.LIFFeedForwardState(v, i)
            _, (u, i) = norse.lif_feed_forward_step(d.syn_gain * resistance * current, state, p, dt)
            return *self._fire(u), i

        return step

    def _fire(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Spikes, and the membrane after Norse's reset function."""
        c, norse = self.config, self.library()
        spikes = self.spike(u - c.v_threshold)
        reset = norse.reset_subtract if c.reset == "soft" else norse.reset_value
        return spikes, reset(spikes.detach(), u, c.v_reset, c.v_threshold)


def _no_reset(spikes: Tensor, v: Tensor, v_reset: Any, v_threshold: Any) -> Tensor:
    return v


BACKENDS: dict[str, tuple[type[Neuron], tuple[str, ...]]] = {
    "torch": (Neuron, tuple(KINDS)),
    "snntorch": (SnnTorchNeuron, SnnTorchNeuron.kinds),
    "norse": (NorseNeuron, NorseNeuron.kinds),
}
"""The layer of each backend, and the kinds of neuron that it computes exactly."""


def make_neuron(config: NeuronConfig, backend: str = "torch", features: Sequence[int] | None = None) -> Neuron:
    """A layer of neurons; this imports its library.

    Args:
        config: the neuron.
        backend: torch (the fused loop), snntorch or norse.
        features: the shape of plif's learned time constants, as for `Neuron`.

    Raises:
        ValueError: for an unknown backend, and for a neuron that it does not compute exactly.
        ImportError: if the backend's library is not installed.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend: got {backend!r}, allowed are {', '.join(BACKENDS)}")
    layer, kinds = BACKENDS[backend]
    if config.kind not in kinds:
        suitable = ", ".join(name for name, (_, exact) in BACKENDS.items() if config.kind in exact)
        raise ValueError(
            f"kind: got {config.kind!r} with backend {backend}, allowed are {', '.join(kinds)}; "
            f"for {config.kind} set backend: {suitable}"
        )
    return layer(config, features)
