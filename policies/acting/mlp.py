"""Spiking multi-layer perceptron: code -> (synapses -> LIF) per layer -> decoded activity of the last layer."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from snn4.policies.acting.arguments import layer_sizes, not_negative, whole_number
from snn4.policies.acting.residues import Residues
from snn4.policies.acting.spike_cost import charge
from snn4.policies.acting.waking import Waking
from snn4.policies.backends import make_neuron
from snn4.policies.coding import Bounds, CodingConfig, make_encoder, plain_code, require_numbers
from snn4.policies.decoding import WeightedDecoder, make_decoder
from snn4.policies.dynamics import rest_state
from snn4.policies.engine.codes import encode
from snn4.policies.engine.event_driven import EVENT_DRIVEN_BATCH, EventDriven
from snn4.policies.finite import require_finite
from snn4.policies.fused import fused_backward, fused_forward
from snn4.policies.neurons import Neuron, NeuronConfig
from snn4.policies.reference import reference_scan
from snn4.policies.scan import aliases, gradients, is_recorded
from snn4.policies.scan_operator import room
from snn4.policies.sparse import SPARSEST, learned_weight, make_linear


class SpikingMLP(nn.Module):
    """(B, n_inputs) -> (B, net_arch[-1]): T inner steps from rest, then the decoded spikes of the last layer.

    Learning runs layer by layer over all (T, B), with one matrix product for the synapses of each layer. Acting, under
    ``torch.no_grad()`` on a CPU in float32, uses the event-driven engine. Torch acts instead if the batch is large, if
    a layer has a hook, if the neurons are a library's, or if the readout is not a weighted sum (first_spike). Acting
    with parameters that hold NaN or infinity raises a ValueError.

    Args:
        n_inputs: values in an observation.
        net_arch: neurons in each layer, with at least one layer.
        T: inner steps, >= 1.
        neuron: the neurons of all layers.
        coding: the code of the observation.
        readout: one of `decoding.DECODERS`.
        bounds: ``(low, high)`` of the observation, for codes that cover a range.
        backend: library of the neurons: torch (this project's own), snntorch or norse.
        residual: whether the policy's ``predict`` starts a decision from what the one before has left in the membranes
            (`Residues`), instead of from rest.
        spike_cost: cost of the mean spike rate in the loss, in training mode (`acting.spike_cost`).
        sparsity: the fraction of absent synapses in each layer (`SparseLinear`).
    """

    def __init__(
        self,
        n_inputs: int,
        net_arch: Sequence[int],
        T: int = 4,
        neuron: NeuronConfig | None = None,
        coding: CodingConfig | None = None,
        readout: str = "rate",
        bounds: Bounds | None = None,
        backend: str = "torch",
        residual: bool = False,
        spike_cost: float = 0.0,
        sparsity: float = 0.0,
    ) -> None:
        super().__init__()
        self.spike_cost = not_negative("spike_cost", spike_cost)
        sparsity = not_negative("sparsity", sparsity, SPARSEST)
        T, sizes = whole_number("T", T), layer_sizes("net_arch", net_arch)
        neuron = neuron or NeuronConfig()
        self.T, self.n_inputs, self.n_neurons = T, n_inputs, sum(sizes)
        self.coding = coding or CodingConfig()
        self.encoder = make_encoder(n_inputs, T, self.coding, bounds)
        if not neuron.spikes:
            raise ValueError(f"neuron.kind: got {neuron.kind!r}, which does not spike; it is for readouts")
        self.layers = nn.ModuleList()
        for a, b in itertools.pairwise([self.encoder.n_outputs, *sizes]):
            self.layers += [make_linear(a, b, sparsity), make_neuron(neuron, backend, (b,))]
        self.decoder = make_decoder(readout, T, neuron.decay)
        self.residues = Residues([layer for layer in self.layers if isinstance(layer, Neuron)]) if residual else None
        self.waking: Waking | None = None
        self.event_driven: EventDriven | None = None
        if backend == "torch" and isinstance(self.decoder, WeightedDecoder):
            self.event_driven = EventDriven(list(self.layers), self.decoder, self.encoder)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1:] != (self.n_inputs,):
            raise ValueError(f"x: got shape {tuple(x.shape)}, allowed is (B, {self.n_inputs})")
        require_numbers(x)
        if self.residues is not None and self.residues.carried is not None:
            return self.decoder(self._trains(self.encoder(x))[-1])  # type: ignore[no-any-return]
        if not torch.is_grad_enabled() and not is_recorded():
            engine = self.engine_for(len(x)) if x.dtype == torch.float32 else None
            if engine:
                return torch.from_numpy(engine(self.encoder(x).contiguous().numpy()))
            require_finite((self.encoder, *self.layers, self.decoder))
        signal = self.encoder(x)
        if self.waking is not None:
            self.waking.watch(signal, x.shape[0], self.T)
        price = self._price(len(x)) if self.spike_cost else 0.0
        if self._fusable(x):
            synapses = [layer for layer in self.layers if isinstance(layer, nn.Linear)]
            neurons = [layer for layer in self.layers if isinstance(layer, Neuron)]
            parameters = itertools.chain(*((learned_weight(synapse), synapse.bias) for synapse in synapses))
            return _FusedLayers.apply(signal, self.decoder.weights, neurons, price, *parameters)  # type: ignore[no-any-return, no-untyped-call]
        return self.decoder(self._trains(signal, price)[-1])  # type: ignore[no-any-return]

    def _price(self, batch: int) -> float:
        """What a spike adds to a loss that is a mean over ``batch`` samples; 0 outside training mode."""
        return self.spike_cost / (self.n_neurons * self.T * max(batch, 1)) if self.training else 0.0

    def _fusable(self, x: Tensor) -> bool:
        """Whether all layers can run as one function: only synapses and decoder learn, and no layer has a hook."""
        if is_recorded() or self.event_driven is None or x.dtype != torch.float32:
            return False
        if not torch.is_grad_enabled():  # without a backward pass, it saves nothing
            return False
        learned = any(neuron.decay_logit is not None for neuron in self.event_driven.neurons)
        plain = self.event_driven.runs(self.layers, self.decoder)
        return plain and not learned and not torch.is_autocast_enabled("cpu")

    def engine_for(self, batch: int) -> EventDriven | None:
        """The event-driven engine if it can act and is faster for this ``batch`` size; else None."""
        engine = self.event_driven
        if engine is None or batch > EVENT_DRIVEN_BATCH or not engine.runs(self.layers, self.decoder):
            return None
        return engine

    def decide(self, x: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """`forward` without torch, for a few observations (B, n_inputs); None if only torch can run it."""
        engine = self.engine_for(len(x))
        flat = x.reshape(-1)
        if engine is None or math.isnan(flat.dot(flat)):  # `forward` refuses NaN
            return None
        code = plain_code(self.encoder, self.coding)
        if code is None:
            with torch.no_grad():
                return engine(self.encoder(torch.from_numpy(x)).numpy())
        return engine(encode(code, x, self.T))

    def spikes(self, x: Tensor) -> list[Tensor]:
        """The spike trains (T, B, n) of every layer for input ``x`` (B, n_inputs), computed in torch."""
        return self._trains(self.encoder(x))

    def _trains(self, signal: Tensor, price: float = 0.0) -> list[Tensor]:
        trains = []
        for layer in self.layers:
            if not isinstance(layer, Neuron):
                signal = layer(signal)
                continue
            first = None if self.residues is None else self.residues.first(layer, signal)
            signal, last = layer(signal, first, self.T)  # the current of a constant code is the same at every step
            if self.residues is not None:
                self.residues.keep(layer, last)
            charge(signal, layer, price)
            trains.append(signal)
        return trains


class _FusedLayers(torch.autograd.Function):
    """All layers and a linear decoder as one function, which saves torch's overhead, half the time of a small network.

    ``(signal ((1 or T), B, n), decoder (T,), neurons of each layer, price of a spike, weight, bias, weight, bias, …) ->
    (B, m)``
    """

    @staticmethod
    def forward(
        ctx: Any, signal: Tensor, decoder: Tensor, neurons: list[Neuron], price: float, *parameters: Tensor
    ) -> Tensor:
        saved = [decoder, *parameters[::2]]
        for weight, bias, neuron in zip(parameters[::2], parameters[1::2], neurons, strict=True):
            current = torch.addmm(bias, signal.flatten(0, 1), weight.t()).view(*signal.shape[:2], len(bias))
            saved += [signal, current]
            d = neuron.dynamics
            signal = fused_forward(current, *room(current, d, None, neuron.config.v_leak), None, d, len(decoder))
        ctx.save_for_backward(*parameters[1::2], *saved, signal)
        ctx.neurons, ctx.price = neurons, price
        return torch.tensordot(decoder, signal, dims=1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        neurons, n = ctx.neurons, len(ctx.neurons)
        tensors = ctx.saved_tensors  # read once, because checkpoints unpack tensors only once
        biases, (decoder, *saved) = tensors[:n], tensors[n:]
        weights = saved[:n]
        signals, currents = saved[n:-1:2], saved[n + 1 :: 2]
        if torch.is_grad_enabled():  # create_graph: autograd will differentiate these gradients again
            inputs = aliases(signals[0], decoder, *itertools.chain(*zip(weights, biases, strict=True)))
            grad_signal, grad_decoder, *grad_parameters = gradients(
                [_layer_by_layer(neurons, ctx.price, *inputs)], inputs, grads
            )
            return grad_signal, grad_decoder, None, None, *grad_parameters
        grad, parameter_grads = decoder.view(-1, 1, 1) * grads[0], list[Tensor]()
        for neuron, weight, signal, current in list(zip(neurons, weights, signals, currents, strict=True))[::-1]:
            if ctx.price:
                grad.add_(ctx.price)  # as `charge` does: none of these neurons is signed
            grad, _ = fused_backward(grad, None, current, None, neuron.config.v_leak, None, neuron.dynamics)
            flat = grad.flatten(0, 1)
            parameter_grads = [flat.t() @ signal.flatten(0, 1), flat.sum(0), *parameter_grads]
            if signal is not signals[0] or ctx.needs_input_grad[0]:
                grad = (flat @ weight).view(signal.shape)
        grad_decoder = (saved[-1] * grads[0]).flatten(1).sum(1) if ctx.needs_input_grad[1] else None
        return grad if ctx.needs_input_grad[0] else None, grad_decoder, None, None, *parameter_grads


def _layer_by_layer(
    neurons: Sequence[Neuron], price: float, signal: Tensor, decoder: Tensor, *parameters: Tensor
) -> Tensor:
    """The same function in plain torch."""
    for weight, bias, neuron in zip(parameters[::2], parameters[1::2], neurons, strict=True):
        current, d = nn.functional.linear(signal, weight, bias), neuron.dynamics
        signal, _ = reference_scan(current, rest_state(current, d, neuron.config.v_leak), d, steps=len(decoder))
        charge(signal, neuron, price)
    return torch.tensordot(decoder, signal, dims=1)
